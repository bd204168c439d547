//! Polls workflow code and writes what it did.
//!
//! Events are written whenever the code can't go on by itself, all that gathered since the last time in one record. So
//! the start of a step shares a record with the completion of the one before, and the end with the last completion,
//! without anyone having to say so.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use super::Run;
use crate::command::Reply;
use crate::event::Event;
use crate::proposer::Lost;
use crate::query::Status;
use crate::registry::RunFuture;

/// Bytes of events after which a record is closed; the rest goes into the next one.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The instance is finished or stuck, by this run or by another.
    Ended,
    /// The journal went on without this run, or can't be written: load it again, if this node still leads.
    Lost(String),
}

/// Writes a record: position, events. `'static`, since it is polled beside the run that it writes for.
pub(crate) type Write = Box<dyn Fn(u32, Vec<Event>) -> BoxFuture<'static, Result<Reply, Lost>> + Send>;

/// Runs `code` until its instance has ended and everything is written.
///
/// A panic of the code parks the instance as stuck. Dropping the future stops the code where it is; the journal keeps
/// what was written.
pub(crate) async fn drive(run: Arc<Run>, code: RunFuture, write: Write) -> Exit {
    let running = Arc::clone(&run);
    let whole = Box::pin(async move {
        let outcome = code.await;
        running.finish(outcome).await;
    });
    let mut driver = Driver { run, code: Some(whole), write, flight: None };
    poll_fn(|cx| driver.poll(cx)).await
}

struct Driver {
    run: Arc<Run>,
    /// None once it is done, or given up.
    code: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    write: Write,
    flight: Option<Flight>,
}

struct Flight {
    position: u32,
    count: u32,
    reply: BoxFuture<'static, Result<Reply, Lost>>,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        loop {
            self.poll_code(cx);
            if self.flight.is_none() {
                let Some((position, events)) = self.run.take(RECORD_BYTES_MAX) else {
                    return if self.code.is_none() { Poll::Ready(Exit::Ended) } else { Poll::Pending };
                };
                let count = u32::try_from(events.len()).expect("a record has far fewer than four billion events");
                self.flight = Some(Flight { position, count, reply: (self.write)(position, events) });
            }
            let Some(flight) = self.flight.as_mut() else { return Poll::Pending };
            let Poll::Ready(reply) = flight.reply.as_mut().poll(cx) else { return Poll::Pending };
            let (position, count) = (flight.position, flight.count);
            self.flight = None;
            if let Some(exit) = self.land(position, count, reply) {
                return Poll::Ready(exit);
            }
        }
    }

    /// Lets the code go on as far as it can.
    fn poll_code(&mut self, cx: &mut Context<'_>) {
        let Some(code) = self.code.as_mut() else { return };
        // Unwind safety: the code is dropped after a panic, and what it shares with us has no broken state in between.
        let polled = catch_unwind(AssertUnwindSafe(|| code.as_mut().poll(cx)));
        let reason = match polled {
            Err(panic) => Some(format!("code panicked: {}", tiebeam_world::panic_message(&*panic))),
            Ok(Poll::Ready(())) => {
                self.code = None;
                self.run.halted()
            }
            Ok(Poll::Pending) => {
                self.run.check_quiescent();
                self.run.halted()
            }
        };
        if let Some(reason) = reason {
            tracing::warn!(instance = self.run.id(), reason, "workflow is stuck");
            self.code = None;
            self.run.park(reason);
        }
    }

    /// Takes note of what became of a record.
    fn land(&mut self, position: u32, count: u32, reply: Result<Reply, Lost>) -> Option<Exit> {
        match reply {
            Ok(Reply::Recorded { position: after }) if after == position.saturating_add(count) => {
                self.run.written(after);
                None
            }
            Ok(Reply::Ended { status: Status::Stuck }) => Some(Exit::Ended),
            Ok(Reply::Ended { status }) => {
                tracing::debug!(instance = self.run.id(), ?status, "instance was ended by another run");
                Some(Exit::Ended)
            }
            // A bug or a limit: written down, so that somebody sees it. If that is refused too, nobody can help.
            Ok(Reply::Refused(refusal)) if count > 1 || self.code.is_some() => {
                self.code = None;
                self.run.park_at(position, refusal.to_string());
                None
            }
            Ok(other) => Some(Exit::Lost(format!("record at {position} was answered with {other:?}"))),
            Err(lost) => Some(Exit::Lost(lost.to_string())),
        }
    }
}
