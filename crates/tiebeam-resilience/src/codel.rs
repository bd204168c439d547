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
mod tests;
