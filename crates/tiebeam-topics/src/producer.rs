//! Sends records to a topic, each once and in order of partition, however often the way there breaks.
//!
//! A lane per partition gathers what waits while its batch before is under way: one batch in flight, and a batch as
//! large as the lane is slow. A batch that got no answer is sent again, with the same producer id, epoch and sequence,
//! until the partition has answered; the partition tells what it holds already from what is new.
//!
//! A producer that starts again under its name goes on with its sequence. If it is deterministic, it asks
//! [`Producer::appended`] how many of its records a partition holds, and skips as many.

mod lane;

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tiebeam_log::Client;
use tiebeam_resilience::Backoff;
use tokio::sync::Semaphore;

use self::lane::{Context, Lane};
use crate::batch::{BATCH_BYTES_MAX, PushError, Record, SEQUENCES, check_record};
use crate::catalog::{Catalog, CatalogError, TopicMeta};
use crate::partitioner::partition_of;

/// How a producer gathers and how much it holds.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Most records in a batch. Default 10,000.
    pub batch_records_max: u32,
    /// Most bytes in a batch; a larger record is refused. Default 256 KiB, at most [`BATCH_BYTES_MAX`].
    pub batch_bytes_max: usize,
    /// Records of one partition that wait for a batch; then [`Producer::send`] waits. Default 20,000.
    pub buffer_records_max: usize,
    /// Bytes of records, of all partitions together, that wait unacknowledged; then [`Producer::send`] waits. Default
    /// 16 MiB. Raised to `batch_bytes_max` if lower.
    pub buffer_bytes_max: u32,
    /// How long one attempt looks for the leader and waits for its answer. Default 10 s.
    pub attempt_timeout: Duration,
    /// The pause between attempts. Default from 50 ms up to 2 s.
    pub retry: Backoff,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            batch_records_max: 10_000,
            batch_bytes_max: 256 * 1024,
            buffer_records_max: 20_000,
            buffer_bytes_max: 16 * 1024 * 1024,
            attempt_timeout: Duration::from_secs(10),
            retry: Backoff { first: Duration::from_millis(50), max: Duration::from_secs(2) },
        }
    }
}

/// Why a producer can't begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The catalog could not be read; trying again can help.
    #[error("topic {topic} can't be looked up")]
    Catalog {
        /// The topic.
        topic: String,
        /// What the catalog said.
        #[source]
        source: CatalogError,
    },
    /// There is no such topic.
    #[error("topic {0} doesn't exist")]
    NoTopic(String),
    /// The topic has no partition to write to.
    #[error("topic {0} has no partitions")]
    NoPartitions(String),
}

/// Why a producer can write no more to a partition. Final for this producer: what was sent there since the last
/// [`Producer::flush`] may be kept or not, and whoever opens it again can ask how much is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// Somebody opened the producer's name again; two at once would mix their records.
    #[error("producer {producer} was opened again by somebody else, who writes to partition {partition} now")]
    Fenced {
        /// The producer's name.
        producer: String,
        /// The partition that said so.
        partition: u32,
    },
    /// The partition expects another sequence than the next one: it lost records, or got some that were not sent here.
    #[error("partition {partition} expects sequence {expected} of producer {producer}, which is at {sent}")]
    OutOfOrder {
        /// The producer's name.
        producer: String,
        /// The partition.
        partition: u32,
        /// What it expects.
        expected: i32,
        /// What was sent.
        sent: i32,
    },
    /// The partition will never take what it was sent.
    #[error("partition {partition} refused producer {producer}: {reason}")]
    Refused {
        /// The producer's name.
        producer: String,
        /// The partition.
        partition: u32,
        /// Its words.
        reason: String,
    },
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The record itself is over a limit; others may follow.
    #[error("record is refused")]
    Record(#[from] PushError),
    /// The topic has no such partition.
    #[error("topic has no partition {0}")]
    NoPartition(u32),
    /// The producer can write no more to the record's partition.
    #[error("producer stopped")]
    Stopped(#[from] ProducerError),
}

/// What a producer counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerCounters {
    /// Records that partitions acknowledged.
    pub records: u64,
    /// Batches that partitions acknowledged.
    pub batches: u64,
    /// Attempts that ended without an answer and were made again.
    pub retries: u64,
    /// Acknowledged batches that the partition had kept before, since an earlier attempt had arrived after all.
    pub duplicates: u64,
}

/// Sends records to one topic under one name. Cheap to clone; when the last clone goes, what was not flushed may be lost.
///
/// One process at a time writes under a name: opening it again fences the one before.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    topic: TopicMeta,
    lanes: Vec<OnceLock<Lane>>,
    context: Arc<Context>,
    room: Arc<Semaphore>,
    turn: AtomicU64,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { topic, context, .. } = &*self.inner;
        f.debug_struct("Producer").field("topic", &topic.name).field("name", &context.name).finish_non_exhaustive()
    }
}

