//! Actors that are always there, by key: started by the first message to them, on one node at a time.
//!
//! A [`Kind`] names actors of one type; each key of it is one of them. Nodes that [host](VirtualActors::host) the kind share
//! the keys among each other; every node can [refer](VirtualActors::refer) to any of them.
//!
//! ```
//! # use std::time::Duration;
//! # use serde::{Deserialize, Serialize};
//! # use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Table};
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::virtual_actors::{Activation, Hosting, Kind};
//! const CARTS: Kind<Cart> = Kind::new("carts");
//!
//! struct Cart { of: Activation, items: u32 }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Put(u32);
//!
//! impl Actor for Cart {
//!     type Args = Activation;
//!     async fn init(of: Activation, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
//!         // Whatever it writes elsewhere carries `of.fence`.
//!         Ok(Self { of, items: 0 })
//!     }
//!     fn table() -> Table<Self> { Table::new().call::<Put>(1) }
//! }
//!
//! impl Handler<Put> for Cart {
//!     type Reply = u32;
//!     async fn handle(&mut self, Put(items): Put, _: &mut Ctx<Self>) -> u32 {
//!         self.items += items;
//!         self.items
//!     }
//! }
//!
//! # async fn example(cluster: &Cluster) -> Result<(), Box<dyn std::error::Error>> {
//! // On every node that may hold carts:
//! cluster.virtual_actors().host(&CARTS, Hosting::default(), |activation| activation).await?;
//! // On any node:
//! let cart = cluster.virtual_actors().refer(&CARTS, "customer 7");
//! let items = cart.call(Put(2)).timeout(Duration::from_secs(1)).await?;
//! # let _ = items;
//! # Ok(())
//! # }
//! ```
//!
//! **One at a time.** Keys lie in 256 shards, and a node runs actors of a shard only while it holds the shard's
//! [lease](crate::leases): where no majority of the voters is connected, nothing runs. Under a lease that is over nothing of
//! an actor is begun or goes on, also after a pause: its [deadline](tiebeam_actor::Deadline) is looked at before each
//! message, and before a handler that waited goes on. What a handler computes at that moment runs on to its next await; it
//! has an eighth of a lease for that before another node can begin. What it does outside is guarded by the
//! [fence](Activation::fence), which is higher under each tenure.
//!
//! **Where.** A consistent hash ring over the connected hosts says which of them should have a shard. Who holds it keeps it
//! until then: if the ring says for a second that it is another's, the holder takes nothing more, lets its actors of the
//! shard handle what they have and end by shutdown, and gives the lease back. What comes meanwhile waits where it will be
//! handled, 1,024 messages for each shard. An actor that doesn't end in 5 s is killed. A shard of a node that died, or
//! lost the majority, is another's a [lease](crate::Config::lease_time) later.
//!
//! **Lives.** An actor that heard nothing for [`Hosting::idle`] is asked to end, as by [`Addr::stop`](tiebeam_actor::Addr).
//! The next message starts it again, and so it does after a crash: its state begins anew with each life, and what must not
//! is in a log.
//!
//! **Delivery.** At most once. What was not taken is tried again where it belongs, until the time is up; what may have been
//! taken is not, and [`VirtualError::may_have_been_done`] says which. A cast waits until the message is in the mailbox. So
//! what one sender sends, each awaited before the next, is handled in that order, also across a handover. What is sent at
//! the same time has no order, and what an actor was asked before it died may be lost when what came later is done.
//!
//! **Limits.** Keys have up to 255 bytes; what waits and how many actors of a kind live on a node is bounded by [`Hosting`],
//! beyond which callers are told [`VirtualError::Overloaded`].
//!
//! Further reading: "Orleans: Distributed Virtual Actors" (Bernstein et al., 2014); Akka's cluster sharding.

mod call;
mod gate;
pub(crate) mod host;
mod house;
#[cfg(test)]
mod house_tests;
mod ring;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_actor::{Actor, CALL_TIMEOUT, CallError, Dispatch, ExitReason};
use tiebeam_wire::{NodeId, Role};

pub use self::call::{VirtualCall, VirtualCast};
use self::house::Rules;
pub(crate) use self::house::SINGLETON_KEY;
pub use self::ring::SHARDS;
use crate::leases::Fence;
use crate::node::Node;
use crate::sharing::plane::ShareError;
use crate::sharing::watch::WatchError;

