//! Services on all connected nodes: who offers what, whether it is well, and calls to whoever is.
//!
//! A service is a name; its instances are actors, or programs beside the nodes that have an address. Each is registered on
//! one node, with a version, a zone, a weight and metadata, and is looked at by the checks of its registration. Whoever calls
//! a service by a [`Caller`] reaches an instance that passes, near and not loaded if it can be.
//!
//! ```
//! # use std::time::Duration;
//! # use serde::{Deserialize, Serialize};
//! # use tiebeam_actor::{Actor, Addr, Ctx, ExitReason, Handler, Table};
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::services::{Check, Finding, InstanceSpec, Ping, Policy};
//! # struct Prices;
//! #[derive(Clone, Serialize, Deserialize)]
//! struct PriceOf(String);
//! # impl Actor for Prices {
//! #     type Args = ();
//! #     async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> { Ok(Self) }
//! #     fn table() -> Table<Self> { Table::new().call::<PriceOf>(1) }
//! # }
//! # impl Handler<PriceOf> for Prices {
//! #     type Reply = u64;
//! #     async fn handle(&mut self, _: PriceOf, _: &mut Ctx<Self>) -> u64 { 0 }
//! # }
//! # impl Handler<Ping> for Prices {
//! #     type Reply = Finding;
//! #     async fn handle(&mut self, _: Ping, _: &mut Ctx<Self>) -> Finding { Finding::Passing }
//! # }
//! # async fn example(cluster: &Cluster, prices: &Addr<Prices>) -> Result<(), Box<dyn std::error::Error>> {
//! let spec = InstanceSpec::new("prices", "eu-1").version("2.1").check(Check::actor(prices));
//! cluster.services().register(spec, prices)?;
//! // Here or on any other node:
//! let caller = cluster.services().caller::<Prices>("prices", Policy::default());
//! let price: u64 = caller.call(PriceOf("apple".to_owned()), Duration::from_secs(1)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Who is there.** As with [groups](crate::groups): here at once, on connected nodes within about 50 ms; who is lost is
//! unseen at once. A registration ends with its actor, with its [`Registration`], or with its lease, and always with its
//! node.
//!
//! **Health.** Checks run on the instance's own node, so that each instance is looked at once, however many call it; that a
//! caller can't reach the node is the connection's business. An instance with checks begins critical. What travels is a
//! change of condition, not each look.
//!
//! **In a split** each side sees the instances that it reaches. What an instance does on a side without a majority is its own
//! choice, [`WhenCutOff`]: serve what it has, or be stopped by its supervisor until the node is back.
//!
//! **Calls** go to one instance; to another one only if the first surely didn't handle it, or the policy says that
//! repetitions do no harm, within the one deadline of the call and within the budget of retries. A caller keeps a breaker for
//! each instance, and leaves alone who fails.
//!
//! **Limits.** 1,000 instances of a node, 8 checks of an instance, 1,024 bytes of metadata; in all 10,000 instances in each of
//! 64 shards.
//!
//! Not here: that an instance is the only one of its kind; that needs consensus. A registration is no proof that its program
//! still runs, a check is.

mod caller;
mod check;
pub(crate) mod cut_off;
mod health;
mod http;
mod pick;
mod roster;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, Handler, Pid};
use tiebeam_wire::{Incarnation, NodeId};

pub use self::caller::{Caller, CallerSnapshot, Chosen, InstanceSnapshot, ServiceError};
pub use self::check::{Check, Ping};
pub use self::cut_off::WhenCutOff;
pub use self::health::{Condition, Finding, Health, REASON_BYTES_MAX};
pub use self::pick::{Again, Balance, Policy};
pub(crate) use self::roster::Roster;
use crate::node::Node;
use crate::sharing::plane::{Kind, Plane, ShareError};
use crate::sharing::watch::{Monitoring, ToldOf, Watch, WatchError};