impl Producer {
    /// Looks up `topic` and makes a producer called `name` for it. Partitions are opened when they are first needed.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was done then.
    pub async fn open(
        client: Client,
        catalog: &dyn Catalog,
        topic: &str,
        name: &str,
        config: ProducerConfig,
    ) -> Result<Self, OpenError> {
        let found = catalog.topic(topic).await;
        let found = found.map_err(|source| OpenError::Catalog { topic: topic.to_owned(), source })?;
        let topic = found.ok_or_else(|| OpenError::NoTopic(topic.to_owned()))?;
        if topic.partitions.is_empty() {
            return Err(OpenError::NoPartitions(topic.name));
        }
        let batch_bytes_max = config.batch_bytes_max.min(BATCH_BYTES_MAX);
        let buffer_bytes_max = config.buffer_bytes_max.max(batch_bytes_max as u32);
        let config = ProducerConfig { batch_bytes_max, buffer_bytes_max, ..config };
        Ok(Self {
            inner: Arc::new(Inner {
                lanes: topic.partitions.iter().map(|_| OnceLock::new()).collect(),
                topic,
                room: Arc::new(Semaphore::new(buffer_bytes_max as usize)),
                context: Arc::new(Context::new(client, name.to_owned(), config)),
                turn: AtomicU64::new(0),
            }),
        })
    }

    /// Hands over `record` for the partition of its key; without a key, partitions take turns.
    ///
    /// Returns as soon as there is room for it: a partition that is slow or away slows down whoever sends to it. Records
    /// of one caller to one partition keep their order. Dropping the future before it returns drops the record.
    ///
    /// # Errors
    /// [`SendError`]; the record was not taken then.
    pub async fn send(&self, record: Record) -> Result<(), SendError> {
        let partition = match &record.key {
            Some(key) => partition_of(key, self.partitions()),
            None => (self.inner.turn.fetch_add(1, Ordering::Relaxed) % u64::from(self.partitions())) as u32,
        };
        self.send_to(partition, record).await
    }

    /// Hands over `record` for `partition`; otherwise as [`Producer::send`].
    ///
    /// # Errors
    /// [`SendError`]; the record was not taken then.
    pub async fn send_to(&self, partition: u32, record: Record) -> Result<(), SendError> {
        let size = check_record(&record, self.inner.context.config.batch_bytes_max)?;
        let lane = self.lane(partition).ok_or(SendError::NoPartition(partition))?;
        // A lane that stops gives back the room of all that it held, so nobody waits here for a lane that is gone.
        let room = Arc::clone(&self.inner.room).acquire_many_owned(size as u32).await;
        let room = room.expect("the semaphore is never closed");
        Ok(lane.send(record, room).await?)
    }

    /// Waits until everything that was sent before is kept by its partition.
    ///
    /// # Errors
    /// [`ProducerError`] of the first partition that takes no more; others may hold more than is known then.
    pub async fn flush(&self) -> Result<(), ProducerError> {
        let lanes: Vec<&Lane> = self.inner.lanes.iter().filter_map(OnceLock::get).collect();
        for lane in lanes {
            lane.flush().await?;
        }
        Ok(())
    }

    /// How many records of this producer `partition` held when it was opened here, over all starts of the producer. Opens
    /// it if need be, and waits for that as long as it takes.
    ///
    /// # Errors
    /// [`SendError::NoPartition`], or [`SendError::Stopped`] if the partition would not open.
    pub async fn appended(&self, partition: u32) -> Result<u64, SendError> {
        let lane = self.lane(partition).ok_or(SendError::NoPartition(partition))?;
        Ok(lane.appended().await?)
    }

    /// The sequence of the last record that `partition` held when it was opened here; `None` if it held none. As
    /// [`Producer::appended`], but modulo 2^31.
    ///
    /// # Errors
    /// As [`Producer::appended`].
    pub async fn last_sequence(&self, partition: u32) -> Result<Option<i32>, SendError> {
        let appended = self.appended(partition).await?;
        Ok(appended.checked_sub(1).map(|last| (last % SEQUENCES) as i32))
    }

    /// How many partitions the topic has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.inner.topic.partitions.len() as u32
    }

    /// What was counted since the producer was opened.
    #[must_use]
    pub fn counters(&self) -> ProducerCounters {
        self.inner.context.counters()
    }

    fn lane(&self, partition: u32) -> Option<&Lane> {
        let at = partition as usize;
        let (lane, meta) = (self.inner.lanes.get(at)?, self.inner.topic.partitions.get(at)?);
        Some(lane.get_or_init(|| Lane::start(Arc::clone(&self.inner.context), partition, meta.route())))
    }
}
