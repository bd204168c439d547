//! What a partition is told and asked, and what it answers: the bytes of its log and of its callers.
//!
//! Two forms share the log. `[1][body]` is a [`Command`] through the codec. `[2][batch]` is an append: the batch lies
//! there as the producer made it, so that no byte of it is encoded again on any replica, nor on its way to a reader.

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tiebeam_wire::codec::{self, DecodeError};

use super::ConsumerState;
use crate::Offset;
use crate::batch::RecordBatch;

/// Version of commands, replies, queries and of the codec's part of a snapshot.
pub(super) const VERSION: u8 = 1;

/// First byte of an append. Differs from every version that [`Command`] will have.
const APPEND: u8 = 2;

/// Changes a partition, other than by [`append`]. Variants are never reordered: they lie in logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Begins a new epoch of a producer. Answered by [`OpenReply`].
    OpenProducer {
        /// The name that stays the same when the producer starts again.
        producer: String,
        /// Drawn at random by whoever opens, so that the same opening proposed twice begins one epoch.
        nonce: u64,
    },
    /// Moves a consumer on. Answered by [`CommitReply`].
    CommitConsumer {
        /// The consumer's name.
        consumer: String,
        /// The offset from which it read; it must be the committed one.
        expected: Offset,
        /// The offset after the last record that `state` has seen; beyond `expected`.
        next: Offset,
        /// What it knows after that; at most [`super::STATE_BYTES_MAX`].
        state: Bytes,
    },
}

impl Command {
    /// The command as it is proposed.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
}

/// The command that appends `batch`. Answered by [`AppendReply`].
#[must_use]
pub fn append(batch: &RecordBatch) -> Bytes {
    let mut command = BytesMut::with_capacity(1 + batch.bytes().len());
    command.put_u8(APPEND);
    command.put_slice(batch.bytes());
    command.freeze()
}

/// The bytes of the batch that `command` appends; `None` if it is another command.
pub(crate) fn appended_batch(command: &Bytes) -> Option<Bytes> {
    (command.first() == Some(&APPEND)).then(|| command.slice(1..))
}

/// How an append ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendReply {
    /// The batch is kept.
    Appended {
        /// The offset of its first record.
        base_offset: Offset,
    },
    /// The batch was kept before; nothing changed.
    Duplicate {
        /// The offset of its first record, if it is among the last [`super::RECENT_BATCHES`] of its producer.
        base_offset: Option<Offset>,
    },
    /// Records before this batch are missing, or some of it are kept already and some not. Nothing was kept.
    OutOfOrder {
        /// The sequence that comes next.
        expected: i32,
    },
    /// The producer was opened by somebody else since. Nothing was kept.
    Fenced {
        /// The epoch that may write.
        epoch: i16,
    },
    /// No partition would ever take the batch. Nothing was kept.
    Invalid {
        /// What is wrong with it, for people.
        reason: String,
    },
}

/// What a producer is told when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The id that its batches carry.
    pub producer_id: i64,
    /// The epoch that its batches carry; all earlier ones are fenced.
    pub epoch: i16,
    /// How many of its records the partition holds, over all epochs: also the next sequence, modulo 2^31.
    pub appended: u64,
}

/// How the opening of a producer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenReply {
    /// It may write.
    Opened(Opened),
    /// It may not; nothing changed.
    Refused {
        /// Which limit it would exceed, for people.
        reason: String,
    },
}

/// How the commit of a consumer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitReply {
    /// Offset and state are kept, now or by the same commit before.
    Committed,
    /// The consumer stands elsewhere: somebody else moved it. Nothing changed.
    Conflict {
        /// Where it stands.
        offset: Offset,
    },
    /// No partition would ever take the commit. Nothing changed.
    Invalid {
        /// What is wrong with it, for people.
        reason: String,
    },
}

/// Asks a partition; changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// End offset, counters, and where each consumer stands.
    Status,
    /// How much a producer has appended.
    Producer {
        /// Its name.
        producer: String,
    },
    /// Offset and state of a consumer.
    Consumer {
        /// Its name.
        consumer: String,
    },
}

impl Query {
    /// The query as it is sent.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
}

/// Answers a [`Query`], variant by variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryReply {
    /// To [`Query::Status`].
    Status(Status),
    /// To [`Query::Producer`].
    Producer {
        /// How many of its records were ever appended; 0 if nobody opened it.
        appended: u64,
    },
    /// To [`Query::Consumer`]; `None` before its first commit.
    Consumer(Option<ConsumerState>),
}

impl QueryReply {
    /// Reads what the partition answered.
    ///
    /// # Errors
    /// [`DecodeError`] if the partition could not read the query, or speaks another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }
}

/// What people ask about a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The offset that the next record will get.
    pub end: Offset,
    /// What was counted since the partition began.
    pub counters: Counters,
    /// How many producers were ever opened.
    pub producers: u32,
    /// Each consumer that ever committed, by name, and its offset; what lies between it and `end` is its lag.
    pub consumers: Vec<(String, Offset)>,
}

/// What a partition counts from its beginning on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records that were kept.
    pub records: u64,
    /// Batches that were kept.
    pub batches: u64,
    /// Bytes of the batches that were kept.
    pub bytes: u64,
    /// Batches that came again and were not kept a second time.
    pub duplicates: u64,
    /// Batches that were refused: invalid, out of order, or of a fenced producer.
    pub refused: u64,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    codec::encode(VERSION, value).into()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    codec::decode(VERSION, bytes)
}

/// Reads a partition's reply to a command.
pub(crate) fn decode_reply<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode(bytes)
}
