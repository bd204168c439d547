//! Reads the file and publishes each row once, however often its node dies on the way.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tiebeam_node::actor::{Actor, ChildSpec, Ctx, ExitReason, Handler};
use tiebeam_node::topics::batch::{Header, Record};
use tiebeam_node::topics::partition_of;
use tiebeam_node::topics::producer::{Producer, ProducerConfig};
use tiebeam_node::{AppError, Handle};

use super::{DEAD_TOPIC, FLIGHTS_TOPIC, Shared};
use crate::flights;

/// Name of the producer: under it each partition remembers how many rows it has.
const NAME: &str = "publisher";

/// Small batches: the demo is about what happens between them, not about how few there can be.
const BATCH_BYTES: usize = 8 * 1024;

#[derive(Clone)]
pub(super) struct Args {
    pub(super) handle: Handle,
    pub(super) file: PathBuf,
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Publisher;

/// The file is published, or something stopped that.
struct Ended(Result<(), String>);

impl Actor for Publisher {
    type Args = Args;

    async fn init(args: Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let addr = ctx.addr();
        ctx.spawn_task(async move {
            let ended = publish(&args).await.map_err(|e| e.to_string());
            addr.cast(Ended(ended)).await;
        });
        Ok(Self)
    }
}

impl Handler<Ended> for Publisher {
    type Reply = ();

    async fn handle(&mut self, Ended(result): Ended, ctx: &mut Ctx<Self>) {
        match result {
            Ok(()) => tracing::info!("file is published"),
            Err(reason) => ctx.stop(ExitReason::Other(reason)),
        }
    }
}

pub(super) async fn start(args: Args) -> Result<(), AppError> {
    let handle = args.handle.clone();
    Ok(handle.supervise(ChildSpec::actor::<Publisher>(NAME, args).permanent()).await?)
}

/// A producer that knows how many rows each partition already has: the log itself is the memory of what was published.
struct Resumed {
    producer: Producer,
    /// Rows of each partition that need not be sent.
    skip: Vec<u64>,
}

impl Resumed {
    async fn open(handle: &Handle, topic: &str) -> Result<Self, AppError> {
        let config = ProducerConfig { batch_bytes_max: BATCH_BYTES, ..ProducerConfig::default() };
        let producer = handle.producer(topic, NAME, config).await?;
        let mut skip = Vec::new();
        for partition in 0..producer.partitions() {
            skip.push(producer.appended(partition).await?);
        }
        Ok(Self { producer, skip })
    }

    async fn send(&mut self, partition: u32, record: impl FnOnce() -> Record) -> Result<(), AppError> {
        let left = &mut self.skip[partition as usize];
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        Ok(self.producer.send_to(partition, record()).await?)
    }
}

async fn publish(args: &Args) -> Result<(), AppError> {
    let mut rows = Resumed::open(&args.handle, FLIGHTS_TOPIC).await?;
    let mut dead = Resumed::open(&args.handle, DEAD_TOPIC).await?;
    let partitions = rows.producer.partitions();
    for row in flights::reader(&args.file)? {
        let (line, raw) = row?;
        match flights::parse(&raw) {
            Ok(flight) => {
                let key = flight.tailnum.unwrap_or("").to_owned();
                let partition = partition_of(key.as_bytes(), partitions);
                rows.send(partition, || record(line, raw, Some(key), Vec::new())).await?;
            }
            Err(bad) => {
                let reason = bad.reason();
                let because = [("reason", reason.to_owned()), ("error", bad.to_string())];
                dead.send(0, || record(line, raw, None, because.to_vec())).await?;
            }
        }
    }
    rows.producer.flush().await?;
    dead.producer.flush().await?;
    args.shared.published();
    Ok(())
}

fn record(line: u64, raw: Vec<u8>, key: Option<String>, headers: Vec<(&'static str, String)>) -> Record {
    let line = [(super::LINE_HEADER, line.to_string())];
    let header = |(key, value): (&str, String)| Header { key: key.to_owned(), value: Some(value.into()) };
    Record {
        timestamp_ms: tiebeam_node::world::wall_clock_ms(),
        key: key.map(Bytes::from),
        value: Some(raw.into()),
        headers: line.into_iter().chain(headers).map(header).collect(),
        ..Record::default()
    }
}
