//! The way of one producer to one partition: a queue, and a task that empties it batch by batch.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tiebeam_log::{Client, Route};
use tiebeam_world::TaskGuard;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::{ProducerConfig, ProducerCounters, ProducerError};
use crate::batch::{BatchBuilder, ProducerStamp, Record, RecordBatch, SEQUENCES};
use crate::partition::{AppendReply, Command, OpenReply, Opened, append, decode_reply};

/// What all lanes of a producer share.
pub(super) struct Context {
    client: Client,
    pub(super) name: String,
    pub(super) config: ProducerConfig,
    records: AtomicU64,
    batches: AtomicU64,
    retries: AtomicU64,
    duplicates: AtomicU64,
}

impl Context {
    pub(super) fn new(client: Client, name: String, config: ProducerConfig) -> Self {
        let zero = AtomicU64::default;
        Self { client, name, config, records: zero(), batches: zero(), retries: zero(), duplicates: zero() }
    }

    pub(super) fn counters(&self) -> ProducerCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProducerCounters {
            records: read(&self.records),
            batches: read(&self.batches),
            retries: read(&self.retries),
            duplicates: read(&self.duplicates),
        }
    }
}

pub(super) struct Lane {
    queue: mpsc::Sender<Queued>,
    /// Records that got into the queue.
    sent: AtomicU64,
    progress: watch::Receiver<Progress>,
    _task: TaskGuard,
}

/// A record that waits, with the room that it takes up until it is acknowledged.
struct Queued {
    record: Record,
    room: OwnedSemaphorePermit,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// How many records the partition held when it was opened; `None` until then.
    appended: Option<u64>,
    /// Records of the queue that the partition keeps.
    acknowledged: u64,
    failed: Option<ProducerError>,
}

impl Lane {
    pub(super) fn start(context: Arc<Context>, partition: u32, route: Route) -> Self {
        let (queue, records) = mpsc::channel(context.config.buffer_records_max.max(1));
        let (publish, progress) = watch::channel(Progress::default());
        let worker = Worker { context, partition, route, records, left: None };
        let task = tiebeam_world::spawn("topics.producer.lane", async move {
            let error = worker.run(&publish).await;
            tracing::warn!(%error, partition, "producer stopped writing to a partition");
            publish.send_modify(|progress| progress.failed = Some(error));
            // Its end must be heard by whoever asks later, so the channel stays open as long as the lane.
            publish.closed().await;
        });
        Self { queue, sent: AtomicU64::new(0), progress, _task: task.into_guard() }
    }

    pub(super) async fn send(&self, record: Record, room: OwnedSemaphorePermit) -> Result<(), ProducerError> {
        match self.queue.send(Queued { record, room }).await {
            Ok(()) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // The worker let go of the queue, which it does only when it failed.
            Err(_) => Err(self.failed().await),
        }
    }

    pub(super) async fn flush(&self) -> Result<(), ProducerError> {
        let sent = self.sent.load(Ordering::Relaxed);
        self.when(|progress| (progress.acknowledged >= sent).then_some(())).await
    }

    pub(super) async fn appended(&self) -> Result<u64, ProducerError> {
        self.when(|progress| progress.appended).await
    }