/// How many instances one node registers at once.
pub const INSTANCES_MAX: usize = 1_000;
/// How many checks an instance has.
pub const CHECKS_MAX: usize = 8;
/// The most metadata of an instance: the bytes of all names and values together.
pub const METADATA_BYTES_MAX: usize = 1_024;

/// All services that this node sees.
#[derive(Clone)]
pub struct Services {
    node: Arc<Node>,
}

/// An instance to be registered.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    service: String,
    id: String,
    details: Details,
    /// None means that of the node.
    zone: Option<String>,
    checks: Vec<Check>,
    when_cut_off: WhenCutOff,
}

/// What an instance says of itself, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Details {
    /// Its version, in its own terms; empty if it says none.
    pub version: String,
    /// Where it can be reached without actors.
    pub address: Option<SocketAddr>,
    /// Its zone; empty if neither it nor its node says one.
    pub zone: String,
    /// How much it gets of what all get; nothing at 0.
    pub weight: u32,
    /// What else it says.
    pub metadata: BTreeMap<String, String>,
    /// How it is.
    pub health: Health,
}

/// An instance as this node sees it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The service.
    pub service: Arc<str>,
    /// Its id; the same id on another node is another instance.
    pub id: String,
    /// The node that registered it.
    pub node: NodeId,
    /// Which start of that node.
    pub incarnation: Incarnation,
    /// The actor, if it is one.
    pub actor: Option<Pid>,
    /// What it says of itself, and how it is.
    pub details: Arc<Details>,
}

/// A change of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceEvent {
    /// An instance was registered, or its node is there again.
    Added(Instance),
    /// What an instance says is another, or how it is.
    Changed {
        /// As it was told last.
        before: Instance,
        /// As it is.
        after: Instance,
    },
    /// An instance is gone, or its node was lost; as it was told last.
    Removed(Instance),
}

/// Hands out the changes of a service: first all its instances, then each change once. A reader that is slow gets changes of
/// one instance as one, as with groups.
pub struct ServiceEvents {
    watch: Watch<ServicesKind>,
}

/// An instance that is no actor; it is registered until this is dropped.
#[must_use = "an instance is registered as long as its registration lives"]
pub struct Registration {
    node: Arc<Node>,
    service: String,
    id: String,
    serial: u64,
}

/// Why an instance is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another holder has the id on this node, and lives.
    #[error("instance {id:?} of service {service:?} is registered on this node already")]
    Taken {
        /// The service.
        service: String,
        /// The id.
        id: String,
    },
    /// Something of it can't be used, as the text says.
    #[error("instance {id:?} of service {service:?} can't be registered: {why}")]
    Unusable {
        /// The service.
        service: String,
        /// The id.
        id: String,
        /// What, and what it may be.
        why: &'static str,
    },
    /// This node has as many as it may.
    #[error("this node has {limit} instances, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// As with all that is shared.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// There is no such lease on this node: it ran out, or was never there. Register again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instance {id:?} of service {service:?} has no lease on this node")]
pub struct NoLease {
    /// The service.
    pub service: String,
    /// The id.
    pub id: String,
}

impl InstanceSpec {
    /// Describes an instance without version, address, metadata and checks, of weight 1, in the zone of its node.
    #[must_use]
    pub fn new(service: impl Into<String>, id: impl Into<String>) -> Self {
        let health = Health { condition: Condition::Passing, reason: String::new(), since_ms: 0 };
        let (version, zone, metadata) = (String::new(), String::new(), BTreeMap::new());
        let details = Details { version, address: None, zone, weight: 1, metadata, health };
        let (zone, checks, when_cut_off) = (None, Vec::new(), WhenCutOff::ServeStale);
        Self { service: service.into(), id: id.into(), details, zone, checks, when_cut_off }
    }

