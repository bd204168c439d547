use std::fmt;
use std::marker::PhantomData;

use super::installed::{Installed, Owner, caught};
use super::{EventHandler, HANDLERS_MAX, HandlerCall, HandlerError, Next, Removal};
use crate::{Actor, Ctx, ExitReason, Handler, Info, Pid, process};

/// Tells events of type `E` to its handlers. Begins without any: `starter.spawn::<EventManager<E>>(())`.
pub struct EventManager<E: Send + Sync + 'static> {
    /// Those added last are last, and hear first.
    handlers: Vec<Installed<E>>,
}

pub(super) struct Notify<E>(pub(super) E);

pub(super) struct Add<E>(pub(super) Installed<E>);

pub(super) struct Delete<H> {
    pub(super) id: String,
    pub(super) handler: PhantomData<fn() -> H>,
}

pub(super) type Make<Old, New> = Box<dyn FnOnce(Option<Old>) -> New + Send>;

pub(super) struct Swap<Old, New> {
    pub(super) old: String,
    pub(super) new: String,
    pub(super) make: Make<Old, New>,
}

pub(super) struct Ask<H, Q> {
    pub(super) id: String,
    pub(super) request: Q,
    pub(super) handler: PhantomData<fn() -> H>,
}

pub(super) struct WhichHandlers;

impl<E: Send + Sync + 'static> EventManager<E> {
    fn position(&self, id: &str) -> Result<usize, HandlerError> {
        let found = self.handlers.iter().position(|handler| handler.id == id);
        found.ok_or_else(|| HandlerError::Missing { id: id.to_owned() })
    }

    /// Takes the handler with this id out, if it is an `H`.
    fn take<H: EventHandler<E>>(&mut self, id: &str) -> Result<(Box<H>, Option<Owner>), HandlerError> {
        let index = self.position(id)?;
        if !self.handlers[index].handler.as_any().is::<H>() {
            return Err(HandlerError::Incompatible { id: id.to_owned() });
        }
        let Installed { handler, owner, .. } = self.handlers.remove(index);
        Ok((handler.into_any().downcast().expect("it is one"), owner))
    }

    fn add(&mut self, handler: Installed<E>, ctx: &mut Ctx<Self>) -> Result<(), HandlerError> {
        if self.position(&handler.id).is_ok() {
            return Err(HandlerError::Exists { id: handler.id });
        }
        if self.handlers.len() >= HANDLERS_MAX {
            return Err(HandlerError::TooMany { limit: HANDLERS_MAX as u64 });
        }
        if let Some(owner) = &handler.owner {
            ctx.link(owner.pid);
        }
        self.handlers.push(handler);
        Ok(())
    }

    fn remove(&mut self, index: usize, reason: Removal, ctx: &mut Ctx<Self>) {
        let handler = self.handlers.remove(index);
        if let Removal::Crashed(reason) = &reason {
            tracing::error!(manager = %ctx.pid(), handler = handler.id, %reason, "event handler crashed, removed");
        }
        let owner = handler.owner.as_ref().map(|owner| owner.pid);
        handler.remove(reason, ctx);
        self.unlink_unless_needed(owner, ctx);
    }

    fn unlink_unless_needed(&self, owner: Option<Pid>, ctx: &mut Ctx<Self>) {
        let Some(pid) = owner else { return };
        if !self.handlers.iter().any(|handler| handler.is_of(pid)) {
            ctx.unlink(pid);
        }
    }
}

impl<E> Installed<E> {
    fn is_of(&self, pid: Pid) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.pid == pid)
    }
}

impl<E: Send + Sync + 'static> Actor for EventManager<E> {
    type Args = ();

    async fn init((): (), ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        Ok(Self { handlers: Vec::new() })
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        let Info::Exit { from, .. } = info else { return };
        for index in (0..self.handlers.len()).rev() {
            if self.handlers[index].is_of(from) {
                // Its actor is gone and needs not be told.
                let handler = self.handlers.remove(index);
                process::quietly(|| drop(handler));
            }
        }
    }

    async fn terminate(&mut self, _: &ExitReason, ctx: &mut Ctx<Self>) {
        while let Some(handler) = self.handlers.pop() {
            handler.remove(Removal::Shutdown, ctx);
        }
    }
}

