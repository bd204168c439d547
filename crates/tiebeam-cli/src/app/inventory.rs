//! The service that holds seats, on an edge node; its journal is a topic, so its memory survives its node.
//!
//! A change is on the disks of a majority before it is answered. Opening the producer fences an earlier inventory that
//! still runs somewhere: only one can write the journal, so only one can give out seats.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tiebeam_node::actor::{Actor, ChildSpec, Ctx, Deferred, ExitReason, Handler, ReplyTo, Table};
use tiebeam_node::topics::Offset;
use tiebeam_node::topics::batch::Record;
use tiebeam_node::topics::producer::{Producer, ProducerConfig};
use tiebeam_node::wire::codec;
use tiebeam_node::workflow::{Backoff, StepError};
use tiebeam_node::{AppError, Handle};

use super::INVENTORY_TOPIC;

/// Name of the service, of its actor and of its producer.
const NAME: &str = "inventory";
/// Version of records in the journal.
const VERSION: u8 = 1;
/// How long one call waits for its answer; then the inventory is looked up again.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between calls in vain.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };

/// Gives out a seat; the same key gets the same seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reserve {
    pub(super) key: String,
    pub(super) flight: String,
}

/// Takes back the seat of a reservation. One that comes before its reservation makes that one hold nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Release {
    pub(super) key: String,
}

/// Asks for [`Count`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Counting;

/// What the inventory counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    /// Seats given out and not taken back.
    pub(super) held: u64,
    /// Seats ever given out.
    pub(super) reserved: u64,
    /// Calls that came a second time, since this inventory started.
    pub(super) repeated: u64,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Change {
    Reserve(Reserve),
    Release(Release),
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seat {
    /// The seat, if one was given out.
    number: Option<String>,
    released: bool,
}

/// The seats: a function of the journal.
#[derive(Debug, Default)]
struct Seats {
    seats: BTreeMap<String, Seat>,
    reserved: u64,
}

impl Seats {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Reserve(Reserve { key, flight }) if !self.seats.contains_key(key) => {
                self.reserved += 1;
                let number = Some(format!("{flight}, seat {}", self.reserved));
                self.seats.insert(key.clone(), Seat { number, released: false });
            }
            Change::Reserve(_) => {}
            Change::Release(Release { key }) => {
                self.seats.entry(key.clone()).or_insert(Seat { number: None, released: true }).released = true;
            }
        }
    }

    fn held(&self) -> u64 {
        self.seats.values().filter(|seat| !seat.released).count() as u64
    }

    /// The answer to a reservation that was made before.
    fn reservation(&self, key: &str) -> Option<String> {
        self.seats.get(key).map(|seat| seat.number.clone().unwrap_or_default())
    }

    fn is_released(&self, key: &str) -> bool {
        self.seats.get(key).is_some_and(|seat| seat.released)
    }
}

/// A change that waits for the journal, with whoever waits for the answer.
enum Waiting {
    Reserve(Reserve, ReplyTo<String>),
    Release(Release, ReplyTo<()>),
}

impl Waiting {
    fn change(&self) -> Change {
        match self {
            Self::Reserve(reserve, _) => Change::Reserve(reserve.clone()),
            Self::Release(release, _) => Change::Release(release.clone()),
        }
    }
}

pub(super) struct Inventory {
    journal: Producer,
    seats: Seats,
    repeated: u64,
    /// What comes while the journal is being written: all of it goes into the next write.
    next: Vec<Waiting>,
    writing: Option<Vec<Waiting>>,
}

/// The journal holds what was being written, or failed to.
struct Written(Result<(), String>);

impl Actor for Inventory {
    type Args = Handle;

