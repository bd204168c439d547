//! Leases that a majority of the [`Voters`] grants, without a disk: what may exist only once stands on one.
//!
//! ```
//! # use std::time::Duration;
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::leases::LeaseError;
//! # async fn example(cluster: &Cluster) -> Result<(), LeaseError> {
//! let lease = cluster.leases().acquire("nightly report", Duration::from_secs(10)).await?;
//! while lease.is_held() {
//!     // Whatever is written elsewhere carries `lease.fence()`, and is refused there after a higher one.
//! #   break;
//! }
//! lease.release();
//! # Ok(())
//! # }
//! ```
//!
//! **One at a time.** A voter grants a resource to one holder for [`Config::lease_time`](crate::Config::lease_time), by its
//! own monotonic clock, and counts only time that it has seen pass. A holder counts from before it asked, and three
//! sixteenths less: one for clocks whose rates differ, jumps included, two for what is in hand when the lease ends. So no
//! two nodes count on one resource at the same time, whatever is lost, repeated, delayed, paused or restarted, as long as
//!
//! - within a lease no clock gains more than a sixteenth on another one;
//! - the voters are the same on all nodes, and of two sets that follow each other any two majorities meet, as they do if
//!   one node comes or goes at a time and a majority has heard of each change before the next. A node that starts again is
//!   told the latest that it knew.
//!
//! A holder that was paused finds its lease over when it looks, which it must do before each thing that it does. What it
//! did not look before, and what takes longer than an eighth of a lease, is what fences are for.
//!
//! **Fences grow.** Each tenure of a resource has a higher fence than the one before. It is made of the wall clock and of
//! what voters answer; voters that start anew ask the others. If so many start anew that no majority remembers, or one
//! can't be reached for 10 s, wall clocks alone decide: then the fence is higher unless the new holder's clock is behind.
//!
//! **Time.** Where a majority is connected, a resource that was given back is somebody else's at once, that of a dead holder
//! after a lease at most, and a little for asking again. A voter that has just started, or hears of other voters, grants
//! nothing new for one lease. Leases are renewed four times as often as they end, all of a node in one request to each voter.
//!
//! **Limits.** A node wants 16,384 resources at once; a voter remembers 65,536, of which it forgets those that nobody holds;
//! names have up to 255 bytes. Beyond these acquiring is refused, or waits.
//!
//! Not here: that a resource is kept across the death of its holder, or that waiting is fair.
//!
//! Further reading: "PaxosLease: Diskless Paxos for Leases" (Trencseni, Gazso, Reinhardt, 2012); "How to do distributed
//! locking" (Kleppmann, 2016) for fences.

mod acceptor;
mod holder;
mod message;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tiebeam_actor::Deadline;
use tiebeam_net::Service;
use tiebeam_wire::{Instant, NodeId, codec};
use tokio::sync::{Notify, watch};

use self::acceptor::Acceptor;
use self::holder::{Holder, Output, Times, WANTS_MAX};
use self::message::{Answer, Request, VERSION};
use crate::node::{Node, lock};
use crate::sharing::plane::{NAME_BYTES_MAX, ShareError, checked};
use crate::{Cluster, Config, PeerIdentity, Voters};

/// How often a voter that remembers nothing asks the others.
const RECALL_INTERVAL: Duration = Duration::from_millis(250);
/// How long a node that leaves waits until its leases are given back.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// Names one tenure of a resource among all of them: a later one has a higher fence. To be compared and handed on, for
/// others to refuse what comes after a higher one; nothing else can be read from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence(pub u64);

impl Fence {
    /// How many fences there are in a millisecond.
    const PER_MS_BITS: u32 = 20;

    /// The next one at the wall clock's `wall_ms`.
    fn next(self, wall_ms: u64) -> Self {
        let wall = wall_ms.min(u64::MAX >> Self::PER_MS_BITS) << Self::PER_MS_BITS;
        Self(self.0.saturating_add(1).max(wall))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

/// What this node holds, and can get.
#[derive(Clone)]
pub struct Leases {
    node: Arc<Node>,
}

/// A resource that is this node's until it is released, dropped or lost.
pub struct Lease {
    claim: Claim,
    fence: Fence,
}

/// Why a resource was not acquired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The cluster has no voters: nothing in it needs a majority.
    #[error("cluster has no voters")]
    NoVoters,
    /// Another part of this node holds it, or waits for it.
    #[error("resource {0:?} is held or waited for on this node already")]
    Taken(String),
    /// The time was up.
    #[error("resource {resource:?} was not to be had in time, it is held by {holder:?}")]
    Timeout {
        /// The resource.
        resource: String,
        /// Who holds it, as a voter said last; none if no voter answered, or they don't grant yet.
        holder: Option<NodeId>,
    },
    /// The node wants too many.
    #[error("node wants {limit} resources already, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The name is too long.
    #[error("resource has {size} bytes, more than the limit of {limit}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The node has left the cluster.
    #[error("node has left the cluster")]
    Left,
}

impl LeaseError {
    /// Says whether trying again can help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::Timeout { .. } | Self::TooMany { .. })
    }
}