    /// Says which version it is; at most 64 bytes.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.details.version = version.into();
        self
    }

    /// Says where it can be reached without actors.
    #[must_use]
    pub const fn address(mut self, address: SocketAddr) -> Self {
        self.details.address = Some(address);
        self
    }

    /// Says that it is in another zone than its node; at most 64 bytes.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Says how much it gets, up to 1,000; nothing at 0.
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.details.weight = weight;
        self
    }

    /// Adds to its metadata, in place of an earlier value of that name.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.metadata.insert(name.into(), value.into());
        self
    }

    /// Adds a check. The instance is as the worst of them finds it.
    #[must_use]
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Says what becomes of it when its node is cut off from the majority. By default it serves on.
    #[must_use]
    pub fn when_cut_off(self, when_cut_off: WhenCutOff) -> Self {
        Self { when_cut_off, ..self }
    }
}

impl Services {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Registers an actor of this node, until it ends; in place of its earlier registration under this id. If that passed, the
    /// new one does until a check finds otherwise.
    ///
    /// # Errors
    /// Each [`RegisterError`] says why; then nothing was changed.
    pub fn register<A: Actor>(&self, spec: InstanceSpec, actor: &Addr<A>) -> Result<(), RegisterError> {
        self.node.sharing.roster.add(&self.node, spec, roster::Holder::Actor(actor.pid())).map(drop)
    }

    /// Registers an instance that is no actor, until the [`Registration`] is dropped.
    ///
    /// # Errors
    /// Each [`RegisterError`] says why; then nothing was changed.
    pub fn hold(&self, spec: InstanceSpec) -> Result<Registration, RegisterError> {
        let (service, id) = (spec.service.clone(), spec.id.clone());
        let serial = self.node.sharing.roster.add(&self.node, spec, roster::Holder::Guard)?;
        Ok(Registration { node: Arc::clone(&self.node), service, id, serial })
    }

    /// Registers an instance that somebody outside keeps alive: it ends after `ttl` unless it is [renewed](Services::renew)
    /// on this node. In place of an earlier lease under this id.
    ///
    /// # Errors
    /// Each [`RegisterError`] says why; then nothing was changed.
    pub fn lease(&self, spec: InstanceSpec, ttl: Duration) -> Result<(), RegisterError> {
        self.node.sharing.roster.add(&self.node, spec, roster::Holder::Lease(ttl)).map(drop)
    }

    /// Keeps a lease of this node for its whole time from now on.
    ///
    /// # Errors
    /// [`NoLease`].
    pub fn renew(&self, service: &str, id: &str) -> Result<(), NoLease> {
        match self.node.sharing.roster.renew(service, id) {
            true => Ok(()),
            false => Err(NoLease { service: service.to_owned(), id: id.to_owned() }),
        }
    }

    /// Ends a registration of this node, whoever holds it; says whether there was one.
    pub fn deregister(&self, service: &str, id: &str) -> bool {
        self.node.sharing.roster.remove(&self.node, service, id, None)
    }

    /// Lists the services that have instances, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.node.sharing.services.read(|core| core.board.topics().cloned().collect())
    }

    /// Lists the instances of a service, well or not, in order of ids and nodes.
    #[must_use]
    pub fn list(&self, service: &str) -> Vec<Instance> {
        let (name, service) = (service.to_owned(), Arc::<str>::from(service));
        self.node
            .sharing
            .services
            .read(|core| core.board.entries(&name).map(|(entry, details)| instance(&service, entry, details)).collect())
    }

    /// As [`Services::list`], those that pass.
    #[must_use]
    pub fn passing(&self, service: &str) -> Vec<Instance> {
        let mut list = self.list(service);
        list.retain(|instance| instance.details.health.condition == Condition::Passing);
        list
    }

    /// Hands out the changes of a service.
    ///
    /// # Errors
    /// [`WatchError::TooMany`] beyond 4,096 monitors and streams of services on this node.
    pub fn events(&self, service: &str) -> Result<ServiceEvents, WatchError> {
        let name = service.to_owned();
        Ok(ServiceEvents { watch: Watch::new(&self.node, Box::new(move |other: &String| *other == name))? })
    }

    /// Tells an actor of this node the changes of a service, as messages, until it ends.
    ///
    /// # Errors
    /// As [`Services::events`].
    pub fn monitor<B: Handler<ServiceEvent, Reply = ()>>(
        &self,
        service: &str,
        watcher: &Addr<B>,
    ) -> Result<Monitoring, WatchError> {
        Ok(self.events(service)?.watch.tell(watcher, event))
    }

    /// Makes a caller of a service whose instances are actors of type `A`. Clones of it share what they learn; make one and
    /// keep it.
    ///
    /// # Panics
    /// If the breaker or the budget of `policy` can't be, as [`Breaker`](tiebeam_resilience::Breaker) and
    /// [`RetryBudget`](tiebeam_resilience::RetryBudget) say.
    #[must_use]
    pub fn caller<A: Actor>(&self, service: impl Into<String>, policy: Policy) -> Caller<A> {
        Caller::new(Arc::clone(&self.node), service.into(), policy)
    }
}

