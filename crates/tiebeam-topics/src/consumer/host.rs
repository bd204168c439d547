use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_actor::{Actor, ChildSpec, Ctx, ExitReason, Handler, Info, Pid, Supervisor, SupervisorSpec};
use tiebeam_log::Group;
use tiebeam_resilience::Backoff;
use tiebeam_wire::Instant;

use super::seat::{Place, Seat};
use super::{ConsumerConfig, Processor, TopicPartition};
use crate::partition::Partition;

/// The most partitions of a host: as many groups as a node may hold.
const SLOTS_MAX: usize = tiebeam_log::GROUPS_MAX;

/// Restarts within the period that a consumer gets before its supervisor gives up and the host pauses.
const RESTARTS: (u32, Duration) = (3, Duration::from_secs(5));

/// How long the host pauses after a supervisor gave up. A poisonous record then costs a few attempts a minute.
const PAUSE: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };

/// A supervisor that lasted this long has pauses begin anew.
const STEADY: Duration = Duration::from_mins(1);

/// Makes the processor of a partition, whenever its consumer begins.
type Factory<P> = Arc<dyn Fn(&TopicPartition) -> P + Send + Sync>;

/// What a [`ConsumerHost`] begins with.
pub struct ConsumerHostArgs<P> {
    /// The consumer's name, the same on every node: offsets and states are kept under it.
    pub consumer: String,
    /// The partitions of which this node holds a replica.
    pub partitions: Vec<(TopicPartition, Group<Partition>)>,
    /// Makes the processor of a partition, whenever its consumer begins.
    pub processor: Arc<dyn Fn(&TopicPartition) -> P + Send + Sync>,
    /// How the consumers read.
    pub config: ConsumerConfig,
}

impl<P> Clone for ConsumerHostArgs<P> {
    fn clone(&self) -> Self {
        Self {
            consumer: self.consumer.clone(),
            partitions: self.partitions.clone(),
            processor: Arc::clone(&self.processor),
            config: self.config.clone(),
        }
    }
}

impl<P> fmt::Debug for ConsumerHostArgs<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, partitions, .. } = self;
        let partitions: Vec<_> = partitions.iter().map(|(partition, _)| partition).collect();
        f.debug_struct("ConsumerHostArgs")
            .field("consumer", consumer)
            .field("partitions", &partitions)
            .finish_non_exhaustive()
    }
}

/// Runs one consumer for each partition that this node leads, each under a supervisor of its own, and stops it when the
/// partition is led elsewhere. Put it into a supervision tree: `ChildSpec::actor::<ConsumerHost<P>>("..", args)`.
pub struct ConsumerHost<P> {
    consumer: String,
    processor: Factory<P>,
    config: ConsumerConfig,
    slots: Vec<Slot>,
}

/// A partition of which this node holds a replica.
struct Slot {
    place: Place,
    /// Whether this node leads the partition.
    is_led: bool,
    state: SlotState,
    /// How often in a row the supervisor gave up.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    /// Nothing runs.
    Vacant,
    /// The supervisor with this pid runs the consumer since this moment.
    Taken(Pid, Instant),
    /// The supervisor gave up; a timer is under way.
    Paused,
}

/// This node began to lead the partition of a slot.
struct Led(usize);
/// It no longer does.
struct Deposed(usize);

/// Asks a [`ConsumerHost`] to host one more partition, of which this node holds a replica. One that it hosts already
/// changes nothing; one beyond 256 is not hosted, which is reported as an error event.
#[derive(Debug)]
pub struct AddPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// This node's replica of it.
    pub group: Group<Partition>,
}

impl<P: Processor> ConsumerHost<P> {
    fn add(&mut self, partition: TopicPartition, group: Group<Partition>, ctx: &mut Ctx<Self>) {
        if self.slots.iter().any(|slot| slot.place.group.id() == group.id()) {
            return;
        }
        if self.slots.len() == SLOTS_MAX {
            tracing::error!(%partition, limit = SLOTS_MAX, "partition gets no consumer: host is full");
            return;
        }
        let (number, addr) = (self.slots.len(), ctx.addr());
        let watched = group.clone();
        ctx.spawn_task(async move {
            loop {
                let term = watched.led().await;
                addr.cast(Led(number)).await;
                watched.deposed(term).await;
                addr.cast(Deposed(number)).await;
            }
        });
        let (consumer, config) = (self.consumer.clone(), self.config.clone());
        let place = Place { group, partition, consumer, config };
        self.slots.push(Slot { place, is_led: false, state: SlotState::Vacant, failures: 0 });
    }

    async fn take(&mut self, number: usize, ctx: &mut Ctx<Self>) {
        let slot = &mut self.slots[number];
        let args = (slot.place.clone(), Arc::clone(&self.processor));
        let child = ChildSpec::actor::<Consumer<P>>(slot.place.partition.to_string(), args);
        let spec = SupervisorSpec::one_for_one().intensity(RESTARTS.0, RESTARTS.1).child(child);
        match ctx.spawn_link::<Supervisor>(spec).await {
            Ok(supervisor) => slot.state = SlotState::Taken(supervisor.pid(), tiebeam_world::now()),
            Err(reason) => {
                tracing::error!(partition = %slot.place.partition, %reason, "consumer did not start");
                self.pause(number, ctx);
            }
        }
    }

