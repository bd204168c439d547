use bytes::Bytes;
use tiebeam_log::{Group, ProposeError};
use tiebeam_wire::codec::DecodeError;

use super::{ConsumerConfig, ProcessError, Processor, TopicPartition};
use crate::Offset;
use crate::batch::Record;
use crate::fetch::{FETCH_WAIT_MAX, FetchError, read_batches, wait_past};
use crate::partition::{Command, CommitReply, Partition, decode_reply};

/// Why a consumer's turn failed. Each ends the consumer, which begins again from what is committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// Somebody else moved the consumer: another node leads, or led in the meantime.
    #[error("consumer {consumer} of {partition} stands at {committed}, not at {here}")]
    Conflict {
        /// The consumer.
        consumer: String,
        /// Its partition.
        partition: TopicPartition,
        /// Where it stands.
        committed: Offset,
        /// Where it stood when this one read.
        here: Offset,
    },
    /// The commit, or the read of what is committed, got no answer, since this node doesn't lead or is stopping. The
    /// commit may hold.
    #[error("consumer {consumer} of {partition} got no answer from its log")]
    Propose {
        /// The consumer.
        consumer: String,
        /// Its partition.
        partition: TopicPartition,
        /// What the log said.
        #[source]
        source: ProposeError,
    },
    /// The records could not be read.
    #[error("records of {partition} can't be read")]
    Fetch {
        /// The partition.
        partition: TopicPartition,
        /// What was in the way.
        #[source]
        source: FetchError,
    },
    /// The processor failed.
    #[error("consumer {consumer} of {partition} failed at offset {offset}")]
    Process {
        /// The consumer.
        consumer: String,
        /// Its partition.
        partition: TopicPartition,
        /// Where the records began that it was given.
        offset: Offset,
        /// Its own words.
        #[source]
        source: ProcessError,
    },
    /// The partition will never take such a commit.
    #[error("commit of consumer {consumer} of {partition} is refused: {reason}")]
    Refused {
        /// The consumer.
        consumer: String,
        /// Its partition.
        partition: TopicPartition,
        /// The partition's words.
        reason: String,
    },
    /// The partition's answer can't be read.
    #[error("answer of {partition} can't be decoded")]
    Answer {
        /// The partition.
        partition: TopicPartition,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

/// Whose turn it is, where.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) group: Group<Partition>,
    pub(super) partition: TopicPartition,
    pub(super) consumer: String,
    pub(super) config: ConsumerConfig,
}

/// A processor that stands where its partition says.
pub(super) struct Seat<P> {
    place: Place,
    processor: P,
    offset: Offset,
}

impl<P: Processor> Seat<P> {
    /// Brings `processor` to what is committed by now.
    pub(super) async fn take(place: Place, mut processor: P) -> Result<Self, TurnError> {
        // Without it, a replica that leads since a moment ago could still show the state before the last commit.
        place.group.linearize().await.map_err(|source| place.unanswered(source))?;
        let committed = place.group.read(|partition| partition.consumer(&place.consumer).cloned());
        let Some(committed) = committed else { return Ok(Self { place, processor, offset: Offset::ZERO }) };
        let restored = processor.restore(&committed.state);
        restored.map_err(|source| place.failed(committed.offset, source))?;
        Ok(Self { place, processor, offset: committed.offset })
    }

    /// Waits for records, has them processed and commits; returns how many they were, 0 if none came in 30 s. Dropping
    /// the future leaves the commit made or not made, and the seat useless.
    pub(super) async fn turn(&mut self) -> Result<usize, TurnError> {
        let Place { group, partition, consumer, .. } = &self.place;
        wait_past(group, self.offset, FETCH_WAIT_MAX).await;
        let records = self.place.read(self.offset).await?;
        let Some(last) = records.last() else { return Ok(0) };
        let next = last.offset.advance(1);
        let processed = self.processor.process(partition, &records).await;
        processed.map_err(|source| self.place.failed(self.offset, source))?;
        let state = self.processor.state();
        match self.place.commit(self.offset, next, state).await? {
            CommitReply::Committed => {}
            CommitReply::Conflict { offset: committed } => {
                let (consumer, partition) = (consumer.clone(), partition.clone());
                return Err(TurnError::Conflict { consumer, partition, committed, here: self.offset });
            }
            CommitReply::Invalid { reason } => {
                let (consumer, partition) = (consumer.clone(), partition.clone());
                return Err(TurnError::Refused { consumer, partition, reason });
            }
        }
        self.offset = next;
        Ok(records.len())
    }
}

impl Place {
    async fn read(&self, offset: Offset) -> Result<Vec<Record>, TurnError> {
        let batches = read_batches(&self.group, offset, self.config.fetch_bytes_max).await;
        let batches = batches.map_err(|source| TurnError::Fetch { partition: self.partition.clone(), source })?;
        let records = batches.iter().flat_map(|batch| batch.records());
        // The offset can lie within a batch: the turn before may have stopped there.
        let records = records.skip_while(|record| record.offset < offset);
        Ok(records.take(self.config.records_max.max(1)).collect())
    }

    async fn commit(&self, expected: Offset, next: Offset, state: Bytes) -> Result<CommitReply, TurnError> {
        let command = Command::CommitConsumer { consumer: self.consumer.clone(), expected, next, state };
        let reply = self.group.propose(command.encode()).await.map_err(|source| self.unanswered(source))?;
        decode_reply(&reply).map_err(|source| TurnError::Answer { partition: self.partition.clone(), source })
    }

    fn unanswered(&self, source: ProposeError) -> TurnError {
        TurnError::Propose { consumer: self.consumer.clone(), partition: self.partition.clone(), source }
    }

    fn failed(&self, offset: Offset, source: ProcessError) -> TurnError {
        let (consumer, partition) = (self.consumer.clone(), self.partition.clone());
        TurnError::Process { consumer, partition, offset, source }
    }
}
