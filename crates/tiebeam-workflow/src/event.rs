use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Names a step of one instance: its name, and how many times the code asked for that name so far, from 1.
///
/// Steps are matched by this on replay, not by position alone, so that code may gain steps that no instance has reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId {
    /// The name the code gives it.
    pub name: String,
    /// 1 for the first step of that name.
    pub occurrence: u32,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.occurrence)
    }
}

/// What an instance's journal is made of. Its position is its index in the journal, from 0.
///
/// The order of variants and fields is the format: new variants go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A step is about to run. Seen again for a step without an outcome after a takeover: its effect may happen twice.
    StepStarted {
        /// Which step.
        step: StepId,
        /// The Raft term of the leader that runs it.
        term: u64,
        /// Whether a compensation was declared.
        compensable: bool,
        /// What the code bound to the step; compared on replay.
        args: Bytes,
    },
    /// An attempt ended in an error.
    StepFailed {
        /// Which step.
        step: StepId,
        /// Which attempt, from 1.
        attempt: u32,
        /// What the step said.
        error: String,
        /// Whether the outcome of the attempt is unknown; otherwise it certainly had no effect.
        transient: bool,
        /// Whether no further attempt follows.
        last: bool,
    },
    /// A step ended well.
    StepCompleted {
        /// Which step.
        step: StepId,
        /// Which attempt, from 1.
        attempt: u32,
        /// The encoded result.
        result: Bytes,
    },
    /// A compensation is about to run. Seen again after a takeover: its effect may happen twice.
    CompensationStarted {
        /// The step that is compensated.
        step: StepId,
        /// The Raft term of the leader that runs it.
        term: u64,
    },
    /// A compensation ended well.
    CompensationCompleted {
        /// The step that was compensated.
        step: StepId,
    },
    /// The instance ended well.
    Completed {
        /// What the code returned.
        result: Bytes,
    },
    /// The instance failed and everything it had to compensate is compensated.
    Compensated {
        /// Why it failed.
        error: String,
    },
    /// The instance failed and there was nothing to compensate.
    Failed {
        /// Why it failed.
        error: String,
    },
    /// The instance is parked: its code panicked, or doesn't fit its journal.
    Stuck {
        /// What is wrong.
        reason: String,
    },
    /// A parked instance goes on.
    Resumed,
}

impl Event {
    /// Whether the instance needs no leader to run it after this.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Compensated { .. } | Self::Failed { .. } | Self::Stuck { .. })
    }

    /// Bytes that the event costs in a journal, to within a few.
    pub(crate) fn cost(&self) -> usize {
        let body = match self {
            Self::StepStarted { step, args, .. } => step.name.len() + args.len(),
            Self::StepFailed { step, error, .. } => step.name.len() + error.len(),
            Self::StepCompleted { step, result, .. } => step.name.len() + result.len(),
            Self::CompensationStarted { step, .. } | Self::CompensationCompleted { step } => step.name.len(),
            Self::Completed { result } => result.len(),
            Self::Compensated { error } | Self::Failed { error } => error.len(),
            Self::Stuck { reason } => reason.len(),
            Self::Resumed => 0,
        };
        body + EVENT_OVERHEAD_BYTES
    }
}

/// Numbers and lengths of an event, rounded up.
const EVENT_OVERHEAD_BYTES: usize = 32;