    async fn leave(&mut self, number: usize, ctx: &Ctx<Self>) {
        let slot = &mut self.slots[number];
        let state = std::mem::replace(&mut slot.state, SlotState::Vacant);
        if let SlotState::Taken(supervisor, _) = state {
            ctx.exit(supervisor, ExitReason::Shutdown);
            ctx.system().wait(supervisor).await;
        }
    }

    fn pause(&mut self, number: usize, ctx: &mut Ctx<Self>) {
        let slot = &mut self.slots[number];
        slot.state = SlotState::Paused;
        ctx.send_after(PAUSE.delay(slot.failures, tiebeam_world::random()), number as u64);
        slot.failures = slot.failures.saturating_add(1);
    }
}

impl<P: Processor> Actor for ConsumerHost<P> {
    type Args = ConsumerHostArgs<P>;

    async fn init(args: ConsumerHostArgs<P>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        let ConsumerHostArgs { consumer, partitions, processor, config } = args;
        let mut host = Self { consumer, processor, config, slots: Vec::new() };
        for (partition, group) in partitions {
            host.add(partition, group, ctx);
        }
        Ok(host)
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        match info {
            Info::Exit { from, reason } => {
                let ended = |slot: &Slot| matches!(slot.state, SlotState::Taken(pid, _) if pid == from);
                // Others were stopped here on purpose.
                let Some(number) = self.slots.iter().position(ended) else { return };
                let slot = &mut self.slots[number];
                tracing::error!(partition = %slot.place.partition, %reason, "supervisor of a consumer gave up");
                if let SlotState::Taken(_, since) = slot.state
                    && tiebeam_world::now().since(since) >= STEADY
                {
                    slot.failures = 0;
                }
                self.pause(number, ctx);
            }
            Info::Timer(number) => {
                let number = number as usize;
                // In the meantime the partition may be led elsewhere, or anew.
                if self.slots[number].is_led && self.slots[number].state == SlotState::Paused {
                    self.take(number, ctx).await;
                }
            }
            _ => {}
        }
    }

    async fn terminate(&mut self, _: &ExitReason, ctx: &mut Ctx<Self>) {
        for number in 0..self.slots.len() {
            self.leave(number, ctx).await;
        }
    }
}

impl<P: Processor> Handler<Led> for ConsumerHost<P> {
    type Reply = ();

    async fn handle(&mut self, Led(number): Led, ctx: &mut Ctx<Self>) {
        let slot = &mut self.slots[number];
        slot.is_led = true;
        slot.failures = 0;
        tracing::info!(partition = %slot.place.partition, consumer = slot.place.consumer, "consumer begins");
        self.take(number, ctx).await;
    }
}

impl<P: Processor> Handler<Deposed> for ConsumerHost<P> {
    type Reply = ();

    async fn handle(&mut self, Deposed(number): Deposed, ctx: &mut Ctx<Self>) {
        let slot = &mut self.slots[number];
        slot.is_led = false;
        tracing::info!(partition = %slot.place.partition, consumer = slot.place.consumer, "consumer ends: not leader");
        self.leave(number, ctx).await;
    }
}

impl<P: Processor> Handler<AddPartition> for ConsumerHost<P> {
    type Reply = ();

    async fn handle(&mut self, AddPartition { partition, group }: AddPartition, ctx: &mut Ctx<Self>) {
        self.add(partition, group, ctx);
    }
}

impl<P> fmt::Debug for ConsumerHost<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.slots.iter().map(|slot| (&slot.place.partition, slot.state));
        f.debug_struct("ConsumerHost")
            .field("consumer", &self.consumer)
            .field("slots", &slots.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The actor that consumes one partition. It dies of whatever goes wrong, and its supervisor starts it again.
enum Consumer<P> {
    /// It has not read yet where it stands. Not done in `init`: that waits for a quorum, and its supervisor for it.
    Waiting(Place, Factory<P>),
    Seated(Seat<P>),
}

struct Turn;

impl<P: Processor> Actor for Consumer<P> {
    type Args = (Place, Factory<P>);

    async fn init((place, processor): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.addr().cast(Turn).await;
        Ok(Self::Waiting(place, processor))
    }
}

impl<P: Processor> Handler<Turn> for Consumer<P> {
    type Reply = ();

    async fn handle(&mut self, _: Turn, ctx: &mut Ctx<Self>) {
        let turn = match self {
            Self::Waiting(place, processor) => {
                let seat = Seat::take(place.clone(), processor(&place.partition)).await;
                seat.map(|seat| *self = Self::Seated(seat))
            }
            Self::Seated(seat) => seat.turn().await.map(|_| ()),
        };
        match turn {
            Ok(()) => ctx.addr().cast(Turn).await,
            Err(error) => {
                let causes = std::iter::successors(std::error::Error::source(&error), |e| e.source());
                ctx.stop(ExitReason::Other(causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))));
            }
        }
    }
}