impl<E: Send + Sync + 'static> Handler<Notify<E>> for EventManager<E> {
    type Reply = ();

    async fn handle(&mut self, Notify(event): Notify<E>, ctx: &mut Ctx<Self>) {
        for index in (0..self.handlers.len()).rev() {
            match self.handlers[index].hear(&event).await {
                Ok(Next::Keep) => {}
                Ok(Next::Remove) => self.remove(index, Removal::Normal, ctx),
                Err(reason) => self.remove(index, Removal::Crashed(reason), ctx),
            }
        }
    }
}

impl<E: Send + Sync + 'static> Handler<Add<E>> for EventManager<E> {
    type Reply = Result<(), HandlerError>;

    async fn handle(&mut self, Add(handler): Add<E>, ctx: &mut Ctx<Self>) -> Self::Reply {
        self.add(handler, ctx)
    }
}

impl<E: Send + Sync + 'static, H: EventHandler<E>> Handler<Delete<H>> for EventManager<E> {
    type Reply = Result<H, HandlerError>;

    async fn handle(&mut self, Delete { id, .. }: Delete<H>, ctx: &mut Ctx<Self>) -> Self::Reply {
        let (handler, owner) = self.take::<H>(&id)?;
        if let Some(owner) = owner {
            owner.hears(id, Removal::Normal, ctx);
            self.unlink_unless_needed(Some(owner.pid), ctx);
        }
        Ok(*handler)
    }
}

impl<E, Old, New> Handler<Swap<Old, New>> for EventManager<E>
where
    E: Send + Sync + 'static,
    Old: EventHandler<E>,
    New: EventHandler<E>,
{
    type Reply = Result<(), HandlerError>;

    async fn handle(&mut self, Swap { old, new, make }: Swap<Old, New>, ctx: &mut Ctx<Self>) -> Self::Reply {
        if old != new && self.position(&new).is_ok() {
            return Err(HandlerError::Exists { id: new });
        }
        let (state, owner) = match self.take::<Old>(&old) {
            Ok((state, owner)) => (Some(*state), owner),
            Err(HandlerError::Missing { .. }) => (None, None),
            Err(error) => return Err(error),
        };
        let made = caught(async { make(state) }).await;
        if let Some(owner) = &owner {
            let removal = |reason: &ExitReason| Removal::Crashed(reason.clone());
            owner.hears(old, made.as_ref().map_or_else(removal, |_| Removal::Swapped { by: new.clone() }), ctx);
        }
        match made {
            Ok(handler) => self.add(Installed { id: new, handler: Box::new(handler), owner }, ctx),
            Err(reason) => {
                self.unlink_unless_needed(owner.map(|owner| owner.pid), ctx);
                Err(HandlerError::Crashed { id: new, reason })
            }
        }
    }
}

impl<E, H, Q> Handler<Ask<H, Q>> for EventManager<E>
where
    E: Send + Sync + 'static,
    H: HandlerCall<E, Q>,
    Q: Send + 'static,
{
    type Reply = Result<H::Reply, HandlerError>;

    async fn handle(&mut self, Ask { id, request, .. }: Ask<H, Q>, ctx: &mut Ctx<Self>) -> Self::Reply {
        let index = self.position(&id)?;
        let answer = self.handlers[index].answer::<H, Q>(request).await;
        if let Err(HandlerError::Crashed { reason, .. }) = &answer {
            self.remove(index, Removal::Crashed(reason.clone()), ctx);
        }
        answer
    }
}

impl<E: Send + Sync + 'static> Handler<WhichHandlers> for EventManager<E> {
    type Reply = Vec<String>;

    async fn handle(&mut self, _: WhichHandlers, _: &mut Ctx<Self>) -> Vec<String> {
        self.handlers.iter().rev().map(|handler| handler.id.clone()).collect()
    }
}

impl<E: Send + Sync + 'static> fmt::Debug for EventManager<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.handlers.iter().map(|handler| &handler.id).collect();
        f.debug_struct("EventManager").field("handlers", &ids).finish()
    }
}
