use std::time::Duration;

use super::{LimiterConfig, Sample};

/// How a limit is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Additive increase, multiplicative decrease: one more per limit's worth of calls that were done in time, a share less
    /// for each that wasn't. Plain and steady; it has to be told what in time means.
    Aimd {
        /// A call that takes longer counts as lost to overload.
        latency_max: Duration,
        /// What remains of the limit after a loss, in percent; below 100.
        backoff_percent: u32,
    },
    /// Follows the ratio between how long calls take at best and now: what takes longer waits in a queue, so fewer may be
    /// under way. It needs no number for what is in time.
    ///
    /// The limit changes once per round, which is a limit's worth of calls that all started after the last change; calls
    /// from before would tell of a limit that is no more, and make it swing. Every so many rounds one has half the limit,
    /// to see how long calls take without a queue; without that a queue that stays would count as usual. After Netflix's
    /// "Gradient" (2018), and BBR for the rounds (Cardwell and others, 2016).
    Gradient {
        /// How much longer than at best a call may take before the limit shrinks, in percent; at least 100.
        tolerance_percent: u32,
        /// How much of a new limit is taken over in each round, in percent.
        smoothing_percent: u32,
        /// After how many rounds one has half the limit. The best time is that of the last two such spans.
        rounds: u32,
    },
}

impl Algorithm {
    /// A gradient for calls of about equal length.
    pub const GRADIENT: Self = Self::Gradient { tolerance_percent: 150, smoothing_percent: 50, rounds: 30 };
}

/// The limit as it is learned: a number with a fraction, since many changes are smaller than one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    limit: f64,
    round: Round,
    rounds: u32,
    /// Whether this round has half the limit.
    halved: bool,
    /// The shortest mean time of a round, in this span and the one before.
    best: [f64; 2],
}

/// What the calls of a round told so far.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// How many calls that are under way started before the round, and don't count.
    earlier: u32,
    done: u32,
    nanos: f64,
    used: bool,
}

impl Estimate {
    pub(super) fn new(initial: u32) -> Self {
        let best = [f64::INFINITY; 2];
        Self { limit: f64::from(initial), round: Round::default(), rounds: 0, halved: false, best }
    }

    /// The limit at present, as a whole number that isn't below `min`.
    pub(super) fn limit(&self, min: u32) -> u32 {
        let limit = if self.halved { self.limit / 2.0 } else { self.limit };
        (limit as u32).max(min)
    }

    /// Learns from a call that ended; `under_way` were so with it.
    pub(super) fn learn(&mut self, config: &LimiterConfig, sample: Sample, under_way: u32) {
        let limit = match config.algorithm {
            Algorithm::Aimd { latency_max, backoff_percent } => {
                self.aimd(sample, under_way, latency_max, f64::from(backoff_percent) / 100.0)
            }
            Algorithm::Gradient { tolerance_percent, smoothing_percent, rounds } => {
                let tolerance = f64::from(tolerance_percent) / 100.0;
                let target = self.gradient(config.min, sample, under_way, tolerance, rounds);
                self.limit + (target - self.limit) * f64::from(smoothing_percent) / 100.0
            }
        };
        self.limit = limit.clamp(f64::from(config.min), f64::from(config.max));
    }

    fn aimd(&self, sample: Sample, under_way: u32, latency_max: Duration, backoff: f64) -> f64 {
        match sample {
            Sample::Done(took) if took <= latency_max && self.is_used(under_way) => self.limit + 1.0 / self.limit,
            Sample::Done(took) if took <= latency_max => self.limit,
            Sample::Done(_) | Sample::Overloaded => self.limit * backoff,
            Sample::Ignored => self.limit,
        }
    }

    fn gradient(&mut self, min: u32, sample: Sample, under_way: u32, tolerance: f64, rounds: u32) -> f64 {
        if self.round.earlier > 0 {
            self.round.earlier -= 1;
            return self.limit;
        }
        match sample {
            Sample::Ignored => return self.limit,
            // Overload is no matter of means: the round ends here, so that many losses at once count as one.
            Sample::Overloaded => {
                self.begin_round(under_way, rounds);
                return self.limit * STEEPEST;
            }
            Sample::Done(took) => {
                self.round.done += 1;
                self.round.nanos += took.as_secs_f64() * 1e9;
                self.round.used |= self.is_used(under_way);
            }
        }
        if self.round.done < self.limit(min).max(CALLS_MIN) {
            return self.limit;
        }
        let took = (self.round.nanos / f64::from(self.round.done)).max(1.0);
        self.best[0] = self.best[0].min(took);
        let best = self.best[0].min(self.best[1]);
        let settled = self.halved || !self.round.used;
        self.begin_round(under_way, rounds);
        if settled {
            return self.limit;
        }
        let gradient = (tolerance * best / took).clamp(STEEPEST, 1.0);
        // A short queue is wanted: without one nobody would notice that there is room.
        self.limit * gradient + self.limit.sqrt()
    }

    fn begin_round(&mut self, under_way: u32, rounds: u32) {
        self.round = Round { earlier: under_way.saturating_sub(1), ..Round::default() };
        self.rounds = self.rounds.saturating_add(1);
        self.halved = self.rounds >= rounds.max(2);
        if self.halved {
            self.rounds = 0;
            self.best = [f64::INFINITY, self.best[0]];
        }
    }

    /// Whether the limit is what holds calls back. One that isn't reached says nothing about a higher one, and would grow
    /// without end while there is little to do.
    fn is_used(&self, under_way: u32) -> bool {
        f64::from(under_way) * 2.0 >= self.limit
    }
}

/// The most that a round takes from the limit before smoothing: half.
const STEEPEST: f64 = 0.5;
/// How many calls a round has at least: fewer are no mean.
const CALLS_MIN: u32 = 4;