impl Leases {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Waits until this node holds a resource, at most for `timeout`. Dropping the future gives it up.
    ///
    /// # Errors
    /// Each [`LeaseError`] says why it doesn't.
    pub async fn acquire(&self, resource: &str, timeout: Duration) -> Result<Lease, LeaseError> {
        let mut claim = Claim::new(&self.node, resource)?;
        let held = tiebeam_world::timeout(timeout, claim.held()).await;
        match held {
            Ok(Some(fence)) => Ok(Lease { claim, fence }),
            Ok(None) => Err(LeaseError::Left),
            Err(_) => {
                let Standing::Wanted { by } = claim.standing() else { return Err(LeaseError::Left) };
                Err(LeaseError::Timeout { resource: resource.to_owned(), holder: by })
            }
        }
    }

    /// How long a voter grants; a dead holder's resource can be had after this.
    #[must_use]
    pub fn lease_time(&self) -> Duration {
        self.node.config.lease_time
    }
}

impl Lease {
    /// Names this tenure.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Says whether the resource is this node's now, and for an eighth of a lease to come. Once it isn't it never is again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.claim.deadline().is_over() && self.claim.standing() == Standing::Held(self.fence)
    }

    /// Returns until when the lease is held, put off with each renewal: what an actor can be started
    /// [until](tiebeam_actor::Starter::until).
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.claim.deadline().clone()
    }

    /// Waits until the lease is lost: no majority was reached in time. Cancel safe.
    pub async fn lost(&mut self) {
        self.claim.over().await;
    }

    /// Gives the resource back, for others to have at once. As dropping the lease does.
    pub fn release(self) {}
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("node", &self.node.me.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("resource", &self.claim.resource)
            .field("fence", &self.fence)
            .field("deadline", self.claim.deadline())
            .finish_non_exhaustive()
    }
}

/// How it stands with a resource that is wanted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is being asked for; who has it, as a voter said last.
    Wanted { by: Option<NodeId> },
    /// It is this node's.
    Held(Fence),
    /// It was, or the node leaves.
    Over,
}

#[derive(Debug)]
struct Entry {
    deadline: Deadline,
    standing: watch::Sender<Standing>,
}

/// Wants a resource until it is dropped.
pub(crate) struct Claim {
    node: Arc<Node>,
    resource: String,
    entry: Arc<Entry>,
    watch: watch::Receiver<Standing>,
}

impl Claim {
    pub(crate) fn new(node: &Arc<Node>, resource: &str) -> Result<Self, LeaseError> {
        if let Err(ShareError::TooLarge { size, limit, .. }) = checked("resource", resource) {
            return Err(LeaseError::TooLong { size, limit });
        }
        if node.voters.now().nodes.is_empty() {
            return Err(LeaseError::NoVoters);
        }
        let (standing, watch) = watch::channel(Standing::Wanted { by: None });
        let entry = Arc::new(Entry { deadline: Deadline::new(Instant::default()), standing });
        node.leases.act(node, |own| {
            if own.has_left {
                return Err(LeaseError::Left);
            }
            if own.entries.contains_key(resource) {
                return Err(LeaseError::Taken(resource.to_owned()));
            }
            if !own.holder.want(tiebeam_world::now(), resource) {
                return Err(LeaseError::TooMany { limit: WANTS_MAX });
            }
            own.entries.insert(resource.to_owned(), Arc::clone(&entry));
            Ok(())
        })?;
        Ok(Self { node: Arc::clone(node), resource: resource.to_owned(), entry, watch })
    }

    pub(crate) fn deadline(&self) -> &Deadline {
        &self.entry.deadline
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.watch.clone()
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.watch.borrow()
    }

    /// Waits until it is held; none if it never will be. Cancel safe.
    pub(crate) async fn held(&mut self) -> Option<Fence> {
        let standing = self.watch.wait_for(|standing| !matches!(standing, Standing::Wanted { .. })).await;
        match standing.map(|standing| *standing) {
            Ok(Standing::Held(fence)) => Some(fence),
            _ => None,
        }
    }

    /// Waits until it is over. Cancel safe.
    pub(crate) async fn over(&mut self) {
        let _ = self.watch.wait_for(|standing| *standing == Standing::Over).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.node.leases.act(&self.node, |own| {
            // A later claim of the same name is somebody else's.
            if own.entries.get(&self.resource).is_some_and(|entry| Arc::ptr_eq(entry, &self.entry)) {
                own.entries.remove(&self.resource);
                own.holder.leave(&self.resource);
            }
        });
    }
}

