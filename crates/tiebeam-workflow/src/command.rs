//! What is written to a partition's log, and what the partition answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_wire::codec::{self, DecodeError};

use crate::event::Event;
use crate::query::Status;

/// Version of commands and replies; golden bytes in the tests keep it honest.
pub(crate) const COMMAND_VERSION: u8 = 1;

/// A command to a partition. The order of variants and fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Begins an instance. Idempotent by id: a second start changes nothing, whatever it carries.
    Start {
        /// Names the instance, within all partitions.
        id: String,
        /// Names the code.
        definition: String,
        /// What the code is given.
        input: Bytes,
    },
    /// Adds events to a journal, if it has exactly `position` events: a compare-and-set.
    Record {
        /// Which instance.
        id: String,
        /// The expected length of the journal, in events.
        position: u32,
        /// The Raft term of the leader that runs the instance; a lower one than was seen before is fenced off.
        term: u64,
        /// At least one; only the last may end the instance.
        events: Vec<Event>,
    },
    /// Lets a stuck instance go on, for instance after its code was mended.
    Resume {
        /// Which instance.
        id: String,
    },
    /// Many commands in one log entry, applied in order, each answered. Batches don't nest.
    Batch(Vec<Self>),
}

impl Command {
    /// Writes the command as it stands in the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(COMMAND_VERSION, self).into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(COMMAND_VERSION, bytes)
    }

    /// Bytes that the command takes in the log, to within a few.
    pub(crate) fn cost(&self) -> usize {
        const OVERHEAD: usize = 32;
        OVERHEAD
            + match self {
                Self::Start { id, definition, input } => id.len() + definition.len() + input.len(),
                Self::Record { id, events, .. } => id.len() + events.iter().map(Event::cost).sum::<usize>(),
                Self::Resume { id } => id.len(),
                Self::Batch(commands) => commands.iter().map(Self::cost).sum(),
            }
    }
}

/// What a partition answers to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The instance was begun by this command.
    Started,
    /// An instance of that id exists; nothing changed.
    AlreadyStarted {
        /// How it stands.
        status: Status,
    },
    /// The events are in the journal, by this command or by an equal one before.
    Recorded {
        /// Position after the events.
        position: u32,
    },
    /// Somebody else wrote at that position; nothing changed.
    Conflict {
        /// Length of the journal.
        position: u32,
    },
    /// A leader of a later term has written to this partition; nothing changed.
    Fenced {
        /// That term.
        term: u64,
    },
    /// The instance is finished or stuck and takes no events; nothing changed.
    Ended {
        /// How it stands.
        status: Status,
    },
    /// The stuck instance goes on.
    Resumed,
    /// The instance isn't stuck; nothing changed.
    NotStuck {
        /// How it stands.
        status: Status,
    },
    /// There is no such instance, or it was forgotten.
    Unknown,
    /// The command breaks a rule; nothing changed.
    Refused(Refusal),
    /// One reply per command of a batch, in order.
    Batch(Vec<Self>),
}

impl Reply {
    /// Reads a reply.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not a reply of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(COMMAND_VERSION, bytes)
    }

    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(COMMAND_VERSION, self).into()
    }
}

/// Which rule a command breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes are not a command that this version knows.
    #[error("command can't be decoded: {0}")]
    Undecodable(String),
    /// A part of the command has too few or too many bytes.
    #[error("{what} has {size} bytes; between {min} and {max} are allowed")]
    Size {
        /// Which part.
        what: String,
        /// Its size.
        size: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Too many instances are unfinished.
    #[error("partition has {limit} unfinished instances, the most it may")]
    Full {
        /// The limit.
        limit: u64,
    },
    /// The journal would grow too large.
    #[error("journal would have more than {limit} bytes")]
    JournalFull {
        /// The limit.
        limit: u64,
    },
    /// A record without events, or with one after the end.
    #[error("record has no events, or events after an end")]
    Shape,
    /// A batch within a batch.
    #[error("batches don't nest")]
    Nested,
    /// A batch has too many commands.
    #[error("batch has {count} commands, more than the limit of {limit}")]
    BatchTooLarge {
        /// How many it has.
        count: u64,
        /// The limit.
        limit: u64,
    },
}
