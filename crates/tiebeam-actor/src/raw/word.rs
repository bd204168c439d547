//! Whether a process runs, waits for its turn, sleeps or is over: one byte that wakers and workers agree on.
//!
//! Invariants: whoever turns it from asleep to notified queues the process, so it is in at most one queue; whoever turns
//! it to running owns what only a turn touches, until it turns it to something else.

use super::sync::{AtomicU8, Ordering};

/// Is to have a turn; in a queue unless it runs.
const NOTIFIED: u8 = 1;
const RUNNING: u8 = 2;
const OVER: u8 = 4;

pub(crate) struct Word(AtomicU8);

impl Word {
    /// Is to have a turn; whoever makes it queues the process.
    #[cfg(not(tiebeam_loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(NOTIFIED))
    }

    #[cfg(tiebeam_loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(NOTIFIED))
    }

    /// Asks for a turn. Says whether the caller must queue the process.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        // A write in any case: a turn that begins afterwards sees what the caller did before.
        self.0.fetch_or(NOTIFIED, Ordering::AcqRel) == 0
    }

    /// Begins the turn that was asked for; says no if the process is over.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        self.0.compare_exchange(NOTIFIED, RUNNING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Ends a turn; says whether another was asked for meanwhile, and the caller must queue the process.
    #[inline]
    pub(crate) fn sleep(&self) -> bool {
        self.0.fetch_and(!RUNNING, Ordering::AcqRel) & NOTIFIED != 0
    }

    /// Ends a turn and asks for another; the caller must queue the process.
    pub(crate) fn again(&self) {
        self.0.store(NOTIFIED, Ordering::Release);
    }

    /// Ends the last turn.
    pub(crate) fn over(&self) {
        self.0.store(OVER, Ordering::Release);
    }

    /// Whether it has its turn, or waits for it; none if neither. For people: it may have changed by now.
    pub(crate) fn is_running(&self) -> Option<bool> {
        let state = self.0.load(Ordering::Relaxed);
        (state & (RUNNING | NOTIFIED) != 0).then_some(state & RUNNING != 0)
    }

    /// Ends a process that has no turn, for ever; says no if it has one, or is over.
    pub(crate) fn abandon(&self) -> bool {
        let former = self.0.fetch_or(OVER, Ordering::AcqRel);
        former & (RUNNING | OVER) == 0
    }
}

#[cfg(all(test, not(tiebeam_loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_who_asks_queues() {
        let word = Word::new();
        assert!(!word.notify() && word.begin());
        assert!(!word.notify(), "it runs, so its turn's end queues it");
        assert!(word.sleep() && word.begin() && !word.sleep());
        assert!(word.notify() && !word.notify() && word.begin());
        word.again();
        assert!(word.begin());
        word.over();
        assert!(!word.notify() && !word.begin() && !word.abandon());
    }

    #[test]
    fn abandoned_process_has_no_turn() {
        let word = Word::new();
        assert!(word.abandon() && !word.begin() && !word.notify() && !word.abandon());
    }
}
