use std::collections::VecDeque;
use std::time::Duration;

use tiebeam_wire::Instant;

use crate::nanos;

/// How long a [`CodelQueue`] may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodelConfig {
    /// How long an item may wait without anything being wrong.
    pub target: Duration,
    /// How long items may wait longer than that before one is dropped. As long as a burst may last.
    pub interval: Duration,
    /// How many items wait; one more is refused.
    pub items_max: usize,
}

impl Default for CodelConfig {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100), items_max: 1_024 }
    }
}

/// What a pop takes out of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popped<T> {
    /// What to serve; none if the queue is empty.
    pub item: Option<T>,
    /// What was dropped on the way, in the order in which it came; mostly nothing. Its senders are to be told.
    pub dropped: Vec<T>,
}

/// A queue that tells a burst from an overload: a burst drains, an overload keeps the queue long. While items wait longer
/// than the target for a whole interval, some are dropped, more and more often, until the wait is short again.
///
/// The control law is that of RFC 8289 (Nichols, Jacobson, "Controlled Delay Active Queue Management", 2018).
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::{CodelConfig, CodelQueue, Popped};
/// use tiebeam_wire::Instant;
///
/// let at = |ms: u64| Instant { nanos: ms * 1_000_000 };
/// let mut queue = CodelQueue::new(CodelConfig::default());
/// for item in 0..5 {
///     queue.push(at(0), item).unwrap();
/// }
/// assert_eq!(queue.pop(at(50)), Popped { item: Some(0), dropped: vec![] }, "late, but perhaps a burst");
/// assert_eq!(queue.pop(at(150)), Popped { item: Some(2), dropped: vec![1] }, "late for a whole interval");
/// ```
#[derive(Clone, Debug)]
pub struct CodelQueue<T> {
    config: CodelConfig,
    items: VecDeque<(T, Instant)>,
    /// When the wait will have been too long for an interval; none if it is short.
    late_from: Option<Instant>,
    state: State,
    snapshot: CodelSnapshot,
}

/// What a [`CodelQueue`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodelSnapshot {
    /// Items taken in.
    pub pushed: u64,
    /// Items refused because the queue was full.
    pub refused: u64,
    /// Items handed out to be served.
    pub served: u64,
    /// Items dropped because the queue stayed long.
    pub dropped: u64,
    /// Items that wait now.
    pub waiting: usize,
    /// How long the last item that left had waited.
    pub waited_last: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// How often the last time of dropping dropped, and when it would have dropped next.
    Calm { count: u64, next: Option<Instant> },
    /// How often it dropped, counted from `begin`, which is 1 or what was remembered.
    Dropping { count: u64, begin: u64, next: Instant },
}

/// Whoever begins to drop again within so many intervals goes on about where it stopped (RFC 8289, 5.5).
const REMEMBERED_INTERVALS: u32 = 16;

impl<T> CodelQueue<T> {
    /// Makes an empty one.
    ///
    /// # Panics
    /// If the interval is zero.
    #[must_use]
    pub fn new(config: CodelConfig) -> Self {
        assert!(config.interval > Duration::ZERO, "an interval has a length");
        let state = State::Calm { count: 0, next: None };
        Self { config, items: VecDeque::new(), late_from: None, state, snapshot: CodelSnapshot::default() }
    }

    /// Lets `item` wait.
    ///
    /// # Errors
    /// The item itself if the queue is full.
    pub fn push(&mut self, now: Instant, item: T) -> Result<(), T> {
        if self.items.len() >= self.config.items_max {
            self.snapshot.refused += 1;
            return Err(item);
        }
        self.items.push_back((item, now));
        self.snapshot.pushed += 1;
        Ok(())
    }

    /// Takes out the next item to serve, and drops those before it that the control law names.
    pub fn pop(&mut self, now: Instant) -> Popped<T> {
        let mut dropped = Vec::new();
        let (mut item, mut late) = self.next(now);
        match self.state {
            State::Dropping { mut count, begin, mut next } => {
                while late && next <= now && item.is_some() {
                    dropped.extend(item.take());
                    count = count.saturating_add(1);
                    (item, late) = self.next(now);
                    if late {
                        next = self.control_law(next, count);
                    }
                }
                self.state = if late {
                    State::Dropping { count, begin, next }
                } else {
                    State::Calm { count: count - begin, next: Some(next) }
                };
            }
            State::Calm { count, next } if late => {
                dropped.extend(item.take());
                item = self.next(now).0;
                let remembered = self.config.interval * REMEMBERED_INTERVALS;
                let recent = next.is_some_and(|next| now.since(next) < remembered);
                let count = if recent && count > 1 { count } else { 1 };
                let next = self.control_law(now, count);
                self.state = State::Dropping { count, begin: count, next };
            }
            State::Calm { .. } => {}
        }
        self.snapshot.dropped += dropped.len() as u64;
        self.snapshot.served += u64::from(item.is_some());
        Popped { item, dropped }
    }

    /// Returns how many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no item waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns what was counted.
    #[must_use]
    pub fn snapshot(&self) -> CodelSnapshot {
        CodelSnapshot { waiting: self.items.len(), ..self.snapshot }
    }

