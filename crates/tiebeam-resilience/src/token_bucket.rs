use std::time::Duration;

use tiebeam_wire::Instant;

use crate::nanos;

/// How fast a [`TokenBucket`] fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucketConfig {
    /// The most tokens it holds, so the largest burst. It begins full.
    pub capacity: u64,
    /// How many tokens come in each period.
    pub tokens: u64,
    /// How long a period is. Tokens come evenly, not at its end.
    pub period: Duration,
}

/// Too few tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// When there will be enough if nobody else takes any, to the nanosecond; none if there never will.
    pub ready_in: Option<Duration>,
}

/// Lets so much pass on average, and a burst at most. The arithmetic is exact: no rounding, so no drift.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::{Short, TokenBucket, TokenBucketConfig};
/// use tiebeam_wire::Instant;
///
/// let config = TokenBucketConfig { capacity: 2, tokens: 3, period: Duration::from_secs(1) };
/// let start = Instant { nanos: 0 };
/// let mut bucket = TokenBucket::new(start, config);
/// assert_eq!(bucket.take(start, 2), Ok(()));
/// let third = Duration::from_nanos(333_333_334);
/// assert_eq!(bucket.take(start, 1), Err(Short { ready_in: Some(third) }));
/// assert_eq!(bucket.take(start + third, 1), Ok(()));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    config: TokenBucketConfig,
    period_nanos: u64,
    /// What it holds, in parts of a token: a token has as many parts as the period has nanoseconds, so that each
    /// nanosecond brings a whole number of parts.
    level: u128,
    updated: Instant,
    snapshot: TokenBucketSnapshot,
}

/// What a [`TokenBucket`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucketSnapshot {
    /// Takes that were allowed.
    pub allowed: u64,
    /// Takes that were refused.
    pub refused: u64,
    /// Tokens that were taken.
    pub tokens: u64,
}

impl TokenBucket {
    /// Makes a full one.
    ///
    /// # Panics
    /// If the period is zero or longer than 584 years.
    #[must_use]
    pub fn new(now: Instant, config: TokenBucketConfig) -> Self {
        let period_nanos = nanos(config.period);
        assert!((1..u64::MAX).contains(&period_nanos), "period {:?} is out of range", config.period);
        let level = u128::from(config.capacity) * u128::from(period_nanos);
        Self { config, period_nanos, level, updated: now, snapshot: TokenBucketSnapshot::default() }
    }

    /// Takes `tokens`, all or none.
    ///
    /// # Errors
    /// [`Short`] says when there will be enough; nothing was taken.
    pub fn take(&mut self, now: Instant, tokens: u64) -> Result<(), Short> {
        self.refill(now);
        let wanted = u128::from(tokens) * u128::from(self.period_nanos);
        if let Some(left) = self.level.checked_sub(wanted) {
            self.level = left;
            self.snapshot.allowed += 1;
            self.snapshot.tokens = self.snapshot.tokens.saturating_add(tokens);
            return Ok(());
        }
        self.snapshot.refused += 1;
        let missing = wanted - self.level;
        let possible = tokens <= self.config.capacity && self.config.tokens > 0;
        let wait = possible.then(|| missing.div_ceil(u128::from(self.config.tokens)));
        Err(Short { ready_in: wait.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos) })
    }

    /// Returns how many whole tokens it holds.
    pub fn available(&mut self, now: Instant) -> u64 {
        self.refill(now);
        u64::try_from(self.level / u128::from(self.period_nanos)).unwrap_or(u64::MAX)
    }

    /// Returns what was counted.
    #[must_use]
    pub const fn snapshot(&self) -> TokenBucketSnapshot {
        self.snapshot
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.nanos.saturating_sub(self.updated.nanos);
        self.updated = now.max(self.updated);
        let full = u128::from(self.config.capacity) * u128::from(self.period_nanos);
        let gained = u128::from(elapsed) * u128::from(self.config.tokens);
        self.level = self.level.saturating_add(gained).min(full);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(capacity: u64, tokens: u64, period: u64) -> TokenBucket {
        let period = Duration::from_nanos(period);
        TokenBucket::new(Instant { nanos: 0 }, TokenBucketConfig { capacity, tokens, period })
    }

    #[test]
    fn third_of_a_token_is_not_rounded_away() {
        // Three tokens in ten nanoseconds, asked for at each nanosecond for a long time: exactly three tenths pass, and the
        // two tokens that were there.
        let mut bucket = bucket(2, 3, 10);
        let passed = (1..=1_000_000).filter(|now| bucket.take(Instant { nanos: *now }, 1).is_ok()).count();
        assert_eq!(passed, 300_001);
        assert_eq!(bucket.snapshot(), TokenBucketSnapshot { allowed: 300_001, refused: 699_999, tokens: 300_001 });
    }

    #[test]
    fn what_never_fits_has_no_time() {
        assert_eq!(bucket(5, 1, 10).take(Instant { nanos: 0 }, 6), Err(Short { ready_in: None }));
        let mut dry = bucket(5, 0, 10);
        assert_eq!(dry.take(Instant { nanos: 0 }, 5), Ok(()));
        assert_eq!(dry.take(Instant { nanos: u64::MAX }, 1), Err(Short { ready_in: None }));
    }

    #[test]
    fn largest_numbers_do_not_overflow() {
        let mut bucket = bucket(u64::MAX, u64::MAX, u64::MAX - 1);
        assert_eq!(bucket.take(Instant { nanos: 1 }, u64::MAX), Ok(()));
        assert_eq!(bucket.available(Instant { nanos: u64::MAX }), u64::MAX);
    }

    #[test]
    fn time_that_goes_back_fills_nothing_twice() {
        let mut bucket = bucket(10, 1, 1);
        assert_eq!(bucket.take(Instant { nanos: 100 }, 10), Ok(()));
        assert!(bucket.take(Instant { nanos: 50 }, 1).is_err());
        assert!(bucket.take(Instant { nanos: 100 }, 1).is_err());
        assert_eq!(bucket.available(Instant { nanos: 103 }), 3);
    }

    proptest! {
        /// Would break: drift. The model is the generic cell rate algorithm, which knows no level, only when the bucket
        /// would be full.
        #[test]
        fn bucket_is_the_cell_rate_algorithm(
            config in (0..20_u64, 1..20_u64, 1..50_u64),
            steps in prop::collection::vec((0..60_u64, 0..8_u64), 0..100),
        ) {
            let (capacity, rate, period) = config;
            let mut bucket = bucket(capacity, rate, period);
            let (mut now, mut full_at) = (0, 0);
            for (pause, tokens) in steps {
                now += pause;
                let then = full_at.max(now * rate) + tokens * period;
                let expected = then <= now * rate + capacity * period;
                let taken = bucket.take(Instant { nanos: now }, tokens);
                prop_assert_eq!(taken.is_ok(), expected);
                if expected {
                    full_at = then;
                }
                if let Err(Short { ready_in: Some(wait) }) = taken {
                    let (mut early, mut ready) = (bucket, bucket);
                    let nanos = u64::try_from(wait.as_nanos()).unwrap();
                    let (before, at) = (Instant { nanos: now + nanos - 1 }, Instant { nanos: now + nanos });
                    prop_assert!(early.take(before, tokens).is_err(), "not a nanosecond before");
                    prop_assert!(ready.take(at, tokens).is_ok());
                }
            }
        }
    }
}
