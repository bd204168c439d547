use std::time::Duration;

use tiebeam_wire::Instant;

use crate::window::Window;

/// When a [`Breaker`] opens, and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// How many failures in a row open it; 0 turns this rule off.
    pub failures_in_row: u32,
    /// How many failures in a hundred calls of the window open it; above 100 this rule is off.
    pub failure_percent: u32,
    /// How many calls the window must hold for the share to count: one failure of two calls is no sign.
    pub calls_min: u64,
    /// How far back the share is counted.
    pub window: Duration,
    /// Into how many slots the window is cut; what is older falls out by the slot.
    pub slots: u32,
    /// How long it stays open. Probes that haven't answered after as long again count as failed.
    pub open: Duration,
    /// How many probes may be under way at once while it is half open.
    pub probes_max: u32,
    /// How many probes must succeed to close it.
    pub successes_to_close: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures_in_row: 5,
            failure_percent: 50,
            calls_min: 20,
            window: Duration::from_secs(10),
            slots: 10,
            open: Duration::from_secs(5),
            probes_max: 1,
            successes_to_close: 2,
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side did what it should.
    Success,
    /// It failed in a way that says that it isn't well; a refused argument is no such way.
    Failure,
    /// It says nothing: the caller gave up for reasons of his own.
    Ignored,
}

/// Leave for one call. To be given back with its outcome, whatever that is.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a call's outcome is what the breaker decides by"]
pub struct Permit {
    /// The state in which it was given; an answer to a question of an earlier state decides nothing.
    turn: u64,
}

/// The breaker refuses: the other side failed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// After which time it is worth asking again.
    pub retry_in: Duration,
}

/// What a [`Breaker`] does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Every call may go.
    Closed,
    /// No call may go.
    Open,
    /// A few calls may go, to see how it is.
    HalfOpen,
}

/// Stops calls to somebody who fails, so that callers fail at once instead of late, and he gets time to recover.
///
/// ```
/// use tiebeam_resilience::{Breaker, BreakerConfig, BreakerState, Outcome};
/// use tiebeam_wire::Instant;
///
/// let config = BreakerConfig { failures_in_row: 2, ..BreakerConfig::default() };
/// let mut breaker = Breaker::new(config);
/// let now = Instant { nanos: 0 };
/// for _ in 0..2 {
///     let permit = breaker.try_call(now).unwrap();
///     breaker.ended(now, permit, Outcome::Failure);
/// }
/// let refused = breaker.try_call(now).unwrap_err();
/// assert_eq!(refused.retry_in, config.open);
/// let later = now + config.open;
/// for _ in 0..2 {
///     let probe = breaker.try_call(later).unwrap();
///     breaker.ended(later, probe, Outcome::Success);
/// }
/// assert_eq!(breaker.state(later), BreakerState::Closed);
/// ```
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    window: Window,
    state: State,
    turn: u64,
    snapshot: BreakerSnapshot,
}

/// What a [`Breaker`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerSnapshot {
    /// Calls that might go.
    pub allowed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Calls that said nothing.
    pub ignored: u64,
    /// Times that it opened, from closed or half open.
    pub opened: u64,
    /// Times that it closed.
    pub closed: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures_in_row: u32 },
    Open { until: Instant },
    HalfOpen { since: Instant, under_way: u32, succeeded: u32 },
}

