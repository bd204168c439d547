use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use super::{EventHandler, HandlerCall, HandlerError, HandlerExit, Next, Removal};
use crate::cell::BoxFuture;
use crate::{Ctx, EventManager, ExitReason, Pid, process};

/// A handler, its type forgotten.
pub(super) trait AnyHandler<E>: Send {
    fn handle_event<'a>(&'a mut self, event: &'a E) -> BoxFuture<'a, Next>;
    fn as_any(&mut self) -> &mut (dyn Any + Send);
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

impl<E: Send + Sync + 'static, H: EventHandler<E>> AnyHandler<E> for H {
    fn handle_event<'a>(&'a mut self, event: &'a E) -> BoxFuture<'a, Next> {
        Box::pin(EventHandler::handle_event(self, event))
    }

    fn as_any(&mut self) -> &mut (dyn Any + Send) {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// The actor that a handler belongs to.
pub(super) struct Owner {
    pub(super) pid: Pid,
    pub(super) tell: Box<dyn Fn(HandlerExit) -> BoxFuture<'static, ()> + Send>,
}

/// A handler among those of a manager.
pub(super) struct Installed<E> {
    pub(super) id: String,
    pub(super) handler: Box<dyn AnyHandler<E>>,
    pub(super) owner: Option<Owner>,
}

impl<E: Send + Sync + 'static> Installed<E> {
    /// # Errors
    /// The panic.
    pub(super) async fn hear(&mut self, event: &E) -> Result<Next, ExitReason> {
        caught(async { self.handler.handle_event(event).await }).await
    }

    /// # Errors
    /// [`HandlerError::Incompatible`] or [`HandlerError::Crashed`].
    pub(super) async fn answer<H, Q>(&mut self, request: Q) -> Result<H::Reply, HandlerError>
    where
        H: HandlerCall<E, Q>,
        Q: Send + 'static,
    {
        let Some(handler) = self.handler.as_any().downcast_mut::<H>() else {
            return Err(HandlerError::Incompatible { id: self.id.clone() });
        };
        let answered = caught(async { handler.handle_call(request).await }).await;
        answered.map_err(|reason| HandlerError::Crashed { id: self.id.clone(), reason })
    }

    /// Drops the handler and tells its actor why.
    pub(super) fn remove(self, reason: Removal, ctx: &mut Ctx<EventManager<E>>) {
        let Self { id, handler, owner } = self;
        process::quietly(|| drop(handler));
        if let Some(owner) = owner {
            owner.hears(id, reason, ctx);
        }
    }
}

impl Owner {
    /// Tells the actor, beside the manager if the actor's mailbox is full.
    pub(super) fn hears<E: Send + Sync + 'static>(&self, id: String, reason: Removal, ctx: &mut Ctx<EventManager<E>>) {
        let exit = HandlerExit { manager: ctx.pid(), id, reason };
        if (self.tell)(exit.clone()).now_or_never().is_none() {
            ctx.spawn_task((self.tell)(exit));
        }
    }
}

/// # Errors
/// The panic.
pub(super) async fn caught<T>(code: impl Future<Output = T>) -> Result<T, ExitReason> {
    AssertUnwindSafe(code).catch_unwind().await.map_err(ExitReason::panicked)
}
