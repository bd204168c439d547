use std::collections::VecDeque;
use std::time::Duration;

use tiebeam_wire::Instant;

/// How many run, how many wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadConfig {
    /// How many run at once.
    pub running_max: u32,
    /// How many wait; one more is refused.
    pub waiting_max: u32,
    /// How long one waits; after that it is sent away.
    pub wait_max: Duration,
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self { running_max: 16, waiting_max: 64, wait_max: Duration::from_secs(1) }
    }
}

/// What becomes of who asks to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Entry {
    /// It runs now, and must leave at its end.
    Running,
    /// It waits until [`Bulkhead::leave`] or [`Bulkhead::expire`] names it.
    Waiting,
    /// It neither runs nor waits: there is no room.
    Refused,
}

/// Keeps one kind of work from taking all there is: so many run, so many wait in order, the rest is refused. It only keeps
/// the books; who runs is the caller's to start.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::{Bulkhead, BulkheadConfig, Entry};
/// use tiebeam_wire::Instant;
///
/// let config = BulkheadConfig { running_max: 1, waiting_max: 1, wait_max: Duration::from_secs(1) };
/// let mut bulkhead = Bulkhead::new(config);
/// let now = Instant { nanos: 0 };
/// assert_eq!(bulkhead.enter(now, "a"), Entry::Running);
/// assert_eq!(bulkhead.enter(now, "b"), Entry::Waiting);
/// assert_eq!(bulkhead.enter(now, "c"), Entry::Refused);
/// assert_eq!(bulkhead.leave(now), Some("b"), "runs now");
/// assert_eq!(bulkhead.leave(now), None);
/// ```
#[derive(Clone, Debug)]
pub struct Bulkhead<Id> {
    config: BulkheadConfig,
    running: u32,
    /// Who waits, and until when; all wait equally long, so the first to come is the first to go.
    waiting: VecDeque<(Id, Instant)>,
    counts: BulkheadSnapshot,
}

/// What a [`Bulkhead`] counted, and who is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkheadSnapshot {
    /// How many run now.
    pub running: u32,
    /// How many wait now.
    pub waiting: u32,
    /// Those that ran, at once or later.
    pub entered: u64,
    /// Those that waited first, however that ended.
    pub waited: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those that waited too long.
    pub expired: u64,
    /// Those that gave up.
    pub abandoned: u64,
}

impl<Id: PartialEq> Bulkhead<Id> {
    /// Makes an empty one.
    ///
    /// # Panics
    /// If nobody may run.
    #[must_use]
    pub fn new(config: BulkheadConfig) -> Self {
        assert!(config.running_max >= 1, "somebody must be able to run");
        Self { config, running: 0, waiting: VecDeque::new(), counts: BulkheadSnapshot::default() }
    }

    /// Asks to enter, under a name that nobody who waits has.
    pub fn enter(&mut self, now: Instant, id: Id) -> Entry {
        if self.running < self.config.running_max {
            self.running += 1;
            self.counts.entered += 1;
            return Entry::Running;
        }
        if self.waiting.len() >= self.config.waiting_max as usize {
            self.counts.refused += 1;
            return Entry::Refused;
        }
        self.waiting.push_back((id, now + self.config.wait_max));
        self.counts.waited += 1;
        Entry::Waiting
    }

    /// Takes in that one that ran is done, and returns who runs in its place, if anybody waits in time.
    ///
    /// # Panics
    /// If nobody runs.
    pub fn leave(&mut self, now: Instant) -> Option<Id> {
        assert!(self.running >= 1, "nobody runs who could leave");
        // Who has waited too long stands in front, and is for `expire` to name.
        let next = self.waiting.iter().position(|(_, due)| now < *due).and_then(|at| self.waiting.remove(at));
        match next {
            Some((id, _)) => {
                self.counts.entered += 1;
                Some(id)
            }
            None => {
                self.running -= 1;
                None
            }
        }
    }

    /// Takes in that `id` doesn't want to wait any more; false if it doesn't wait.
    pub fn abandon(&mut self, id: &Id) -> bool {
        let found = self.waiting.iter().position(|(other, _)| other == id);
        let gone = found.and_then(|at| self.waiting.remove(at)).is_some();
        self.counts.abandoned += u64::from(gone);
        gone
    }

