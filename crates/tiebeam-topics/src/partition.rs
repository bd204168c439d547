//! A partition as a state machine: which batches are kept, who wrote them, and how far each consumer got.
//!
//! The log of the partition's Raft group holds the records themselves, once, as the commands that brought them; the
//! state beside it is small: an index from offset to Raft index, the table by which repetitions are recognised, and
//! each consumer's offset with its state.
//!
//! # Contract
//!
//! | command | answer |
//! |---|---|
//! | open a producer | its id, a new epoch that fences the ones before, and how many of its records are there |
//! | append, sequence as expected | appended at an offset |
//! | append, seen before | duplicate, with the offset if it is one of the last 5 |
//! | append, ahead of what is expected | out of order; nothing is kept |
//! | append, older epoch | fenced; nothing is kept |
//! | commit of a consumer that read from its offset | its offset and its state change together |
//! | commit of a consumer that read from elsewhere | conflict, with the offset; nothing changes |
//!
//! Every command may come twice; the second time changes nothing.
//!
//! # Invariants
//!
//! - Offsets have no gaps, and an offset never gets another record.
//! - A producer's records are kept in order of sequence, each once, across all of its epochs.
//! - A consumer's offset only grows, and its state is the one that was committed with it.

mod command;
mod consumers;
mod index;
mod producers;
mod snapshot;

use bytes::Bytes;
use tiebeam_log::{GroupConfig, RestoreError, Snapshots, StateMachine};
use tiebeam_wire::codec::DecodeError;

pub use self::command::{
    AppendReply, Command, CommitReply, Counters, OpenReply, Opened, Query, QueryReply, Status, append,
};
pub(crate) use self::command::{appended_batch, decode_reply};
use self::consumers::Consumers;
pub use self::consumers::{CONSUMERS_MAX, ConsumerState, STATE_BYTES_MAX};
use self::index::Index;
pub use self::index::Place;
use self::producers::Producers;
pub use self::producers::{PRODUCERS_MAX, RECENT_BATCHES};
use crate::Offset;
use crate::batch::RecordBatch;

/// The longest name of a producer or a consumer, in bytes; a longer one, and an empty one, is refused.
pub const NAME_BYTES_MAX: usize = 255;

/// The state of one partition: a function of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    index: Index,
    producers: Producers,
    consumers: Consumers,
    counters: Counters,
}

impl Partition {
    /// How the group of a partition is kept: without snapshots. Each would let old entries go, and they are the records.
    #[must_use]
    pub fn group_config() -> GroupConfig {
        GroupConfig { snapshots: Snapshots::Never, ..GroupConfig::default() }
    }

    /// The offset that the next record will get.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.index.end()
    }

    /// Where batches lie in the log: the one that holds `from` and those after it, at most `batches_max`.
    #[must_use]
    pub fn places(&self, from: Offset, batches_max: usize) -> Vec<Place> {
        self.index.places(from, batches_max)
    }

    /// How many records of this producer were ever appended, over all its epochs; 0 if nobody opened it.
    #[must_use]
    pub fn appended_by(&self, producer: &str) -> u64 {
        self.producers.appended(producer)
    }

    /// How far `consumer` got, and with which state; `None` before its first commit.
    #[must_use]
    pub fn consumer(&self, consumer: &str) -> Option<&ConsumerState> {
        self.consumers.find(consumer)
    }

    /// What was counted since the partition began.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What people ask about a partition.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            end: self.end(),
            counters: self.counters,
            producers: self.producers.count(),
            consumers: self.consumers.offsets(),
        }
    }

    /// Panics if the parts contradict each other. Walks over everything: for tests.
    pub fn check(&self) {
        let records = self.index.check();
        assert_eq!(records, self.counters.records, "index holds {records} records, {:?}", self.counters);
        self.producers.check(self.end());
        self.consumers.check(self.end());
    }

    fn append(&mut self, index: u64, bytes: Bytes) -> AppendReply {
        let batch = match RecordBatch::decode(bytes) {
            Ok(batch) => batch,
            Err(error) => return AppendReply::Invalid { reason: chain(&error) },
        };
        if Offset::new(self.end().get() + u64::from(batch.records_count())).is_none() {
            return AppendReply::Invalid { reason: format!("partition is full at offset {}", self.end()) };
        }
        if let Some(stamp) = batch.producer() {
            let kept = self.producers.append(stamp, batch.records_count(), self.end());
            if let Err(refused) = kept {
                return refused;
            }
        }
        let base_offset = self.end();
        self.index.push(index, batch.records_count());
        self.counters.batches += 1;
        self.counters.records += u64::from(batch.records_count());
        self.counters.bytes += batch.bytes().len() as u64;
        AppendReply::Appended { base_offset }
    }

    fn count(&mut self, reply: &AppendReply) {
        match reply {
            AppendReply::Appended { .. } => {}
            AppendReply::Duplicate { .. } => self.counters.duplicates += 1,
            AppendReply::OutOfOrder { .. } | AppendReply::Fenced { .. } | AppendReply::Invalid { .. } => {
                self.counters.refused += 1;
            }
        }
    }

    fn command(&mut self, command: Command) -> Bytes {
        match command {
            Command::OpenProducer { producer, nonce } => command::encode(&self.producers.open(producer, nonce)),
            Command::CommitConsumer { consumer, expected, next, state } => {
                let reply = self.consumers.commit(consumer, expected..next, state, self.index.end());
                command::encode(&reply)
            }
        }
    }
}

impl StateMachine for Partition {
    fn apply(&mut self, index: u64, command: &Bytes) -> Bytes {
        if let Some(batch) = appended_batch(command) {
            let reply = self.append(index, batch);
            self.count(&reply);
            return command::encode(&reply);
        }
        match command::decode(command) {
            Ok(command) => self.command(command),
            // Whoever sent it expects the reply of a command that is not known here, so any reply is a wrong one; an
            // empty one can't be mistaken.
            Err(_) => Bytes::new(),
        }
    }

    fn query(&self, request: &[u8]) -> Bytes {
        match command::decode(request) {
            Ok(Query::Status) => command::encode(&QueryReply::Status(self.status())),
            Ok(Query::Producer { producer }) => {
                command::encode(&QueryReply::Producer { appended: self.appended_by(&producer) })
            }
            Ok(Query::Consumer { consumer }) => {
                command::encode(&QueryReply::Consumer(self.consumer(&consumer).cloned()))
            }
            Err(_) => Bytes::new(),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::write(self)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = snapshot::read(snapshot).map_err(|e: DecodeError| RestoreError(e))?;
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
}

/// The error and its causes in one line, for a reply.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests;
