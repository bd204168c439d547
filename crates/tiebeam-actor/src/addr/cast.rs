use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Target, abroad};
use crate::actor::Dispatch;
use crate::cell::{BoxFuture, Cell};
use crate::credits::NoCredit;
use crate::message::Typed;
use crate::raw::current;
use crate::raw::item::Item;
use crate::{CallError, ReplyTo};

/// A message on its way; sent when this is awaited, which waits while the mailbox is full.
///
/// Dropping it before it is ready sends nothing.
pub struct Cast<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    state: State<A, M, Mode>,
}

enum State<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    New(Result<Target<A>, CallError>, M, std::marker::PhantomData<fn() -> Mode>),
    /// Waits for room in the mailbox.
    Queueing(BoxFuture<'static, Result<(), CallError>>),
    Done,
}

// What is pinned lies in a box; the message only passes through.
impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Unpin for Cast<A, M, Mode> {}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Cast<A, M, Mode> {
    pub(super) const fn new(target: Result<Target<A>, CallError>, message: M) -> Self {
        Self { state: State::New(target, message, std::marker::PhantomData) }
    }
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Future for Cast<A, M, Mode> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let sent = match std::mem::replace(&mut self.state, State::Done) {
            State::New(Ok(Target::Here(cell)), message, _) => match cell.credits.try_take() {
                Ok(()) => push::<A, M, Mode>(&cell, message),
                // An actor that waited for room in its own mailbox would wait for itself.
                Err(NoCredit::Full) if current::sender(&cell.system) == cell.pid() => {
                    cell.credits.overdraw().map_err(Into::into).and_then(|()| push::<A, M, Mode>(&cell, message))
                }
                Err(NoCredit::Full) => {
                    self.state = State::Queueing(Box::pin(async move {
                        cell.credits.take().await?;
                        push::<A, M, Mode>(&cell, message)
                    }));
                    return self.poll(cx);
                }
                Err(NoCredit::Closed) => Err(CallError::NoProc),
            },
            State::New(target, message, _) => target.and_then(|target| now::<A, M, Mode>(Ok(target), message)),
            State::Queueing(mut queueing) => match queueing.as_mut().poll(cx) {
                Poll::Ready(sent) => sent,
                Poll::Pending => {
                    self.state = State::Queueing(queueing);
                    return Poll::Pending;
                }
            },
            State::Done => panic!("a cast was polled after it was sent"),
        };
        if let Err(error) = sent {
            tracing::trace!(to = std::any::type_name::<A>(), message = std::any::type_name::<M>(), %error, "cast dropped");
        }
        Poll::Ready(())
    }
}

/// Sends a message without waiting.
pub(super) fn now<A, M, Mode>(target: Result<Target<A>, CallError>, message: M) -> Result<(), CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    match target? {
        Target::Here(cell) => {
            cell.credits.try_take()?;
            push::<A, M, Mode>(&cell, message)
        }
        Target::Abroad(system, node, to) => abroad::cast::<A, M>(&system, node, to, &message),
    }
}

fn push<A, M, Mode>(cell: &Arc<Cell<A>>, message: M) -> Result<(), CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    let message = Typed::<A, M, Mode> { message, reply_to: ReplyTo::nobody() };
    cell.push(Item::message(message)).map_err(|_| CallError::NoProc)
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> fmt::Debug for Cast<A, M, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cast").field("message", &std::any::type_name::<M>()).finish_non_exhaustive()
    }
}