    /// Returns the next one that has waited too long, and forgets it; to be called until there is none.
    pub fn expire(&mut self, now: Instant) -> Option<Id> {
        let (id, _) = self.waiting.pop_front_if(|(_, due)| *due <= now)?;
        self.counts.expired += 1;
        Some(id)
    }

    /// When [`Bulkhead::expire`] must next be called; none if nobody waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, due)| *due)
    }

    /// Returns what was counted, and who is there.
    #[must_use]
    pub fn snapshot(&self) -> BulkheadSnapshot {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        BulkheadSnapshot { running: self.running, waiting, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant { nanos }
    }

    fn bulkhead(running_max: u32, waiting_max: u32) -> Bulkhead<u32> {
        Bulkhead::new(BulkheadConfig { running_max, waiting_max, wait_max: Duration::from_nanos(100) })
    }

    #[test]
    fn who_waited_too_long_is_sent_away_and_never_runs() {
        let mut bulkhead = bulkhead(1, 2);
        let entries = [(0, 1), (0, 2), (50, 3), (60, 4)].map(|(now, id)| bulkhead.enter(at(now), id));
        assert_eq!(entries, [Entry::Running, Entry::Waiting, Entry::Waiting, Entry::Refused]);
        assert_eq!(bulkhead.deadline(), Some(at(100)));
        assert_eq!(bulkhead.leave(at(100)), Some(3), "2 is too late");
        assert_eq!((bulkhead.expire(at(100)), bulkhead.expire(at(100))), (Some(2), None));
        let expected =
            BulkheadSnapshot { running: 1, waiting: 0, entered: 2, waited: 2, refused: 1, expired: 1, abandoned: 0 };
        assert_eq!(bulkhead.snapshot(), expected);
    }

    #[test]
    fn who_gives_up_makes_room() {
        let mut bulkhead = bulkhead(1, 1);
        assert_eq!([1, 2].map(|id| bulkhead.enter(at(0), id)), [Entry::Running, Entry::Waiting]);
        assert!(bulkhead.abandon(&2) && !bulkhead.abandon(&2) && !bulkhead.abandon(&1));
        assert_eq!(bulkhead.enter(at(0), 3), Entry::Waiting);
    }

    proptest! {
        /// Would break: a bound, the order, or somebody who is neither run nor sent away. The model is two lists.
        #[test]
        fn everybody_is_accounted_for(
            limits in (1..4_u32, 0..4_u32),
            steps in prop::collection::vec((0..40_u64, 0..6_u8), 0..120),
        ) {
            let mut bulkhead = bulkhead(limits.0, limits.1);
            let (mut running, mut waiting, mut now, mut id) = (0, Vec::<(u32, u64)>::new(), 0, 0);
            for (pause, step) in steps {
                now += pause;
                match step {
                    0..3 => {
                        id += 1;
                        let expected = if running < limits.0 {
                            running += 1;
                            Entry::Running
                        } else if waiting.len() < limits.1 as usize {
                            waiting.push((id, now + 100));
                            Entry::Waiting
                        } else {
                            Entry::Refused
                        };
                        prop_assert_eq!(bulkhead.enter(at(now), id), expected);
                    }
                    3 if running > 0 => {
                        let next = waiting.iter().position(|(_, due)| now < *due).map(|at| waiting.remove(at).0);
                        running -= u32::from(next.is_none());
                        prop_assert_eq!(bulkhead.leave(at(now)), next);
                    }
                    4 if !waiting.is_empty() => {
                        let (gone, _) = waiting.remove(waiting.len() / 2);
                        prop_assert!(bulkhead.abandon(&gone));
                    }
                    _ => {
                        let (late, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, due)| *due <= now);
                        waiting = rest;
                        let expired: Vec<u32> = std::iter::from_fn(|| bulkhead.expire(at(now))).collect();
                        prop_assert_eq!(expired, late.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
                    }
                }
                let snapshot = bulkhead.snapshot();
                prop_assert_eq!((snapshot.running, snapshot.waiting as usize), (running, waiting.len()));
                let through = snapshot.entered + snapshot.refused + snapshot.expired + snapshot.abandoned;
                prop_assert_eq!(through + u64::from(snapshot.waiting), u64::from(id));
            }
        }
    }
}
