use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tiebeam_wire::Instant;

use super::{CALL_TIMEOUT, Target, To, abroad};
use crate::actor::Dispatch;
use crate::cell::{BoxFuture, Cell};
use crate::credits::Admission;
use crate::message::Typed;
use crate::raw::current;
use crate::raw::item::Item;
use crate::raw::slot::{Receiver, slot};
use crate::{CallError, ReplyTo};

/// A call that is made when it is awaited.
///
/// Its result is the answer or a [`CallError`]. Dropping the future gives the call up: an answer goes nowhere, and if the
/// callee has not begun, it never will.
pub struct Call<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    to: To<'a, A>,
    message: M,
    timeout: Duration,
    mode: PhantomData<fn() -> Mode>,
}

impl<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Call<'a, A, M, Mode> {
    pub(super) const fn new(to: To<'a, A>, message: M) -> Self {
        Self { to, message, timeout: CALL_TIMEOUT, mode: PhantomData }
    }

    /// Waits at most this long, for room in the mailbox and for the answer together.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// A call under way.
pub struct Calling<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    state: State<'a, A, M, Mode>,
}

enum State<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    New(Call<'a, A, M, Mode>),
    /// Waits for room in the mailbox.
    Queueing(BoxFuture<'static, Result<Waiting<A::Answer>, CallError>>),
    Waiting(Waiting<A::Answer>),
    Abroad(BoxFuture<'static, Result<A::Answer, CallError>>),
    Done,
}

/// The message is in the mailbox.
struct Waiting<R> {
    answer: Receiver<Result<R, CallError>>,
    /// When the call was made, for the first look, which follows at once.
    now: Option<Instant>,
    deadline: Instant,
    /// Wakes the caller if no process does that for its calls together.
    sleep: Option<BoxFuture<'static, ()>>,
}

// What is pinned lies in boxes; the message only passes through.
impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Unpin for Calling<'_, A, M, Mode> {}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Future for Calling<'_, A, M, Mode> {
    type Output = Result<A::Answer, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let polled = match &mut self.state {
                State::New(_) => {
                    let State::New(call) = std::mem::replace(&mut self.state, State::Done) else { unreachable!() };
                    match call.begin() {
                        Ok(state) => self.state = state,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    continue;
                }
                State::Queueing(queueing) => match std::task::ready!(queueing.as_mut().poll(cx)) {
                    Ok(waiting) => {
                        self.state = State::Waiting(waiting);
                        continue;
                    }
                    Err(error) => Poll::Ready(Err(error)),
                },
                State::Waiting(waiting) => waiting.poll(cx),
                State::Abroad(answer) => answer.as_mut().poll(cx),
                State::Done => panic!("a call was polled after its answer"),
            };
            if polled.is_ready() {
                self.state = State::Done;
            }
            return polled;
        }
    }
}

impl<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Call<'a, A, M, Mode> {
    #[inline]
    fn begin(self) -> Result<State<'a, A, M, Mode>, CallError> {
        let now = tiebeam_world::now();
        let deadline = now + self.timeout;
        match self.to.here() {
            Some(cell) if cell.credits.try_take().is_ok() => {
                Ok(State::Waiting(place::<A, M, Mode>(cell, self.message, now, deadline)?))
            }
            _ => self.begin_slowly(now, deadline),
        }
    }

    #[cold]
    fn begin_slowly(self, now: Instant, deadline: Instant) -> Result<State<'a, A, M, Mode>, CallError> {
        let Self { to, message, timeout, .. } = self;
        Ok(match to.target()? {
            Target::Here(cell) => match cell.admit()? {
                Admission::Granted => State::Waiting(place::<A, M, Mode>(&cell, message, now, deadline)?),
                Admission::Wait => State::Queueing(Box::pin(async move {
                    let credit = tiebeam_world::timeout(timeout, cell.credits.take()).await;
                    // The message never left, so this is no timeout: trying again is safe.
                    credit.map_err(|_| CallError::Overloaded)??;
                    place::<A, M, Mode>(&cell, message, tiebeam_world::now(), deadline)
                })),
                Admission::Refused | Admission::Dropped | Admission::Stop => return Err(CallError::Overloaded),
            },
            Target::Abroad(system, node, to) => State::Abroad(Box::pin(async move {
                abroad::call::<A, M, A::Answer>(&system, node, to, message, deadline).await
            })),
        })
    }
}

/// Puts a message that has its credit into the mailbox.
fn place<A, M, Mode>(
    cell: &Arc<Cell<A>>,
    message: M,
    now: Instant,
    deadline: Instant,
) -> Result<Waiting<A::Answer>, CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    let (caller, answer) = slot();
    let message = Typed::<A, M, Mode> { message, reply_to: ReplyTo::local(caller) };
    match cell.push(Item::message(message)) {
        Ok(()) => Ok(Waiting { answer, now: Some(now), deadline, sleep: None }),
        Err(unsent) => {
            // The answer's place first: then nobody is told of a message that comes back.
            drop(answer);
            drop(unsent);
            Err(CallError::NoProc)
        }
    }
}

impl<R> Waiting<R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, CallError>> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer.unwrap_or(Err(CallError::NoProc)));
        }
        if let Some(sleep) = &mut self.sleep {
            return sleep.as_mut().poll(cx).map(|()| Err(CallError::Timeout));
        }
        let now = self.now.take().unwrap_or_else(tiebeam_world::now);
        if now >= self.deadline {
            return Poll::Ready(Err(CallError::Timeout));
        }
        if current::wake_by(now, self.deadline, cx) {
            return Poll::Pending;
        }
        let sleep = self.sleep.insert(Box::pin(tiebeam_world::sleep_until(self.deadline)));
        sleep.as_mut().poll(cx).map(|()| Err(CallError::Timeout))
    }
}

impl<'a, A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> IntoFuture for Call<'a, A, M, Mode> {
    type Output = Result<A::Answer, CallError>;
    type IntoFuture = Calling<'a, A, M, Mode>;

    fn into_future(self) -> Calling<'a, A, M, Mode> {
        Calling { state: State::New(self) }
    }
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> fmt::Debug for Calling<'_, A, M, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calling").field("message", &std::any::type_name::<M>()).finish_non_exhaustive()
    }
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> fmt::Debug for Call<'_, A, M, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("message", &std::any::type_name::<M>()).finish_non_exhaustive()
    }
}
