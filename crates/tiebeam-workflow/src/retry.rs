use std::time::Duration;

use tiebeam_resilience::Backoff;

/// How an attempt of a step, or of a compensation, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Its outcome is unknown or it may go well later: it is tried again, and compensated if the workflow fails.
    #[error("{0}")]
    Transient(String),
    /// It certainly had no effect and never will: it is not tried again.
    #[error("{0}")]
    Permanent(String),
}

/// When a failed step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How long to wait between attempts. Default: 100 ms doubling up to 10 s.
    pub backoff: Backoff,
    /// Most attempts, at least 1. Default: 8. Edge: the step fails.
    pub attempts: u32,
    /// How long one attempt may take; then it is dropped and counts as transient. Default: 30 s.
    pub attempt_timeout: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
        Self { backoff, attempts: 8, attempt_timeout: Duration::from_secs(30) }
    }
}

impl Retry {
    /// Tries up to `attempts` times, at least once, with the default pauses.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts, ..Self::default() }
    }

    /// Waits as `backoff` says instead.
    #[must_use]
    pub const fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Drops an attempt after `attempt_timeout` instead.
    #[must_use]
    pub const fn attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// Waits before the attempt that follows `failed` failed ones, of which there is at least one.
    pub(crate) async fn pause(&self, failed: u32) {
        tiebeam_world::sleep(self.backoff.delay(failed.saturating_sub(1), tiebeam_world::random())).await;
    }
}

/// Why a workflow failed. It makes the compensations of its steps run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowError {
    /// A step failed for good.
    #[error("step {step} failed at attempt {attempts}: {error}")]
    Step {
        /// Which, as `name#occurrence`.
        step: String,
        /// How many attempts there were.
        attempts: u32,
        /// What the last one said.
        error: StepError,
    },
    /// The code gave up by itself.
    #[error("{0}")]
    Abort(String),
}

impl WorkflowError {
    /// Gives up with `reason`.
    pub fn abort(reason: impl Into<String>) -> Self {
        Self::Abort(reason.into())
    }
}
