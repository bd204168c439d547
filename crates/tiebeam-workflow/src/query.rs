//! What can be asked of a partition.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_wire::codec::{self, DecodeError};

use crate::event::Event;

const QUERY_VERSION: u8 = 1;

/// How an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It runs, or waits for its turn.
    Running,
    /// It failed; compensations run.
    Compensating,
    /// It is parked until somebody resumes it.
    Stuck,
    /// It ended well.
    Completed,
    /// It failed and everything is compensated.
    Compensated,
    /// It failed and there was nothing to compensate.
    Failed,
}

impl Status {
    /// Whether nothing will happen to the instance any more.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated | Self::Failed)
    }

    /// The word that faces use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Failed => "failed",
        }
    }
}

/// What a partition counted since it was created. A pure function of its log, so exact whatever happened on the way:
/// `started == running + stuck + completed + compensated + failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Instances begun.
    pub started: u64,
    /// Instances that run, compensate or wait for their turn now.
    pub running: u64,
    /// Instances that are stuck now.
    pub stuck: u64,
    /// Instances that ended well.
    pub completed: u64,
    /// Instances that failed and were compensated.
    pub compensated: u64,
    /// Instances that failed with nothing to compensate.
    pub failed: u64,
    /// Step attempts with a recorded outcome.
    pub attempts: u64,
    /// Failed attempts after which the step was tried again.
    pub retries: u64,
    /// Compensations that ended well.
    pub compensations: u64,
    /// Steps and compensations started again because a takeover left their outcome unknown: the most effects that
    /// happened more than once for that reason.
    pub reexecutions: u64,
    /// Starts of an id that existed.
    pub duplicate_starts: u64,
    /// Records that were there already, or came after the end.
    pub duplicate_records: u64,
    /// Records refused because another leader was faster.
    pub conflicts: u64,
}

impl Counts {
    /// Adds up the counts of partitions.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            started: self.started + other.started,
            running: self.running + other.running,
            stuck: self.stuck + other.stuck,
            completed: self.completed + other.completed,
            compensated: self.compensated + other.compensated,
            failed: self.failed + other.failed,
            attempts: self.attempts + other.attempts,
            retries: self.retries + other.retries,
            compensations: self.compensations + other.compensations,
            reexecutions: self.reexecutions + other.reexecutions,
            duplicate_starts: self.duplicate_starts + other.duplicate_starts,
            duplicate_records: self.duplicate_records + other.duplicate_records,
            conflicts: self.conflicts + other.conflicts,
        }
    }
}

/// One instance, as far as its partition remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its id.
    pub id: String,
    /// Names its code; empty once it is finished.
    pub definition: String,
    /// How it stands.
    pub status: Status,
    /// Events in its journal, also after the journal is gone.
    pub position: u32,
    /// Step attempts with a recorded outcome.
    pub attempts: u32,
    /// The result if it completed, else empty.
    pub result: Bytes,
    /// Why it failed or is stuck, else empty.
    pub error: String,
}

/// A question to a partition. The order of variants and fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// What the partition counted.
    Counts,
    /// One instance.
    Instance {
        /// Which.
        id: String,
    },
    /// Instances that have not finished, in order of id.
    Unfinished {
        /// The id after which to begin; none for the first page.
        after: Option<String>,
        /// Most instances, capped at [`crate::limits::PAGE_MAX`].
        limit: u32,
    },
    /// The journal of an unfinished instance.
    Journal {
        /// Which instance.
        id: String,
        /// The first position.
        from: u32,
        /// Most events, capped at [`crate::limits::PAGE_MAX`].
        limit: u32,
    },
}

/// A partition's answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Query::Counts`].
    Counts(Counts),
    /// To [`Query::Instance`]; none if there is no such instance or it was forgotten.
    Instance(Option<InstanceView>),
    /// To [`Query::Unfinished`]; empty after the last.
    Unfinished(Vec<InstanceView>),
    /// To [`Query::Journal`]; empty after the last, and for an instance that is unknown or finished.
    Journal(Vec<Event>),
    /// The question can't be read.
    Refused(String),
}

impl Query {
    /// Writes the question as it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(QUERY_VERSION, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(QUERY_VERSION, bytes)
    }
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not an answer of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(QUERY_VERSION, bytes)
    }

    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(QUERY_VERSION, self).into()
    }
}