    async fn init(handle: Handle, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let failed = |e: AppError| ExitReason::Other(e.to_string());
        // The producer first: once it is open nobody else writes, so the end of the journal is the end.
        let journal = handle.producer(INVENTORY_TOPIC, NAME, ProducerConfig::default()).await;
        let journal = journal.map_err(|e| failed(e.into()))?;
        let length = journal.appended(0).await.map_err(|e| failed(e.into()))?;
        let seats = replay(&handle, length).await.map_err(failed)?;
        tracing::info!(records = length, held = seats.held(), "inventory is back from its journal");
        Ok(Self { journal, seats, repeated: 0, next: Vec::new(), writing: None })
    }

    fn table() -> Table<Self> {
        Table::new().call_deferred::<Reserve>(1).call_deferred::<Release>(2).call::<Counting>(3)
    }
}

/// Reads the first `length` records of the journal.
async fn replay(handle: &Handle, length: u64) -> Result<Seats, AppError> {
    let topic = handle.catalog().find(INVENTORY_TOPIC).await?.ok_or("topic of the inventory is gone")?;
    let mut reader = handle.reader(topic.partitions.first().ok_or("topic of the inventory is empty")?.clone());
    let mut seats = Seats::default();
    let mut at = Offset::ZERO;
    while at.get() < length {
        for batch in reader.fetch(at, Duration::from_secs(1)).await? {
            for record in batch.records().filter(|record| record.offset >= at) {
                seats.apply(&codec::decode(VERSION, &record.value.unwrap_or_default())?);
            }
            at = batch.end_offset();
        }
    }
    Ok(seats)
}

impl Inventory {
    /// Writes what waits, unless a write is under way: then it goes into the next one.
    fn write(&mut self, ctx: &mut Ctx<Self>) {
        if self.writing.is_some() || self.next.is_empty() {
            return;
        }
        let writing = std::mem::take(&mut self.next);
        let records: Vec<Record> = writing.iter().map(|waiting| record(&waiting.change())).collect();
        self.writing = Some(writing);
        let (journal, addr) = (self.journal.clone(), ctx.addr());
        ctx.spawn_task(async move {
            let written = async {
                for record in records {
                    journal.send_to(0, record).await?;
                }
                Ok::<_, AppError>(journal.flush().await?)
            };
            let written = written.await.map_err(|e| e.to_string());
            addr.cast(Written(written)).await;
        });
    }
}

fn record(change: &Change) -> Record {
    let value = Bytes::from(codec::encode(VERSION, change));
    Record { timestamp_ms: tiebeam_node::world::wall_clock_ms(), value: Some(value), ..Record::default() }
}

impl Deferred<Reserve> for Inventory {
    type Reply = String;

    async fn handle_call(&mut self, reserve: Reserve, reply_to: ReplyTo<String>, ctx: &mut Ctx<Self>) {
        if let Some(seat) = self.seats.reservation(&reserve.key) {
            self.repeated += 1;
            return reply_to.send(seat);
        }
        self.next.push(Waiting::Reserve(reserve, reply_to));
        self.write(ctx);
    }
}

impl Deferred<Release> for Inventory {
    type Reply = ();

    async fn handle_call(&mut self, release: Release, reply_to: ReplyTo<()>, ctx: &mut Ctx<Self>) {
        if self.seats.is_released(&release.key) {
            self.repeated += 1;
            return reply_to.send(());
        }
        self.next.push(Waiting::Release(release, reply_to));
        self.write(ctx);
    }
}

impl Handler<Counting> for Inventory {
    type Reply = Count;

    async fn handle(&mut self, _: Counting, _: &mut Ctx<Self>) -> Count {
        Count { held: self.seats.held(), reserved: self.seats.reserved, repeated: self.repeated }
    }
}

impl Handler<Written> for Inventory {
    type Reply = ();

    async fn handle(&mut self, Written(result): Written, ctx: &mut Ctx<Self>) {
        if let Err(reason) = result {
            // Fenced by another inventory, or refused: what is in the journal is known only by reading it again.
            return ctx.stop(ExitReason::Other(reason));
        }
        for waiting in self.writing.take().into_iter().flatten() {
            self.seats.apply(&waiting.change());
            match waiting {
                Waiting::Reserve(Reserve { key, .. }, reply_to) => {
                    reply_to.send(self.seats.reservation(&key).unwrap_or_default());
                }
                Waiting::Release(_, reply_to) => reply_to.send(()),
            }
        }
        self.write(ctx);
    }
}

