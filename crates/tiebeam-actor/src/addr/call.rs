use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{CALL_TIMEOUT, Target, abroad};
use crate::actor::Dispatch;
use crate::cell::{BoxFuture, Cell, Process};
use crate::table::Typed;
use crate::{CallError, ReplyTo, System};

/// A call that is made when it is awaited.
///
/// Its result is the answer or a [`CallError`]. Dropping the future gives the call up: an answer goes nowhere, and if the
/// callee has not begun, it never will.
pub struct Call<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    system: System,
    target: Result<Target<A>, CallError>,
    message: M,
    timeout: Duration,
    mode: PhantomData<fn() -> Mode>,
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Call<A, M, Mode> {
    pub(super) const fn new(system: System, target: Result<Target<A>, CallError>, message: M) -> Self {
        Self { system, target, message, timeout: CALL_TIMEOUT, mode: PhantomData }
    }

    /// Waits at most this long, for room in the mailbox and for the answer together.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    async fn run(self) -> Result<A::Answer, CallError> {
        let deadline = tiebeam_world::now() + self.timeout;
        match self.target? {
            Target::Here(cell) => call_here::<A, M, Mode>(cell, self.message, self.timeout).await,
            Target::Abroad(node, to) => {
                abroad::call::<A, M, A::Answer>(&self.system, node, to, self.message, deadline).await
            }
        }
    }
}

async fn call_here<A, M, Mode>(cell: Arc<Cell<A>>, message: M, timeout: Duration) -> Result<A::Answer, CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    let deadline = tiebeam_world::now() + timeout;
    let credit = tiebeam_world::timeout(timeout, cell.credits.take()).await;
    // The message never left, so this is no timeout: trying again is safe.
    credit.map_err(|_| CallError::Overloaded)??;
    let (caller, answer) = oneshot::channel();
    let process: Arc<dyn Process> = Arc::<Cell<A>>::clone(&cell);
    let envelope = Box::new(Typed::<A, M, Mode> { message, reply_to: ReplyTo::local(caller, process) });
    if cell.push(envelope).is_err() {
        return Err(CallError::NoProc);
    }
    let left = deadline.since(tiebeam_world::now());
    match tiebeam_world::timeout(left, answer).await {
        Ok(answer) => answer.unwrap_or(Err(CallError::NoProc)),
        Err(_) => Err(CallError::Timeout),
    }
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> IntoFuture for Call<A, M, Mode> {
    type Output = Result<A::Answer, CallError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> fmt::Debug for Call<A, M, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("message", &std::any::type_name::<M>()).finish_non_exhaustive()
    }
}