impl Registration {
    /// Says that the instance is another from now on; under the same service and id, whatever `spec` says.
    ///
    /// # Errors
    /// Each [`RegisterError`] says why; then nothing was changed, and the instance is registered as before.
    pub fn update(&mut self, mut spec: InstanceSpec) -> Result<(), RegisterError> {
        (spec.service, spec.id) = (self.service.clone(), self.id.clone());
        self.serial = self.node.sharing.roster.replace(&self.node, spec, self.serial)?;
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.node.sharing.roster.remove(&self.node, &self.service, &self.id, Some(self.serial));
    }
}

impl ServiceEvents {
    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<ServiceEvent> {
        self.watch.next().await.map(event)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("node", &self.node.me.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({:?} of {:?})", self.id, self.service)
    }
}

impl fmt::Debug for ServiceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceEvents").finish_non_exhaustive()
    }
}

/// One instance; the order of fields is the format. Whoever holds it is named in it: an actor, or, with serial 0, its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct InstanceKey {
    pub(crate) service: String,
    pub(crate) id: String,
    pub(crate) holder: Pid,
}

/// What is shared of an instance. Cheap to clone, since every list and every caller has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shared(pub(crate) Arc<Details>);

impl Serialize for Shared {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Details::deserialize(deserializer).map(|details| Self(Arc::new(details)))
    }
}

/// Services, and their instances.
pub(crate) struct ServicesKind;

impl Kind for ServicesKind {
    type Key = InstanceKey;
    type Value = Shared;
    type Topic = String;
    type Entry = pick::Name;

    const LANE: u8 = 3;
    const NAME: &'static str = "services";

    fn place(key: &InstanceKey) -> (String, pick::Name) {
        (key.service.clone(), (key.id.clone(), key.holder))
    }

    fn holder(key: &InstanceKey, _: &Shared) -> Pid {
        key.holder
    }

    fn plane(node: &Node) -> &Plane<Self> {
        &node.sharing.services
    }

    fn ended(node: &Node, pid: Pid) {
        node.sharing.roster.ended(pid);
    }
}

fn instance(service: &Arc<str>, (id, holder): &pick::Name, details: &Shared) -> Instance {
    Instance {
        service: Arc::clone(service),
        id: id.clone(),
        node: holder.node,
        incarnation: holder.incarnation,
        actor: Some(*holder).filter(|holder| holder.serial != 0),
        details: Arc::clone(&details.0),
    }
}

fn event(told: ToldOf<ServicesKind>) -> ServiceEvent {
    let (service, entry) = (Arc::from(told.topic), told.key);
    let of = |details: &Shared| instance(&service, &entry, details);
    match (&told.before, &told.after) {
        (Some(before), Some(after)) => ServiceEvent::Changed { before: of(before), after: of(after) },
        (None, Some(after)) => ServiceEvent::Added(of(after)),
        // One of the two is there.
        (before, None) => {
            ServiceEvent::Removed(before.as_ref().map(&of).expect("a change has a value before it or after it"))
        }
    }
}