/// The scope of the process groups that say which nodes host what.
pub const SCOPE: &str = "tiebeam.virtual";

/// The least of [`Hosting::idle`].
const IDLE_MIN: Duration = Duration::from_millis(100);

/// Names virtual actors of one type. Usually a constant that all nodes share.
pub struct Kind<A> {
    name: &'static str,
    actor: PhantomData<fn() -> A>,
}

/// How a node hosts a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// Only nodes of this role host it; on others hosting does nothing. Default none: all do.
    pub role: Option<Role>,
    /// After how long without a message an actor is asked to end, looked for four times as often. At least 100 ms;
    /// default 5 minutes.
    pub idle: Duration,
    /// How many of them live on this node at once; more are refused. Default 100,000.
    pub activations_max: usize,
    /// How many messages wait for a shard's lease, and for each actor's start; more are refused. Default 1,024.
    pub waiting_max: usize,
}

/// One activation of a virtual actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Which actor of its kind; empty for a singleton.
    pub key: String,
    /// Under which tenure: higher than that of all activations of the key before on other nodes.
    pub fence: Fence,
}

/// The virtual actors of all connected nodes.
#[derive(Clone)]
pub struct VirtualActors {
    node: Arc<Node>,
}

/// The address of a virtual actor, wherever it is. A value: it starts nothing by itself.
pub struct VirtualRef<A: Actor> {
    node: Arc<Node>,
    kind: &'static str,
    key: String,
    actor: PhantomData<fn() -> A>,
}