    /// Takes out the next item, and says whether the wait has been too long for a whole interval.
    fn next(&mut self, now: Instant) -> (Option<T>, bool) {
        let Some((item, pushed)) = self.items.pop_front() else {
            self.late_from = None;
            return (None, false);
        };
        let waited = now.since(pushed);
        self.snapshot.waited_last = waited;
        // The last item is never dropped: an empty queue serves nobody, however late it was.
        if waited < self.config.target || self.items.is_empty() {
            self.late_from = None;
            return (Some(item), false);
        }
        let late_from = *self.late_from.get_or_insert(now + self.config.interval);
        (Some(item), late_from <= now)
    }

    /// The next drop after `from`: the interval over the root of how many were dropped, so that drops come ever faster until
    /// the load gives way.
    fn control_law(&self, from: Instant, count: u64) -> Instant {
        let interval = u128::from(nanos(self.config.interval));
        let nanos = (interval * interval / u128::from(count.max(1))).isqrt();
        // At least a nanosecond, or a pop could go round for ever.
        from + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant { nanos: ms * 1_000_000 }
    }

    /// Pushes `load` items per 10 ms and serves one in each; returns what was dropped when, in ms.
    fn overload(queue: &mut CodelQueue<u64>, from_ms: u64, until_ms: u64, load: u64) -> Vec<u64> {
        let mut drops = Vec::new();
        for ms in (from_ms..until_ms).step_by(10) {
            (0..load).for_each(|_| queue.push(at(ms), ms).expect("there is room"));
            drops.extend(queue.pop(at(ms)).dropped.iter().map(|_| ms));
        }
        drops
    }

    #[test]
    fn burst_that_drains_in_time_loses_nothing() {
        let mut queue = CodelQueue::new(CodelConfig::default());
        (0..10).for_each(|item| queue.push(at(0), item).unwrap());
        let served: Vec<u64> = (0..10).filter_map(|n| queue.pop(at(n * 10)).item).collect();
        assert_eq!(served, (0..10).collect::<Vec<_>>());
        assert_eq!(queue.snapshot().dropped, 0);
    }

    #[test]
    fn overload_drops_ever_faster_by_the_root_of_the_count() {
        let mut queue = CodelQueue::new(CodelConfig::default());
        let drops = overload(&mut queue, 0, 500, 2);
        // The wait is above the target from 10 ms on; then 100/1, 100/sqrt 2, 100/sqrt 3 and so on between drops, seen
        // every 10 ms.
        assert_eq!(drops, [110, 210, 290, 340, 390, 440, 480]);
    }

    #[test]
    fn overload_that_comes_back_soon_is_met_where_it_was_left() {
        let mut queue = CodelQueue::new(CodelConfig::default());
        overload(&mut queue, 0, 1_000, 2);
        while queue.pop(at(1_000)).item.is_some() {}
        let again = overload(&mut queue, 1_100, 1_400, 2);
        assert!(again.len() >= 5, "{again:?}");
        while queue.pop(at(1_400)).item.is_some() {}
        assert_eq!(overload(&mut queue, 9_000, 9_300, 2).len(), 3, "and forgotten after sixteen intervals");
    }

    #[test]
    fn full_queue_gives_the_item_back() {
        let mut queue = CodelQueue::new(CodelConfig { items_max: 1, ..CodelConfig::default() });
        assert_eq!((queue.push(at(0), 1), queue.push(at(0), 2)), (Ok(()), Err(2)));
        assert_eq!(queue.snapshot().refused, 1);
    }

    #[test]
    fn shortest_interval_ends() {
        let config = CodelConfig { target: Duration::ZERO, interval: Duration::from_nanos(1), items_max: 100 };
        let mut queue = CodelQueue::new(config);
        (0..100).for_each(|item| queue.push(at(0), item).unwrap());
        while queue.pop(at(1)).item.is_some() {}
        assert!(queue.is_empty());
    }

    proptest! {
        /// Would break: an item that is lost or served twice, the order, or dropping while the wait is short.
        #[test]
        fn items_leave_in_order_and_all_of_them(
            steps in prop::collection::vec((0..40_u64, 0..4_u64), 0..200),
        ) {
            let mut queue = CodelQueue::new(CodelConfig { items_max: 50, ..CodelConfig::default() });
            let (mut now, mut item, mut left, mut waiting) = (0, 0, 0, VecDeque::new());
            for (pause, pushes) in steps {
                now += pause;
                for _ in 0..pushes {
                    if queue.push(at(now), item).is_ok() {
                        waiting.push_back((item, now));
                        item += 1;
                    }
                }
                let Popped { item: served, dropped } = queue.pop(at(now));
                for gone in dropped {
                    let (expected, pushed) = waiting.pop_front().unwrap();
                    prop_assert_eq!(gone, expected);
                    prop_assert!(now - pushed >= 5, "dropped after {} ms", now - pushed);
                    left += 1;
                }
                if let Some(served) = served {
                    prop_assert_eq!(served, waiting.pop_front().unwrap().0);
                    left += 1;
                }
                let snapshot = queue.snapshot();
                prop_assert_eq!(snapshot.served + snapshot.dropped, left);
                prop_assert_eq!(snapshot.waiting, waiting.len());
            }
        }
    }
}