/// Both halves of a node's part in leases.
pub(crate) struct Tenancy {
    own: Mutex<Own>,
    acceptor: Mutex<Acceptor>,
    /// Tells the shells that there may be an earlier deadline.
    holder_due: Notify,
    acceptor_due: Notify,
    /// Tells a node that leaves that a request which gives back was answered.
    freed: Notify,
}

/// What this node wants and holds.
struct Own {
    holder: Holder,
    entries: BTreeMap<String, Arc<Entry>>,
    /// Requests that give back and have no answer yet.
    freeing: usize,
    has_left: bool,
}

impl Tenancy {
    pub(crate) fn new(node: NodeId, config: &Config) -> Self {
        let (lease, voters) = (config.lease_time, config.voters.clone());
        let own = Own {
            holder: Holder::new(lease, Arc::new(voters.clone()), tiebeam_world::random()),
            entries: BTreeMap::new(),
            freeing: 0,
            has_left: false,
        };
        Self {
            own: Mutex::new(own),
            acceptor: Mutex::new(Acceptor::new(tiebeam_world::now(), node, lease, voters)),
            holder_due: Notify::new(),
            acceptor_due: Notify::new(),
            freed: Notify::new(),
        }
    }

    /// Lets `act` change what is wanted, and performs what that leads to, in order.
    fn perform<T>(&self, node: &Arc<Node>, act: impl FnOnce(&mut Own) -> T) -> T {
        let mut own = lock(&self.own);
        let result = act(&mut own);
        while let Some(output) = own.holder.take() {
            match output {
                Output::Send { to, round, request } => {
                    own.freeing += usize::from(matches!(request, Request::Free { .. }));
                    drop(node.sharing.spawn("cluster.lease", send(Arc::clone(node), to, round, request)));
                }
                Output::Held { resource, fence, until } => {
                    if let Some(entry) = own.entries.get(&resource) {
                        entry.deadline.put_off(until);
                        let held = Standing::Held(fence);
                        entry.standing.send_if_modified(|standing| std::mem::replace(standing, held) != held);
                    }
                }
                Output::Lost { resource, fence } => {
                    tracing::warn!(resource, %fence, "lease lost, no majority has granted it for longer");
                    if let Some(entry) = own.entries.remove(&resource) {
                        entry.standing.send_replace(Standing::Over);
                    }
                }
                Output::Denied { resource, by } => {
                    if let Some(entry) = own.entries.get(&resource) {
                        entry.standing.send_replace(Standing::Wanted { by });
                    }
                }
            }
        }
        result
    }

    /// As [`Tenancy::perform`], and has the shell look at its deadline.
    fn act<T>(&self, node: &Arc<Node>, act: impl FnOnce(&mut Own) -> T) -> T {
        let result = self.perform(node, act);
        self.holder_due.notify_one();
        result
    }
}

/// Sends a request to a voter and takes in the answer.
async fn send(node: Arc<Node>, to: NodeId, round: Option<u64>, request: Request) {
    let patience = Times { lease: node.config.lease_time }.patience();
    let is_freeing = matches!(request, Request::Free { .. });
    let answer = ask(&node, to, &request, patience).await;
    node.leases.act(&node, |own| {
        own.freeing -= usize::from(is_freeing);
        if let Some(round) = round {
            own.holder.answered(tiebeam_world::now(), round, to, answer.as_ref());
        }
    });
    if is_freeing {
        node.leases.freed.notify_waiters();
    }
}

async fn ask(node: &Arc<Node>, to: NodeId, request: &Request, patience: Duration) -> Option<Answer> {
    let body = codec::encode(VERSION, request).into();
    let answer = Cluster::of(Arc::clone(node)).request(to, Service::LEASE, body, patience).await;
    match answer {
        Ok(body) => codec::decode(VERSION, &body).ok(),
        Err(error) => {
            tracing::trace!(%to, %error, "voter doesn't answer");
            None
        }
    }
}

/// Votes, and asks for what is wanted, until the node is gone.
pub(crate) fn start(cluster: &Cluster) {
    let node = cluster.inner();
    let weak = Arc::downgrade(node);
    let serve = move |from: PeerIdentity, body: Bytes| {
        let node = Weak::clone(&weak);
        async move {
            let node = node.upgrade().ok_or_else(|| "node is gone".to_owned())?;
            let request = codec::decode::<Request>(VERSION, &body).map_err(|error| error.to_string())?;
            Ok(Bytes::from(codec::encode(VERSION, &serve(&node, &from, request))))
        }
        .boxed()
    };
    cluster.serve(Service::LEASE, Arc::new(serve));
    let tasks = [
        node.sharing.spawn("cluster.leases", run_holder(Arc::clone(node))).into_guard(),
        node.sharing.spawn("cluster.voter", run_acceptor(Arc::clone(node))).into_guard(),
    ];
    lock(&node.tasks).extend(tasks);
}