/// Why a kind is not hosted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// This node does so already.
    #[error("kind {0:?} is hosted on this node already")]
    Hosted(&'static str),
    /// What takes in messages did not start.
    #[error("gate of virtual actors did not start: {0}")]
    Start(ExitReason),
    /// Others can't be told.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The other hosts can't be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Why a virtual actor gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VirtualError {
    /// No connected node hosts the kind, as far as this node sees.
    #[error("no connected node hosts {0:?}")]
    NoHost(&'static str),
    /// The cluster has no voters: nothing in it can exist only once.
    #[error("cluster has no voters")]
    NoVoters,
    /// The time was up before any host took the message: no majority was connected, or the shard was changing hands.
    #[error("no host took the message in time")]
    NotTaken,
    /// The time was up.
    #[error("virtual actor didn't answer in time")]
    Timeout,
    /// The connection to the host was lost.
    #[error("no connection to node {0}")]
    NoConnection(NodeId),
    /// The actor ended before it answered.
    #[error("virtual actor ended: {0}")]
    Exit(ExitReason),
    /// The actor dropped the call.
    #[error("virtual actor dropped the call without an answer")]
    Unanswered,
    /// The actor doesn't start.
    #[error("virtual actor does not start: {0}")]
    Start(ExitReason),
    /// As much waits there as may, or as many actors live there.
    #[error("virtual actors are at their limit")]
    Overloaded,
    /// The message isn't in the actor's table, or one side can't decode what the other wrote.
    #[error("message is unknown to the actor, or can't be decoded")]
    Incompatible,
    /// The key is too long.
    #[error("key has {size} bytes, more than the limit of {limit}")]
    KeyTooLong {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl VirtualError {
    /// Says whether the message may have been handled, in part or whole, so that trying again could do its work twice.
    #[must_use]
    pub const fn may_have_been_done(&self) -> bool {
        matches!(self, Self::Timeout | Self::NoConnection(_) | Self::Exit(_) | Self::Unanswered)
    }

    fn from_call(error: CallError, node: NodeId) -> Self {
        match error {
            CallError::Timeout => Self::Timeout,
            CallError::NoProc => Self::NotTaken,
            CallError::NoConnection => Self::NoConnection(node),
            CallError::Exit(reason) => Self::Exit(reason),
            CallError::Overloaded => Self::Overloaded,
            CallError::Incompatible => Self::Incompatible,
            _ => Self::Unanswered,
        }
    }
}

impl<A> Kind<A> {
    /// Names a kind. Kinds and singletons have their names in common.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, actor: PhantomData }
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl Default for Hosting {
    fn default() -> Self {
        Self { role: None, idle: Duration::from_secs(300), activations_max: 100_000, waiting_max: 1024 }
    }
}

impl Hosting {
    pub(crate) fn rules(self, is_singleton: bool) -> Rules {
        let Self { idle, activations_max, waiting_max, .. } = self;
        Rules { idle: idle.max(IDLE_MIN), activations_max, waiting_max, is_singleton }
    }
}

impl VirtualActors {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Hosts a kind on this node from now on: its share of the keys is activated here. `args` says how an actor begins.
    ///
    /// # Errors
    /// Each [`HostError`] says why it isn't hosted.
    pub async fn host<A: Actor>(
        &self,
        kind: &Kind<A>,
        hosting: Hosting,
        args: impl Fn(Activation) -> A::Args + Send + Sync + 'static,
    ) -> Result<(), HostError> {
        self.open(kind.name, hosting, false, args, PhantomData::<A>).await
    }

    pub(crate) async fn open<A: Actor>(
        &self,
        kind: &'static str,
        hosting: Hosting,
        is_singleton: bool,
        args: impl Fn(Activation) -> A::Args + Send + Sync + 'static,
        _: PhantomData<A>,
    ) -> Result<(), HostError> {
        if hosting.role.is_some_and(|role| role != self.node.me.role) {
            return Ok(());
        }
        let start: host::Start = Arc::new(move |activation, starter| {
            let args = args(activation);
            Box::pin(async move { starter.spawn::<A>(args).await.map(|addr| addr.pid()) })
        });
        host::open(&self.node, kind, hosting.rules(is_singleton), start).await
    }

    /// Hosts a kind no longer; returns when its actors here have ended and their shards are given back. Says whether it was
    /// hosted. Dropping the future gives back all the same; the kind can be hosted here again after another withdrawal.
    pub async fn withdraw<A>(&self, kind: &Kind<A>) -> bool {
        host::close(&self.node, kind.name).await
    }

    /// Names an actor of a kind; there is nothing to start.
    #[must_use]
    pub fn refer<A: Actor>(&self, kind: &Kind<A>, key: impl Into<String>) -> VirtualRef<A> {
        VirtualRef { node: Arc::clone(&self.node), kind: kind.name, key: key.into(), actor: PhantomData }
    }

    /// Lists the connected nodes that host a kind, in order.
    #[must_use]
    pub fn hosts<A>(&self, kind: &Kind<A>) -> Vec<NodeId> {
        self.node.virtuals.ring(&self.node, kind.name).hosts().keys().copied().collect()
    }

    /// How many actors of a kind live on this node.
    #[must_use]
    pub fn activations<A>(&self, kind: &Kind<A>) -> usize {
        self.node.virtuals.host(kind.name).map_or(0, |host| host.activations())
    }
}

impl<A: Actor> VirtualRef<A> {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Calls the actor: await the returned [`VirtualCall`] for the answer, after [`VirtualCall::timeout`] if 5 s are not
    /// right. The message goes through the actor's [`Table`](tiebeam_actor::Table), also on this node.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn call<M, Mode>(&self, message: M) -> VirtualCall<'_, A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        VirtualCall::new(self, message, CALL_TIMEOUT)
    }

    /// Sends a message and asks for no answer, but waits until it is in the actor's mailbox.
    #[must_use = "a cast does nothing until it is awaited"]
    pub fn cast<M, Mode>(&self, message: M) -> VirtualCast<'_, A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        VirtualCast::new(self, message, CALL_TIMEOUT)
    }
}

/// Does all that is done with a message before its kind is looked for.
#[cfg(feature = "testkit")]
pub(crate) fn decode(bytes: &[u8]) {
    if let Ok(deliver) = tiebeam_wire::codec::decode::<gate::Deliver>(1, bytes) {
        let _ = ring::shard_of(&deliver.key);
    }
}

impl<A> Clone for Kind<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Kind<A> {}

impl<A: Actor> Clone for VirtualRef<A> {
    fn clone(&self) -> Self {
        Self { node: Arc::clone(&self.node), kind: self.kind, key: self.key.clone(), actor: PhantomData }
    }
}

impl<A> fmt::Debug for Kind<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({:?})", self.name)
    }
}

impl fmt::Debug for VirtualActors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualActors").field("node", &self.node.me.node).finish_non_exhaustive()
    }
}

impl<A: Actor> fmt::Debug for VirtualRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualRef({:?} of {:?})", self.key, self.kind)
    }
}
