use std::time::Duration;

use tiebeam_wire::Instant;

use crate::window::Window;

/// How many retries there may be for how many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudgetConfig {
    /// Retries per hundred requests of the window.
    pub percent: u32,
    /// Retries that are allowed in a window in any case, so that a caller with few requests can retry at all.
    pub reserve: u64,
    /// How far back is counted.
    pub window: Duration,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { percent: 10, reserve: 10, window: Duration::from_secs(10) }
    }
}

/// Keeps retries from exceeding a share of the load: who is overloaded gets at most that much more by retries, whatever
/// fails. Backoff alone only delays them.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::{RetryBudget, RetryBudgetConfig};
/// use tiebeam_wire::Instant;
///
/// let config = RetryBudgetConfig { percent: 20, reserve: 1, window: Duration::from_secs(10) };
/// let mut budget = RetryBudget::new(config);
/// let now = Instant { nanos: 0 };
/// (0..10).for_each(|_| budget.request(now));
/// let allowed = (0..10).filter(|_| budget.try_retry(now)).count();
/// assert_eq!(allowed, 3, "one in any case, and two for ten requests");
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    config: RetryBudgetConfig,
    window: Window,
    snapshot: RetryBudgetSnapshot,
}

/// What a [`RetryBudget`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryBudgetSnapshot {
    /// First attempts.
    pub requests: u64,
    /// Retries that were allowed.
    pub retries: u64,
    /// Retries that were refused.
    pub refused: u64,
}

const SLOTS: u32 = 10;
const REQUEST: [u64; 2] = [1, 0];
const RETRY: [u64; 2] = [0, 1];

impl RetryBudget {
    /// Makes one that has counted nothing.
    ///
    /// # Panics
    /// If the window is shorter than ten nanoseconds.
    #[must_use]
    pub fn new(config: RetryBudgetConfig) -> Self {
        Self { config, window: Window::new(config.window, SLOTS), snapshot: RetryBudgetSnapshot::default() }
    }

    /// Takes in that a request is tried for the first time.
    pub fn request(&mut self, now: Instant) {
        self.window.add(now, REQUEST);
        self.snapshot.requests += 1;
    }

    /// Asks whether one more retry may go, and counts it if so.
    pub fn try_retry(&mut self, now: Instant) -> bool {
        let [requests, retries] = self.window.totals(now);
        let earned = u128::from(requests) * u128::from(self.config.percent) / 100;
        let allowed = u128::from(retries) < earned + u128::from(self.config.reserve);
        if allowed {
            self.window.add(now, RETRY);
            self.snapshot.retries += 1;
        } else {
            self.snapshot.refused += 1;
        }
        allowed
    }

    /// Returns what was counted.
    #[must_use]
    pub const fn snapshot(&self) -> RetryBudgetSnapshot {
        self.snapshot
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant { nanos: ms * 1_000_000 }
    }

    #[test]
    fn storm_of_failures_is_not_answered_by_a_storm_of_retries() {
        let mut budget = RetryBudget::new(RetryBudgetConfig::default());
        // A hundred requests a second, all of which fail and want three retries each.
        for second in 0..60 {
            for request in 0..100 {
                let now = at(second * 1000 + request * 10);
                budget.request(now);
                for _ in 0..3 {
                    let _ = budget.try_retry(now);
                }
            }
        }
        let RetryBudgetSnapshot { requests, retries, refused } = budget.snapshot();
        assert_eq!((requests, retries + refused), (6000, 18_000));
        assert!((600..=670).contains(&retries), "{retries}");
    }

    #[test]
    fn what_was_earned_is_lost_when_the_window_has_passed() {
        let mut budget = RetryBudget::new(RetryBudgetConfig { reserve: 0, ..RetryBudgetConfig::default() });
        (0..100).for_each(|_| budget.request(at(0)));
        assert!(budget.try_retry(at(9_999)));
        assert!(!budget.try_retry(at(10_000)));
    }

    proptest! {
        /// Would break: retries beyond their share of any window's load.
        #[test]
        fn retries_never_exceed_their_share(
            steps in prop::collection::vec((0..40_u64, any::<bool>()), 0..200),
            percent in 0..150_u32,
            reserve in 0..4_u64,
        ) {
            let config = RetryBudgetConfig { percent, reserve, window: Duration::from_nanos(100) };
            let mut budget = RetryBudget::new(config);
            let (mut now, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            for (pause, is_retry) in steps {
                now += pause;
                let within = |times: &[u64]| times.iter().filter(|at| now / 10 - **at / 10 < 10).count() as u64;
                if !is_retry {
                    budget.request(Instant { nanos: now });
                    requests.push(now);
                    continue;
                }
                let expected = within(&retries) < within(&requests) * u64::from(percent) / 100 + reserve;
                prop_assert_eq!(budget.try_retry(Instant { nanos: now }), expected);
                if expected {
                    retries.push(now);
                }
            }
        }
    }
}
