//! Watching what one process hears and handles, within limits: a busy actor must not drown whoever looks at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tiebeam_wire::Instant;
use tokio::sync::mpsc;

use crate::cell::{Inspection, Signal};
use crate::{CallError, ExitReason, Pid, System};

/// How many events may wait to be read; more are lost, and counted.
const UNREAD_MAX: usize = 1024;

/// How much a [`Trace`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// After how many events it ends. Default 10,000.
    pub events_max: u64,
    /// How many events it tells within a second; more are lost, and counted. Default 1,000.
    pub events_per_second_max: u32,
}

impl Default for TraceLimits {
    fn default() -> Self {
        Self { events_max: 10_000, events_per_second_max: 1_000 }
    }
}

/// Something that a traced process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When, on the node's own clock.
    pub at: Instant,
    /// The process.
    pub pid: Pid,
    /// What.
    pub kind: TraceKind,
}

/// What a traced process did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceKind {
    /// It begins to handle a message of this type.
    Handles(&'static str),
    /// A signal reached it.
    Signal(String),
    /// It ended.
    Ended(ExitReason),
}

/// The events of one process, as they come. Dropping it ends the trace.
#[derive(Debug)]
pub struct Trace {
    events: mpsc::Receiver<TraceEvent>,
    lost: Arc<AtomicU64>,
}

/// The traced process's end.
pub(crate) struct Tracer {
    pid: Pid,
    events: mpsc::Sender<TraceEvent>,
    lost: Arc<AtomicU64>,
    limits: TraceLimits,
    second: Instant,
    told_in_second: u32,
}

impl System {
    /// Traces a process of this node from here on. There is one trace for a process: a new one ends the former.
    ///
    /// # Errors
    /// [`CallError::NoProc`].
    pub fn trace(&self, pid: Pid, limits: TraceLimits) -> Result<Trace, CallError> {
        let process = self.process(pid).ok_or(CallError::NoProc)?;
        let (to, events) = mpsc::channel(UNREAD_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let second = tiebeam_world::now();
        let tracer = Tracer { pid, events: to, lost: Arc::clone(&lost), limits, second, told_in_second: 0 };
        let inspection = Inspection::Trace(Some(Box::new(tracer)));
        process.signal(Signal::Inspect(inspection)).map_err(|_| CallError::NoProc)?;
        Ok(Trace { events, lost })
    }
}

impl Trace {
    /// Waits for the next event; none once the trace is over: the limit is reached, the process ended, or it is traced
    /// anew.
    pub async fn next(&mut self) -> Option<TraceEvent> {
        self.events.recv().await
    }

    /// How many events were lost so far: there were more within a second than may be, or too many waited to be read.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Tracer {
    /// Tells an event; says whether the trace goes on.
    pub(crate) fn tell(&mut self, kind: TraceKind) -> bool {
        let at = tiebeam_world::now();
        if at.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.told_in_second) = (at, 0);
        }
        self.told_in_second = self.told_in_second.saturating_add(1);
        let fits = self.told_in_second <= self.limits.events_per_second_max;
        if fits && self.events.try_send(TraceEvent { at, pid: self.pid, kind }).is_ok() {
            self.limits.events_max = self.limits.events_max.saturating_sub(1);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.limits.events_max > 0 && !self.events.is_closed()
    }
}
