//! Names the handler that computes for too long: what waits behind it on its core waits with it, and nobody can interrupt
//! it. A thread of its own looks, since all others may be stuck.

use std::sync::Arc;
use std::time::Duration;

use crate::cell::Process;
use crate::scheduler::Shared;

/// How often a turn is looked at before it counts as stuck.
const LOOKS: u32 = 4;

/// Starts the watch over the workers of `shared`; it ends with them. `find` returns a process by its serial.
pub(crate) fn start(
    shared: Arc<Shared>,
    stuck_after: Duration,
    find: impl Fn(u64) -> Option<Arc<dyn Process>> + Send + 'static,
) {
    let watch = move || {
        let mut seen = vec![Seen::default(); shared.workers()];
        while shared.wait_for_end(stuck_after / LOOKS) {
            for (worker, seen) in seen.iter_mut().enumerate() {
                let turn = shared.turn_of(worker);
                if seen.again(turn) == LOOKS
                    && let Some(process) = find(turn.serial)
                {
                    report(&*process, stuck_after);
                }
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("tiebeam-watchdog".to_owned()).spawn(watch) {
        tracing::error!(%error, "watchdog does not start; stuck handlers will not be named");
    }
}

/// What a worker is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TurnAt {
    /// Whose turn it is; 0 between turns.
    pub(crate) serial: u64,
    /// Counts the worker's turns.
    pub(crate) number: u64,
}

#[derive(Clone, Default)]
struct Seen {
    turn: TurnAt,
    times: u32,
}

impl Seen {
    /// Returns how often in a row the same turn was seen before.
    fn again(&mut self, turn: TurnAt) -> u32 {
        let is_same = turn == self.turn && turn.serial != 0;
        *self = Self { turn, times: if is_same { self.times.saturating_add(1) } else { 0 } };
        self.times
    }
}

fn report(process: &dyn Process, stuck_after: Duration) {
    let (pid, kind, handling) = (process.pid(), process.kind(), process.handling().unwrap_or("nothing"));
    tracing::warn!(%pid, kind, handling, ?stuck_after, "handler computes without a break, others wait behind it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_turn_that_stays_is_stuck() {
        let mut seen = Seen::default();
        let (idle, first, second) =
            (TurnAt::default(), TurnAt { serial: 7, number: 1 }, TurnAt { serial: 7, number: 2 });
        assert_eq!(
            [idle, idle, first, first, first, second, second].map(|turn| seen.again(turn)),
            [0, 0, 0, 1, 2, 0, 1]
        );
    }
}