fn serve(node: &Arc<Node>, from: &PeerIdentity, request: Request) -> Answer {
    let (leases, now) = (&node.leases, tiebeam_world::now());
    let holder = (from.node, from.incarnation);
    let answer = match request {
        Request::Ask(ask) => lock(&leases.acceptor).ask(now, holder, &ask),
        Request::Free { were_held, tenures } => {
            let told = lock(&leases.acceptor).free(now, holder, were_held, &tenures);
            for (to, resource) in told {
                let freed = Request::Freed { resource };
                drop(node.sharing.spawn("cluster.lease", send(Arc::clone(node), to, None, freed)));
            }
            Answer::Done
        }
        Request::Freed { resource } => {
            leases.act(node, |own| own.holder.freed(now, &resource));
            Answer::Done
        }
        Request::Recall => lock(&leases.acceptor).recall(),
    };
    leases.acceptor_due.notify_one();
    answer
}

/// Does all that a voter does with a request, whoever sent it.
#[cfg(feature = "testkit")]
pub(crate) fn decode(bytes: &[u8]) {
    let (now, me) = (Instant::default(), NodeId(1));
    let voters = Voters { version: 0, nodes: [me].into() };
    let mut acceptor = Acceptor::new(now, me, Duration::from_secs(4), voters);
    let holder = (NodeId(2), tiebeam_wire::Incarnation(1));
    match codec::decode::<Request>(VERSION, bytes) {
        Ok(Request::Ask(ask)) => drop(acceptor.ask(now, holder, &ask)),
        Ok(Request::Free { were_held, tenures }) => drop(acceptor.free(now, holder, were_held, &tenures)),
        Ok(Request::Freed { .. } | Request::Recall) | Err(_) => {}
    }
}

async fn run_holder(node: Arc<Node>) {
    let mut voters = node.voters.watch();
    loop {
        let now_voters: Arc<Voters> = Arc::clone(&voters.borrow_and_update());
        let wall_ms = u64::try_from(tiebeam_world::wall_clock_ms()).unwrap_or(0);
        let deadline = node.leases.perform(&node, |own| {
            let now = tiebeam_world::now();
            own.holder.set_voters(now, &now_voters);
            own.holder.expire(now, wall_ms);
            own.holder.deadline()
        });
        tokio::select! {
            () = sleep_until(deadline) => {}
            () = node.leases.holder_due.notified() => {}
            _ = voters.changed() => {}
        }
    }
}

async fn run_acceptor(node: Arc<Node>) {
    let mut voters = node.voters.watch();
    let mut recall_at = Instant::default();
    loop {
        let now_voters: Arc<Voters> = Arc::clone(&voters.borrow_and_update());
        let now = tiebeam_world::now();
        let (mut deadline, others) = {
            let mut acceptor = lock(&node.leases.acceptor);
            acceptor.set_voters(now, &now_voters);
            acceptor.expire(now);
            (acceptor.deadline(), acceptor.to_recall())
        };
        if !others.is_empty() {
            if recall_at <= now {
                recall_at = now + RECALL_INTERVAL;
                for other in others {
                    drop(node.sharing.spawn("cluster.recall", recall(Arc::clone(&node), other)));
                }
            }
            deadline = Some(deadline.map_or(recall_at, |deadline| deadline.min(recall_at)));
        }
        tokio::select! {
            () = sleep_until(deadline) => {}
            () = node.leases.acceptor_due.notified() => {}
            _ = voters.changed() => {}
        }
    }
}

async fn recall(node: Arc<Node>, from: NodeId) {
    let answer = ask(&node, from, &Request::Recall, RECALL_INTERVAL * 4).await;
    if let Some(Answer::Recalled { voters, remembers, fence }) = answer {
        lock(&node.leases.acceptor).recalled(tiebeam_world::now(), from, voters, remembers, fence);
        node.leases.acceptor_due.notify_one();
    }
}

pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tiebeam_world::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Gives back all that is left, and waits a moment until voters know.
pub(crate) async fn leave(node: &Arc<Node>) {
    let leases = &node.leases;
    leases.act(node, |own| {
        own.has_left = true;
        for (resource, entry) in std::mem::take(&mut own.entries) {
            own.holder.leave(&resource);
            entry.standing.send_replace(Standing::Over);
        }
    });
    let freed = async {
        loop {
            // Before looking: what happens in between is heard.
            let freed = leases.freed.notified();
            if lock(&leases.own).freeing == 0 {
                return;
            }
            freed.await;
        }
    };
    let _ = tiebeam_world::timeout(LEAVE_MAX, freed).await;
}

const _: () = assert!(NAME_BYTES_MAX == 255, "the documentation says so");
