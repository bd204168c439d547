mod algorithm;

use std::time::Duration;

pub use algorithm::Algorithm;
use algorithm::Estimate;

/// Between which bounds a [`Limiter`] looks for its limit, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterConfig {
    /// The limit to begin with.
    pub initial: u32,
    /// The lowest limit; at least 1, so that something is always learned.
    pub min: u32,
    /// The highest limit.
    pub max: u32,
    /// How the limit is learned.
    pub algorithm: Algorithm,
}

impl Default for LimiterConfig {
    fn default() -> Self {
        Self { initial: 20, min: 1, max: 1_000, algorithm: Algorithm::GRADIENT }
    }
}

/// How a call ended, for the limit to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It was done, and took so long.
    Done(Duration),
    /// It was lost to overload: refused or timed out by the other side.
    Overloaded,
    /// It says nothing: cancelled, or failed for reasons of its own.
    Ignored,
}

/// As many calls are under way as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The limit at present.
    pub limit: u32,
}

/// Finds out how many calls may be under way, from how long they take: more as long as that costs no time, fewer when it
/// does. So nobody has to guess a number that is wrong on the next machine.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::{Algorithm, Limiter, LimiterConfig, Sample};
///
/// let algorithm = Algorithm::Aimd { latency_max: Duration::from_millis(100), backoff_percent: 50 };
/// let mut limiter = Limiter::new(LimiterConfig { initial: 4, min: 1, max: 10, algorithm });
/// for _ in 0..4 {
///     limiter.try_start().unwrap();
/// }
/// assert!(limiter.try_start().is_err());
/// limiter.ended(Sample::Overloaded);
/// assert_eq!(limiter.limit(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Limiter {
    config: LimiterConfig,
    estimate: Estimate,
    under_way: u32,
    counts: LimiterSnapshot,
}

/// What a [`Limiter`] counted, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterSnapshot {
    /// The limit now.
    pub limit: u32,
    /// How many are under way now.
    pub under_way: u32,
    /// Calls that might start.
    pub started: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that were done.
    pub done: u64,
    /// Calls that were lost to overload.
    pub overloaded: u64,
    /// Calls that said nothing.
    pub ignored: u64,
}

impl Limiter {
    /// Makes one with nothing under way.
    ///
    /// # Panics
    /// If not `1 <= min <= initial <= max`.
    #[must_use]
    pub fn new(config: LimiterConfig) -> Self {
        let LimiterConfig { initial, min, max, .. } = config;
        assert!(min >= 1, "min {min} < 1");
        assert!(min <= initial && initial <= max, "limits {min} <= {initial} <= {max}");
        Self { config, estimate: Estimate::new(initial), under_way: 0, counts: LimiterSnapshot::default() }
    }

    /// Asks to start a call.
    ///
    /// # Errors
    /// [`Full`] if as many are under way as there may be.
    pub fn try_start(&mut self) -> Result<(), Full> {
        let limit = self.limit();
        if self.under_way >= limit {
            self.counts.refused += 1;
            return Err(Full { limit });
        }
        self.under_way += 1;
        self.counts.started += 1;
        Ok(())
    }

    /// Takes in that a call ended, and learns from it.
    ///
    /// # Panics
    /// If none is under way.
    pub fn ended(&mut self, sample: Sample) {
        assert!(self.under_way >= 1, "no call is under way that could end");
        let under_way = self.under_way;
        self.under_way -= 1;
        match sample {
            Sample::Done(_) => self.counts.done += 1,
            Sample::Overloaded => self.counts.overloaded += 1,
            Sample::Ignored => self.counts.ignored += 1,
        }
        self.estimate.learn(&self.config, sample, under_way);
    }

    /// Returns how many calls may be under way. It may be below how many are, which then end without others to start.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.estimate.limit(self.config.min)
    }

    /// Returns what was counted, and where it stands.
    #[must_use]
    pub fn snapshot(&self) -> LimiterSnapshot {
        LimiterSnapshot { limit: self.limit(), under_way: self.under_way, ..self.counts }
    }
}

#[cfg(test)]
mod tests;