    /// Waits until the lane fails.
    async fn failed(&self) -> ProducerError {
        match self.when(|_| None::<Infallible>).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn when<T>(&self, ready: impl Fn(&Progress) -> Option<T>) -> Result<T, ProducerError> {
        let mut progress = self.progress.clone();
        loop {
            {
                let now = progress.borrow_and_update();
                match (ready(&now), &now.failed) {
                    (Some(value), _) => return Ok(value),
                    (None, Some(error)) => return Err(error.clone()),
                    (None, None) => {}
                }
            }
            if progress.changed().await.is_err() {
                // The task was aborted with its lane, and the lane is borrowed here: this can't be.
                std::future::pending::<()>().await;
            }
        }
    }
}

struct Worker {
    context: Arc<Context>,
    partition: u32,
    route: Route,
    records: mpsc::Receiver<Queued>,
    /// The record that did not fit into the batch before.
    left: Option<Queued>,
}

impl Worker {
    async fn run(mut self, publish: &watch::Sender<Progress>) -> ProducerError {
        let opened = match self.open().await {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        publish.send_modify(|progress| progress.appended = Some(opened.appended));
        let mut sequence = opened.appended % SEQUENCES;
        loop {
            let Opened { producer_id: id, epoch, .. } = opened;
            let stamp = ProducerStamp { id, epoch, base_sequence: sequence as i32 };
            // The room is given back when the batch is acknowledged, so that batches in flight count as buffered.
            let (batch, _room) = self.gather(stamp).await;
            if let Err(error) = self.append(&batch, stamp).await {
                return error;
            }
            let records = u64::from(batch.records_count());
            sequence = (sequence + records) % SEQUENCES;
            publish.send_modify(|progress| progress.acknowledged += records);
        }
    }

    async fn open(&self) -> Result<Opened, ProducerError> {
        let producer = self.context.name.clone();
        let command = Command::OpenProducer { producer, nonce: tiebeam_world::random() }.encode();
        match self.propose(command).await? {
            OpenReply::Opened(opened) => Ok(opened),
            OpenReply::Refused { reason } => Err(self.refused(reason)),
        }
    }

    /// Waits for a record and takes what waits behind it, as far as one batch goes.
    async fn gather(&mut self, stamp: ProducerStamp) -> (RecordBatch, OwnedSemaphorePermit) {
        let first = match self.left.take() {
            Some(first) => first,
            None => match self.records.recv().await {
                Some(first) => first,
                // The lane is being dropped, and this task with it.
                None => std::future::pending().await,
            },
        };
        let ProducerConfig { batch_bytes_max, batch_records_max, .. } = self.context.config;
        let mut builder = BatchBuilder::new(batch_bytes_max, batch_records_max);
        builder.push(&first.record).expect("a record is checked before it gets into the queue");
        let mut room = first.room;
        while let Ok(next) = self.records.try_recv() {
            if builder.push(&next.record).is_err() {
                self.left = Some(next);
                break;
            }
            room.merge(next.room);
        }
        (builder.build(Some(stamp)).expect("there is at least the first record"), room)
    }

    async fn append(&self, batch: &RecordBatch, stamp: ProducerStamp) -> Result<(), ProducerError> {
        let producer = || self.context.name.clone();
        let partition = self.partition;
        match self.propose(append(batch)).await? {
            AppendReply::Appended { .. } => {}
            AppendReply::Duplicate { .. } => {
                self.context.duplicates.fetch_add(1, Ordering::Relaxed);
            }
            AppendReply::Fenced { .. } => return Err(ProducerError::Fenced { producer: producer(), partition }),
            AppendReply::OutOfOrder { expected } => {
                let sent = stamp.base_sequence;
                return Err(ProducerError::OutOfOrder { producer: producer(), partition, expected, sent });
            }
            AppendReply::Invalid { reason } => return Err(self.refused(reason)),
        }
        self.context.batches.fetch_add(1, Ordering::Relaxed);
        self.context.records.fetch_add(u64::from(batch.records_count()), Ordering::Relaxed);
        Ok(())
    }

    /// Proposes `command` until it is answered. It may be applied more than once, which every command stands.
    async fn propose<T: DeserializeOwned>(&self, command: Bytes) -> Result<T, ProducerError> {
        let ProducerConfig { attempt_timeout, retry, .. } = self.context.config;
        let mut attempt = 0;
        loop {
            match self.context.client.propose(&self.route, command.clone(), attempt_timeout).await {
                Ok(reply) => {
                    return decode_reply(&reply).map_err(|e| self.refused(format!("reply can't be decoded: {e}")));
                }
                Err(error) => {
                    tracing::warn!(%error, partition = self.partition, attempt, "no answer, sending again");
                    self.context.retries.fetch_add(1, Ordering::Relaxed);
                    tiebeam_world::sleep(retry.delay(attempt, tiebeam_world::random())).await;
                    attempt = attempt.saturating_add(1);
                }
            }
        }
    }

    fn refused(&self, reason: String) -> ProducerError {
        ProducerError::Refused { producer: self.context.name.clone(), partition: self.partition, reason }
    }
}
