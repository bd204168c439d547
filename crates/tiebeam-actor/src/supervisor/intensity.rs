use std::collections::VecDeque;
use std::time::Duration;

use tiebeam_wire::Instant;

/// How many restarts a supervisor tolerates. Counted over all its children, as in OTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// How many restarts may happen within `period`; one more ends the supervisor. Default 3.
    pub restarts: u32,
    /// For how long a restart counts. Default 5 s.
    pub period: Duration,
}

impl Default for Intensity {
    fn default() -> Self {
        Self { restarts: 3, period: Duration::from_secs(5) }
    }
}

/// Counts the restarts of the last period. Pure: the time is given.
#[derive(Clone, Debug)]
pub(super) struct Restarts {
    intensity: Intensity,
    recent: VecDeque<Instant>,
}

impl Restarts {
    pub(super) const fn new(intensity: Intensity) -> Self {
        Self { intensity, recent: VecDeque::new() }
    }

    /// Counts a restart at `now`, which never goes back; says whether it may happen.
    pub(super) fn record(&mut self, now: Instant) -> bool {
        // As supervisor.erl: a restart that is exactly one period old still counts.
        while self.recent.front().is_some_and(|then| now.since(*then) > self.intensity.period) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.intensity.restarts as usize {
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model looks at the whole history each time. Fails if the window forgets too early or too late.
        #[test]
        fn window_is_that_of_the_naive_model(
            limit in 0..5_u32,
            period in 1..20_u64,
            steps in prop::collection::vec(0..10_u64, 0..60),
        ) {
            let intensity = Intensity { restarts: limit, period: Duration::from_nanos(period) };
            let mut restarts = Restarts::new(intensity);
            let mut history: Vec<u64> = Vec::new();
            let mut nanos = 0;
            for step in steps {
                nanos += step;
                let recent = history.iter().filter(|then| nanos - **then <= period).count();
                let allowed = recent < limit as usize;
                prop_assert_eq!(restarts.record(Instant { nanos }), allowed);
                if allowed {
                    history.push(nanos);
                }
            }
        }
    }
}