impl Breaker {
    /// Makes a closed one.
    ///
    /// # Panics
    /// If no probe may go or none is needed to close, or if the window has no slots or these no length.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        assert!(config.probes_max >= 1, "without probes it would never close");
        assert!(config.successes_to_close >= 1, "closing takes a success");
        Self {
            config,
            window: Window::new(config.window, config.slots),
            state: State::Closed { failures_in_row: 0 },
            turn: 0,
            snapshot: BreakerSnapshot::default(),
        }
    }

    /// Asks for leave to call.
    ///
    /// # Errors
    /// [`Refused`] while it is open, and while it is half open and enough probes are under way.
    pub fn try_call(&mut self, now: Instant) -> Result<Permit, Refused> {
        self.advance(now);
        let allowed = match &mut self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until } => Err(until.since(now)),
            State::HalfOpen { under_way, .. } if *under_way < self.config.probes_max => {
                *under_way += 1;
                Ok(())
            }
            State::HalfOpen { since, .. } => Err((*since + self.config.open).since(now)),
        };
        match allowed {
            Ok(()) => {
                self.snapshot.allowed += 1;
                Ok(Permit { turn: self.turn })
            }
            Err(retry_in) => {
                self.snapshot.refused += 1;
                Err(Refused { retry_in })
            }
        }
    }

    /// Takes in how a call ended.
    pub fn ended(&mut self, now: Instant, permit: Permit, outcome: Outcome) {
        self.advance(now);
        let count = match outcome {
            Outcome::Success => &mut self.snapshot.successes,
            Outcome::Failure => &mut self.snapshot.failures,
            Outcome::Ignored => &mut self.snapshot.ignored,
        };
        *count += 1;
        // A call that began before it opened says how it was then; it must neither close it now nor open it again.
        if permit.turn == self.turn {
            self.decide(now, outcome);
        }
    }

    /// Returns what it does at `now`.
    pub fn state(&mut self, now: Instant) -> BreakerState {
        self.advance(now);
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns what was counted.
    #[must_use]
    pub const fn snapshot(&self) -> BreakerSnapshot {
        self.snapshot
    }

    /// Lets time pass: from open to half open, and back if the probes are lost.
    fn advance(&mut self, now: Instant) {
        match self.state {
            State::Open { until } if until <= now => {
                self.enter(State::HalfOpen { since: now, under_way: 0, succeeded: 0 });
            }
            // A probe without an answer is no good sign, and one that was never given back must not lock it for ever.
            State::HalfOpen { since, under_way, .. } if under_way > 0 && since + self.config.open <= now => {
                self.open(now);
            }
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    fn decide(&mut self, now: Instant, outcome: Outcome) {
        match (&mut self.state, outcome) {
            (State::Closed { failures_in_row }, Outcome::Success) => {
                *failures_in_row = 0;
                self.window.add(now, [1, 0]);
            }
            (State::Closed { failures_in_row }, Outcome::Failure) => {
                *failures_in_row = failures_in_row.saturating_add(1);
                let in_row = *failures_in_row;
                self.window.add(now, [0, 1]);
                let too_many = self.config.failures_in_row > 0 && in_row >= self.config.failures_in_row;
                if too_many || self.share_is_too_high(now) {
                    self.open(now);
                }
            }
            (State::HalfOpen { since, under_way, succeeded }, Outcome::Success) => {
                *under_way -= 1;
                *succeeded += 1;
                // The other probes get their time from here.
                *since = now;
                if *succeeded >= self.config.successes_to_close {
                    self.snapshot.closed += 1;
                    self.window.clear();
                    self.enter(State::Closed { failures_in_row: 0 });
                }
            }
            (State::HalfOpen { .. }, Outcome::Failure) => self.open(now),
            (State::HalfOpen { under_way, .. }, Outcome::Ignored) => *under_way -= 1,
            (State::Closed { .. }, Outcome::Ignored) | (State::Open { .. }, _) => {}
        }
    }

    fn share_is_too_high(&mut self, now: Instant) -> bool {
        let [successes, failures] = self.window.totals(now);
        let calls = successes + failures;
        let share = u128::from(failures) * 100 >= u128::from(calls) * u128::from(self.config.failure_percent);
        calls >= self.config.calls_min && share
    }

    fn open(&mut self, now: Instant) {
        self.snapshot.opened += 1;
        self.enter(State::Open { until: now + self.config.open });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.turn += 1;
    }
}

#[cfg(test)]
mod tests;