/// Starts the inventory on this node and says so in the registry of services.
pub(super) async fn start(handle: &Handle) -> Result<(), AppError> {
    if handle.system().whereis(NAME).is_none() {
        let of = handle.clone();
        let child = ChildSpec::new(NAME, move |starter| starter.named(NAME).spawn::<Inventory>(of.clone()));
        handle.supervise(child.permanent()).await?;
    }
    Ok(handle.register_service(NAME).await?)
}

/// Calls the inventory until it answers, wherever it is by then. The key makes repetitions harmless.
pub(super) async fn call<M>(handle: &Handle, message: M) -> Result<M::Answer, StepError>
where
    M: Clone + Call,
{
    let mut vain = 0;
    loop {
        let error: AppError = match handle.service::<Inventory>(NAME).await {
            Ok(named) => match message.clone().call(named).await {
                Ok(answer) => return Ok(answer),
                Err(error) if handle.service_failed(NAME, &error) => error.into(),
                Err(error) => return Err(StepError::Permanent(error.to_string())),
            },
            Err(error) => error.into(),
        };
        tracing::debug!(error = &*error, "inventory gave no answer, calling again");
        tiebeam_node::world::sleep(AGAIN.delay(vain, tiebeam_node::world::random())).await;
        vain = vain.saturating_add(1);
    }
}

type Named = tiebeam_node::actor::Named<Inventory>;
type CallResult<T> = Result<T, tiebeam_node::actor::CallError>;

/// A message that the inventory answers.
pub(super) trait Call: Send + Sync {
    type Answer: DeserializeOwned + Send;
    fn call(self, named: Named) -> impl Future<Output = CallResult<Self::Answer>> + Send;
}

impl Call for Reserve {
    type Answer = String;

    async fn call(self, named: Named) -> CallResult<String> {
        named.call(self).timeout(CALL_TIMEOUT).await
    }
}

impl Call for Release {
    type Answer = ();

    async fn call(self, named: Named) -> CallResult<()> {
        named.call(self).timeout(CALL_TIMEOUT).await
    }
}

impl Call for Counting {
    type Answer = Count;

    async fn call(self, named: Named) -> CallResult<Count> {
        named.call(self).timeout(CALL_TIMEOUT).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(key: &str) -> Change {
        Change::Reserve(Reserve { key: key.to_owned(), flight: "UA1".to_owned() })
    }

    fn release(key: &str) -> Change {
        Change::Release(Release { key: key.to_owned() })
    }

    /// Would fail if a repeated call gave out a second seat, or took one back that another key holds.
    #[test]
    fn repetition_changes_nothing() {
        let mut seats = Seats::default();
        for change in [reserve("a"), reserve("a"), reserve("b"), release("b"), release("b")] {
            seats.apply(&change);
        }
        assert_eq!((seats.held(), seats.reserved), (1, 2));
        assert_eq!(seats.reservation("a").as_deref(), Some("UA1, seat 1"));
    }

    /// A compensation can overtake the reservation that it undoes; the seat must not be held for ever.
    #[test]
    fn reservation_after_its_release_holds_nothing() {
        let mut seats = Seats::default();
        seats.apply(&release("a"));
        seats.apply(&reserve("a"));
        assert_eq!((seats.held(), seats.reserved), (0, 0));
    }

    #[test]
    fn journal_bytes_are_golden() {
        assert_eq!(codec::encode(VERSION, &release("k")), [1, 1, 1, b'k']);
        assert_eq!(codec::encode(VERSION, &reserve("k")), [1, 0, 1, b'k', 3, b'U', b'A', b'1']);
    }
}
