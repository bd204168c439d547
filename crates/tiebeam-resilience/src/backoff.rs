use std::time::Duration;

use crate::{nanos, spread};

/// Exponential backoff with equal jitter: attempt *n* waits between half of and all of `first * 2^n`, at most `max`.
///
/// Jitter keeps callers that failed together from coming back together (Brooker, "Exponential Backoff And Jitter",
/// 2015); half of the delay is kept so that a retry never comes at once. [`Delays`] offers the other kinds of jitter.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::Backoff;
///
/// let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };
/// assert_eq!(backoff.delay(2, u64::MAX), Duration::from_millis(400));
/// assert_eq!(backoff.delay(2, 0), Duration::from_millis(200));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest delay before the first retry.
    pub first: Duration,
    /// The longest delay before any retry.
    pub max: Duration,
}

impl Backoff {
    /// Returns the delay before retry number `attempt` (0 for the first); `random` are 64 random bits.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let ceiling = self.ceiling(attempt);
        let half = ceiling / 2;
        Duration::from_nanos(half + spread(random, ceiling - half))
    }

    /// The longest delay before retry number `attempt`, in nanoseconds.
    fn ceiling(&self, attempt: u32) -> u64 {
        let factor = 1_u64.checked_shl(attempt.min(63)).unwrap_or(u64::MAX);
        nanos(self.first).saturating_mul(factor).min(nanos(self.max))
    }
}

/// How a delay is spread, so that those who failed together don't come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all: the whole delay. For a single caller, who can't meet himself.
    None,
    /// Anywhere between none and all of the delay: the least load on who recovers, and some retries come at once.
    Full,
    /// Anywhere between half and all of the delay.
    Equal,
    /// Anywhere between the first delay and three times the last one: it grows with chance, so that callers drift apart.
    Decorrelated,
}

/// The delays of one caller, one after the other.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::{Backoff, Delays, Jitter};
///
/// let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };
/// let mut delays = Delays::new(backoff, Jitter::None);
/// let waited: Vec<_> = (0..5).map(|_| delays.next(0).as_millis()).collect();
/// assert_eq!(waited, [100, 200, 400, 800, 1000]);
/// delays.reset();
/// assert_eq!(delays.next(0), Duration::from_millis(100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    backoff: Backoff,
    jitter: Jitter,
    attempt: u32,
    last_nanos: u64,
}

impl Delays {
    /// Begins at the first delay.
    #[must_use]
    pub const fn new(backoff: Backoff, jitter: Jitter) -> Self {
        Self { backoff, jitter, attempt: 0, last_nanos: 0 }
    }

    /// Returns the next delay; `random` are 64 random bits.
    pub fn next(&mut self, random: u64) -> Duration {
        let ceiling = self.backoff.ceiling(self.attempt);
        let delay = match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => spread(random, ceiling),
            Jitter::Equal => nanos(self.backoff.delay(self.attempt, random)),
            Jitter::Decorrelated => {
                let first = self.backoff.ceiling(0);
                let high = self.last_nanos.max(first).saturating_mul(3);
                (first + spread(random, high - first)).min(nanos(self.backoff.max))
            }
        };
        self.attempt = self.attempt.saturating_add(1);
        self.last_nanos = delay;
        Duration::from_nanos(delay)
    }

    /// Begins again: the last attempt succeeded.
    pub const fn reset(&mut self) {
        self.attempt = 0;
        self.last_nanos = 0;
    }

    /// Returns how many delays were handed out since the beginning.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };

    #[test]
    fn delay_doubles_up_to_the_maximum() {
        let longest: Vec<u128> = (0..8).map(|n| BACKOFF.delay(n, u64::MAX).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn delay_is_at_least_half() {
        let shortest: Vec<u128> = (0..3).map(|n| BACKOFF.delay(n, 0).as_millis()).collect();
        assert_eq!(shortest, [50, 100, 200]);
    }

    #[test]
    fn attempt_beyond_any_shift_stays_at_the_maximum() {
        assert_eq!(BACKOFF.delay(u32::MAX, u64::MAX), Duration::from_secs(5));
    }

    #[test]
    fn each_jitter_has_its_bounds() {
        let bounds = |jitter| {
            let ends = [0, u64::MAX].map(|random| {
                let mut delays = Delays::new(BACKOFF, jitter);
                (0..4).map(|_| delays.next(random).as_millis()).collect::<Vec<_>>()
            });
            let [low, high] = ends;
            (low, high)
        };
        assert_eq!(bounds(Jitter::None), (vec![100, 200, 400, 800], vec![100, 200, 400, 800]));
        assert_eq!(bounds(Jitter::Full), (vec![0, 0, 0, 0], vec![100, 200, 400, 800]));
        assert_eq!(bounds(Jitter::Equal), (vec![50, 100, 200, 400], vec![100, 200, 400, 800]));
        assert_eq!(bounds(Jitter::Decorrelated), (vec![100, 100, 100, 100], vec![300, 900, 2700, 5000]));
    }

    #[test]
    fn longest_durations_do_not_overflow() {
        for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
            let mut delays = Delays::new(Backoff { first: Duration::MAX, max: Duration::MAX }, jitter);
            assert!((0..3).all(|_| delays.next(u64::MAX) <= Duration::from_nanos(u64::MAX)));
        }
    }

    proptest! {
        /// Would break: jitter that leaves its range, or prefers one end of it.
        #[test]
        fn delays_stay_in_range(jitter in 0..4, random: [u64; 12]) {
            let jitter = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated][jitter as usize];
            let mut delays = Delays::new(BACKOFF, jitter);
            for random in random {
                prop_assert!(delays.next(random) <= BACKOFF.max);
            }
            prop_assert_eq!(delays.attempt(), 12);
        }

        #[test]
        fn spread_is_even(last in 0..1000_u64, random: u64) {
            let exact = u128::from(random) * u128::from(last + 1) / (1 << 64);
            prop_assert_eq!(u128::from(spread(random, last)), exact);
            prop_assert!(spread(u64::MAX, last) == last && spread(0, last) == 0);
        }
    }
}
