//! When connections must be looked at again, at the latest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::time::Instant;

use quinn_proto::ConnectionHandle;
use tokio::sync::Notify;

use crate::peer::lock;

/// Deadlines of all connections. A connection arms itself only for an earlier moment than the one it is armed for: most
/// packets move its deadline to later, which is noticed when the earlier one is due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    armed: Mutex<BinaryHeap<Reverse<(Instant, usize)>>>,
    earlier: Notify,
}

impl Timers {
    pub(super) fn arm(&self, deadline: Instant, connection: ConnectionHandle) {
        let is_first = {
            let mut armed = lock(&self.armed);
            let first = armed.peek().map(|Reverse((first, _))| *first);
            armed.push(Reverse((deadline, connection.0)));
            first.is_none_or(|first| deadline < first)
        };
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Waits until some connections are due and returns them.
    pub(super) async fn due(&self) -> Vec<(Instant, ConnectionHandle)> {
        loop {
            let (due, next) = self.take(tiebeam_world::clock());
            if !due.is_empty() {
                return due;
            }
            let earlier = self.earlier.notified();
            match next {
                Some(next) => drop(tiebeam_world::timeout_at(next, earlier).await),
                None => earlier.await,
            }
        }
    }

    fn take(&self, now: Instant) -> (Vec<(Instant, ConnectionHandle)>, Option<Instant>) {
        let mut armed = lock(&self.armed);
        let mut due = Vec::new();
        while let Some(Reverse((deadline, connection))) = armed.peek().copied() {
            if deadline > now {
                return (due, Some(deadline));
            }
            armed.pop();
            due.push((deadline, ConnectionHandle(connection)));
        }
        (due, None)
    }
}
