use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;

use super::{Target, To, abroad};
use crate::actor::Dispatch;
use crate::cell::{BoxFuture, Cell};
use crate::credits::Admission;
use crate::message::Told;
use crate::raw::current;
use crate::raw::item::Item;
use crate::{CallError, Dest};

/// A message on its way; sent when this is awaited, which waits while the mailbox is full, and on the way to another node
/// until there is room for the next one.
///
/// Dropping it before it is ready sends nothing, unless it waits for room on the way to another node: then it was sent.
pub struct Cast<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    to: To<'a, A>,
    /// There until the first poll.
    message: Option<M>,
    /// Waits for room in the mailbox.
    queueing: Option<BoxFuture<'static, Result<(), CallError>>>,
    mode: PhantomData<fn() -> Mode>,
}

// What is pinned lies in a box; the message only passes through.
impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Unpin for Cast<'_, A, M, Mode> {}

impl<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Cast<'a, A, M, Mode> {
    pub(super) const fn new(to: To<'a, A>, message: M) -> Self {
        Self { to, message: Some(message), queueing: None, mode: PhantomData }
    }

    /// Sends the message if there is room for it.
    #[cold]
    fn begin(&self, message: M) -> Result<Option<BoxFuture<'static, Result<(), CallError>>>, CallError> {
        let cell = match self.to.target()? {
            Target::Here(cell) => cell,
            Target::Abroad(system, node, Dest::Pid(pid)) if system.is_full_abroad(pid) => {
                return Ok(Some(Box::pin(async move {
                    system.until_room_abroad(pid).await;
                    if let Some(room) = abroad::cast::<A, M>(&system, node, Dest::Pid(pid), &message)? {
                        room.await;
                    }
                    Ok(())
                })));
            }
            Target::Abroad(system, node, to) => {
                let room = abroad::cast::<A, M>(&system, node, to, &message)?;
                return Ok(room.map(|room| -> BoxFuture<'static, _> { Box::pin(room.map(Ok)) }));
            }
        };
        match cell.admit()? {
            Admission::Granted => {}
            // An actor that waited for room in its own mailbox would wait for itself.
            Admission::Wait if current::sender(&cell.system) == cell.pid() => cell.credits.overdraw()?,
            Admission::Wait => {
                return Ok(Some(Box::pin(async move {
                    cell.credits.take().await?;
                    push::<A, M, Mode>(&cell, message)
                })));
            }
            Admission::Refused | Admission::Dropped | Admission::Stop => return Err(CallError::Overloaded),
        }
        push::<A, M, Mode>(&cell, message).map(|()| None)
    }
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Future for Cast<'_, A, M, Mode> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let sent = match (self.message.take(), self.to.here()) {
            (Some(message), Some(cell)) if cell.credits.try_take().is_ok() => push::<A, M, Mode>(cell, message),
            (Some(message), _) => match self.begin(message) {
                Ok(Some(queueing)) => {
                    self.queueing = Some(queueing);
                    return self.poll(cx);
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
            (None, _) => {
                let queueing = self.queueing.as_mut().expect("a cast is polled only until it is sent");
                std::task::ready!(queueing.as_mut().poll(cx))
            }
        };
        if let Err(error) = sent {
            tracing::trace!(to = ?self.to, message = std::any::type_name::<M>(), %error, "cast dropped");
        }
        Poll::Ready(())
    }
}

/// Sends a message without waiting.
pub(super) fn now<A, M, Mode>(to: To<'_, A>, message: M) -> Result<(), CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    match to.target()? {
        Target::Here(cell) => cell.admit_now(|| Item::message(Told::<A, M, Mode>::new(message))),
        Target::Abroad(system, _, Dest::Pid(pid)) if system.is_full_abroad(pid) => Err(CallError::Overloaded),
        Target::Abroad(system, node, to) => abroad::cast::<A, M>(&system, node, to, &message).map(drop),
    }
}

#[inline]
fn push<A, M, Mode>(cell: &Arc<Cell<A>>, message: M) -> Result<(), CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    cell.push(Item::message(Told::<A, M, Mode>::new(message))).map_err(|_| CallError::NoProc)
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> fmt::Debug for Cast<'_, A, M, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cast")
            .field("to", &self.to)
            .field("message", &std::any::type_name::<M>())
            .finish_non_exhaustive()
    }
}
