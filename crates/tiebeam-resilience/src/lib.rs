//! Backs off, pure and with time given.
//!
//! Floor 1: no clock, no entropy. A caller hands in random bits and gets back how long to wait.

use std::time::Duration;

/// Exponential backoff with equal jitter: attempt *n* waits between half of and all of `first * 2^n`, at most `max`.
///
/// Jitter keeps callers that failed together from coming back together (Brooker, "Exponential Backoff And Jitter",
/// 2015); half of the delay is kept so that a retry never comes at once.
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
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let factor = 1_u64.checked_shl(attempt.min(63)).unwrap_or(u64::MAX);
        let ceiling = nanos(self.first).saturating_mul(factor).min(nanos(self.max));
        let half = ceiling / 2;
        // Multiply-shift spreads the bits over the range without the bias of a remainder (Lemire, 2019).
        let spread = (u128::from(random) * u128::from(ceiling - half + 1)) >> 64;
        Duration::from_nanos(half + u64::try_from(spread).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
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
}
