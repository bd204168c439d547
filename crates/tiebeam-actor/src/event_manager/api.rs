use std::marker::PhantomData;

use super::installed::{AnyHandler, Installed, Owner};
use super::manager::{Add, Ask, Delete, Notify, Swap, WhichHandlers};
use super::{EventHandler, EventManager, HandlerCall, HandlerError, HandlerExit};
use crate::actor::Dispatch;
use crate::cell::BoxFuture;
use crate::{Addr, CallError};

impl<E: Send + Sync + 'static> Addr<EventManager<E>> {
    /// Tells all handlers, and waits only while the manager's mailbox is full. If the manager is gone the event is dropped.
    pub async fn notify(&self, event: E) {
        self.cast(Notify(event)).await;
    }

    /// Tells all handlers, and waits until all have heard.
    ///
    /// # Errors
    /// As a call.
    pub async fn sync_notify(&self, event: E) -> Result<(), CallError> {
        self.call(Notify(event)).await
    }

    /// Adds a handler, which hears before those that are there.
    ///
    /// # Errors
    /// [`HandlerError::Exists`], [`HandlerError::TooMany`] or [`HandlerError::Call`]; the handler is dropped.
    pub async fn add_handler(&self, id: impl Into<String>, handler: impl EventHandler<E>) -> Result<(), HandlerError> {
        self.add(id.into(), Box::new(handler), None).await
    }

    /// Adds a handler that belongs to an actor, mostly the caller: `ctx.addr()`.
    ///
    /// When the handler goes, the actor is told by a [`HandlerExit`]. When the actor ends the handler is dropped. Manager
    /// and actor are linked meanwhile, so a crash of the manager is an exit signal; when it stops in the orderly way, the
    /// actor is told too, unless its mailbox is full.
    ///
    /// # Errors
    /// As [`add_handler`](Self::add_handler).
    pub async fn add_sup_handler<A, Mode>(
        &self,
        owner: &Addr<A>,
        id: impl Into<String>,
        handler: impl EventHandler<E>,
    ) -> Result<(), HandlerError>
    where
        A: Dispatch<HandlerExit, Mode>,
        Mode: 'static,
    {
        let addr = owner.clone();
        let tell = move |exit| -> BoxFuture<'static, ()> {
            let addr = addr.clone();
            Box::pin(async move { addr.cast(exit).await })
        };
        self.add(id.into(), Box::new(handler), Some(Owner { pid: owner.pid(), tell: Box::new(tell) })).await
    }

    /// Removes a handler and returns it with its state.
    ///
    /// # Errors
    /// [`HandlerError::Missing`], [`HandlerError::Incompatible`] if it is no `H`, or [`HandlerError::Call`].
    pub async fn delete_handler<H: EventHandler<E>>(&self, id: impl Into<String>) -> Result<H, HandlerError> {
        self.call(Delete { id: id.into(), handler: PhantomData }).await?
    }

    /// Replaces a handler by one that is made from it, without an event between the two; from nothing if there is none
    /// with the old id. The new one belongs to the actor of the old one, hears first, and may have the same id.
    ///
    /// # Errors
    /// [`HandlerError::Exists`] if another has the new id, and [`HandlerError::Incompatible`] if the old one is no `Old`:
    /// then nothing has changed. [`HandlerError::Crashed`] if `make` panicked, which removes the old one.
    /// [`HandlerError::TooMany`], [`HandlerError::Call`].
    pub async fn swap_handler<Old: EventHandler<E>, New: EventHandler<E>>(
        &self,
        old: impl Into<String>,
        new: impl Into<String>,
        make: impl FnOnce(Option<Old>) -> New + Send + 'static,
    ) -> Result<(), HandlerError> {
        self.call(Swap { old: old.into(), new: new.into(), make: Box::new(make) }).await?
    }

    /// Asks one handler.
    ///
    /// # Errors
    /// [`HandlerError::Missing`], [`HandlerError::Incompatible`] if it is no `H`, [`HandlerError::Crashed`] or
    /// [`HandlerError::Call`].
    pub async fn call_handler<H, Q>(&self, id: impl Into<String>, request: Q) -> Result<H::Reply, HandlerError>
    where
        H: HandlerCall<E, Q>,
        Q: Send + 'static,
    {
        self.call(Ask::<H, Q> { id: id.into(), request, handler: PhantomData }).await?
    }

    /// Lists the ids of the handlers in the order in which they hear.
    ///
    /// # Errors
    /// As a call.
    pub async fn which_handlers(&self) -> Result<Vec<String>, CallError> {
        self.call(WhichHandlers).await
    }

    async fn add(&self, id: String, handler: Box<dyn AnyHandler<E>>, owner: Option<Owner>) -> Result<(), HandlerError> {
        self.call(Add(Installed { id, handler, owner })).await?
    }
}
