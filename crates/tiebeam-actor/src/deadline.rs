use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tiebeam_wire::Instant;

/// The moment from which on an actor must not run, because what allowed it to is over. It can be put off as long as it has
/// not come. Clones are the same deadline.
///
/// Given to a [`Starter`](crate::Starter), it is looked at before each message, and before a handler that waited goes on:
/// so an actor whose process was paused finds its time over before it does anything. It then ends, with
/// [`ExitReason::Other`](crate::ExitReason::Other) of [`DEADLINE_OVER`]. What computes without waiting is not interrupted;
/// tasks that the actor spawned, and actors that it is linked to, end with it and not before it. Nobody is woken by a deadline: whoever sets it sends an exit
/// to those who wait for something else.
#[derive(Clone)]
pub struct Deadline(Arc<AtomicU64>);

/// The text of the exit reason of an actor whose deadline was over.
pub const DEADLINE_OVER: &str = "deadline is over";

impl Deadline {
    /// Makes a deadline at `moment`.
    #[must_use]
    pub fn new(moment: Instant) -> Self {
        Self(Arc::new(AtomicU64::new(moment.nanos)))
    }

    /// Puts the deadline off until `moment`; an earlier one changes nothing.
    pub fn put_off(&self, moment: Instant) {
        self.0.fetch_max(moment.nanos, Ordering::AcqRel);
    }

    /// Returns when it is.
    #[must_use]
    pub fn moment(&self) -> Instant {
        Instant { nanos: self.0.load(Ordering::Acquire) }
    }

    /// Says whether it is over now.
    #[must_use]
    pub fn is_over(&self) -> bool {
        tiebeam_world::now() >= self.moment()
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({:?})", self.moment())
    }
}
