//! Actors of which the cluster runs exactly one, where a majority of the voters is connected.
//!
//! ```
//! # use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Table};
//! # use serde::{Deserialize, Serialize};
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::leases::Fence;
//! # use tiebeam_cluster::singletons::Singleton;
//! # use tiebeam_cluster::virtual_actors::VirtualError;
//! # struct Scheduler;
//! # #[derive(Serialize, Deserialize)]
//! # struct Plan;
//! # impl Actor for Scheduler {
//! #     type Args = Fence;
//! #     async fn init(_: Fence, _: &mut Ctx<Self>) -> Result<Self, ExitReason> { Ok(Self) }
//! #     fn table() -> Table<Self> { Table::new().call::<Plan>(1) }
//! # }
//! # impl Handler<Plan> for Scheduler {
//! #     type Reply = u32;
//! #     async fn handle(&mut self, _: Plan, _: &mut Ctx<Self>) -> u32 { 0 }
//! # }
//! const SCHEDULER: Singleton<Scheduler> = Singleton::new("scheduler");
//!
//! # async fn example(cluster: &Cluster) -> Result<(), Box<dyn std::error::Error>> {
//! // On every node that may run it:
//! cluster.singletons().host(&SCHEDULER, None, |fence| fence).await?;
//! // On any node:
//! let planned = cluster.singletons().refer(&SCHEDULER).call(Plan).await?;
//! # let _ = planned;
//! # Ok(())
//! # }
//! ```
//!
//! It is a [virtual actor](crate::virtual_actors) with all that is promised of these, but that it runs without being
//! called, is never idle, and stays where it is as long as its node lives and is connected to a majority. After the end of
//! its node it runs elsewhere once its lease has ended, at most [`Config::lease_time`](crate::Config::lease_time) and a
//! little for asking again; after [`Singletons::withdraw`] or [`Cluster::shutdown`](crate::Cluster::shutdown), at once.
//! If it ends by itself, or doesn't start, it is started again after 500 ms.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tiebeam_actor::Actor;
use tiebeam_wire::Role;

use crate::leases::Fence;
use crate::node::Node;
use crate::virtual_actors::{Activation, HostError, Hosting, Kind, VirtualActors, VirtualRef};

/// Names a singleton. Usually a constant that all nodes share.
pub struct Singleton<A> {
    kind: Kind<A>,
}

/// The singletons of the cluster.
#[derive(Clone)]
pub struct Singletons {
    virtual_actors: VirtualActors,
}

impl<A> Singleton<A> {
    /// Names a singleton. Kinds of virtual actors and singletons have their names in common.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { kind: Kind::new(name) }
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind.name()
    }
}

impl Singletons {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { virtual_actors: VirtualActors::new(node) }
    }

    /// Runs the singleton on this node whenever it runs nowhere else, if this node has `role`, or none is named. `args` says
    /// how it begins, with the fence of its tenure.
    ///
    /// # Errors
    /// Each [`HostError`] says why it never will.
    pub async fn host<A: Actor>(
        &self,
        singleton: &Singleton<A>,
        role: Option<Role>,
        args: impl Fn(Fence) -> A::Args + Send + Sync + 'static,
    ) -> Result<(), HostError> {
        let hosting = Hosting { role, ..Hosting::default() };
        let args = move |activation: Activation| args(activation.fence);
        self.virtual_actors.open(singleton.name(), hosting, true, args, PhantomData::<A>).await
    }

    /// Runs it here no longer; returns when it has ended here, if it ran. Says whether it was hosted.
    pub async fn withdraw<A>(&self, singleton: &Singleton<A>) -> bool {
        self.virtual_actors.withdraw(&singleton.kind).await
    }

    /// Names the singleton, wherever it runs.
    #[must_use]
    pub fn refer<A: Actor>(&self, singleton: &Singleton<A>) -> VirtualRef<A> {
        self.virtual_actors.refer(&singleton.kind, crate::virtual_actors::SINGLETON_KEY)
    }

    /// Says whether it runs on this node.
    #[must_use]
    pub fn is_here<A>(&self, singleton: &Singleton<A>) -> bool {
        self.virtual_actors.activations(&singleton.kind) > 0
    }
}

impl<A> Clone for Singleton<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Singleton<A> {}

impl<A> fmt::Debug for Singleton<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Singleton({:?})", self.name())
    }
}

impl fmt::Debug for Singletons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Singletons").finish_non_exhaustive()
    }
}
