//! Adds up what the whole cluster did, twice a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_node::actor::{Actor, ChildSpec, Ctx, ExitReason};
use tiebeam_node::topics::Offset;
use tiebeam_node::topics::catalog::TopicMeta;
use tiebeam_node::topics::fetch::FetchClient;
use tiebeam_node::topics::partition::{Query, QueryReply};
use tiebeam_node::{AppError, Handle};

use super::inventory::{self, Counting};
use super::totals::CONSUMER;
use super::{DEAD_TOPIC, FLIGHTS_TOPIC, Report, Shared, Totals};

const NAME: &str = "reporter";
const PAUSE: Duration = Duration::from_millis(500);
/// How long one question may take: a leader that is gone is replaced within it.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Args {
    pub(super) handle: Handle,
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Reporter;

impl Actor for Reporter {
    type Args = Args;

    async fn init(args: Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.spawn_task(async move {
            let mut dead = DeadLetters::default();
            loop {
                match look(&args, &mut dead).await {
                    Ok(report) => args.shared.report(report),
                    Err(error) => tracing::debug!(error = &*error, "report can't be made now"),
                }
                tiebeam_node::world::sleep(PAUSE).await;
            }
        });
        Ok(Self)
    }
}

pub(super) async fn start(args: Args) -> Result<(), AppError> {
    let handle = args.handle.clone();
    Ok(handle.supervise(ChildSpec::actor::<Reporter>(NAME, args).permanent()).await?)
}

/// The dead-letter topic as far as it was read.
#[derive(Default)]
struct DeadLetters {
    reader: Option<FetchClient>,
    at: Offset,
    reasons: BTreeMap<String, u64>,
}

impl DeadLetters {
    async fn read_on(&mut self, handle: &Handle) -> Result<(), AppError> {
        if self.reader.is_none() {
            let topic = topic(handle, DEAD_TOPIC).await?;
            self.reader = topic.partitions.first().map(|p| handle.reader(p.clone()));
        }
        let Some(reader) = &mut self.reader else { return Ok(()) };
        loop {
            let batches = reader.fetch(self.at, Duration::ZERO).await?;
            if batches.is_empty() {
                return Ok(());
            }
            for batch in batches {
                for record in batch.records().filter(|r| r.offset >= self.at) {
                    let reason = super::header(&record, "reason").unwrap_or_default();
                    *self.reasons.entry(reason).or_default() += 1;
                }
                self.at = batch.end_offset();
            }
        }
    }
}

async fn topic(handle: &Handle, name: &str) -> Result<TopicMeta, AppError> {
    Ok(handle.catalog().find(name).await?.ok_or_else(|| format!("there is no topic {name}"))?)
}

async fn look(args: &Args, dead: &mut DeadLetters) -> Result<Report, AppError> {
    let Args { handle, shared } = args;
    // Asked before the rest: what is counted after it can only be more.
    let published = shared.is_published();
    let mut report = Report { requests_again: handle.client().retries(), ..Report::default() };
    let mut behind = 0;
    for partition in &topic(handle, FLIGHTS_TOPIC).await?.partitions {
        let ask = async |query: Query| {
            let bytes = handle.client().query(&partition.route(), &query.encode(), PATIENCE).await?;
            Ok::<_, AppError>(QueryReply::decode(&bytes)?)
        };
        let QueryReply::Status(status) = ask(Query::Status).await? else { return Err("no status".into()) };
        let consumer = Query::Consumer { consumer: CONSUMER.to_owned() };
        let QueryReply::Consumer(consumer) = ask(consumer).await? else { return Err("no consumer".into()) };
        let offset = consumer.as_ref().map_or(0, |c| c.offset.get());
        behind += status.end.get().saturating_sub(offset);
        report.batches_repeated += status.counters.duplicates;
        if let Some(consumer) = consumer {
            report.totals.merge(&Totals::from_state(&consumer.state)?);
        }
    }
    dead.read_on(handle).await?;
    report.dead.clone_from(&dead.reasons);
    let counts = handle.workflows().counts().await?;
    report.workflows = tiebeam_node::api_counts(counts);
    let seats = inventory::call(handle, Counting).await?;
    report.seats_held = seats.held;
    report.seats_reserved = seats.reserved;
    report.calls_repeated = seats.repeated;
    let all_started = report.workflows.started >= report.totals.cancelled();
    report.done = published && behind == 0 && all_started && report.workflows.running == 0;
    Ok(report)
}
