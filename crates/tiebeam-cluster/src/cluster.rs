pub(crate) mod events;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tiebeam_actor::{Addr, System};
use tiebeam_crdt::ReplicaId;
use tiebeam_net::join::{Desk, Office};
use tiebeam_net::{
    BindError, Cookie, Credentials, Denied, DenyList, DenyListFull, Endpoint, FRAME_BYTES_MAX, RotateError, Service,
};
use tiebeam_wire::{Incarnation, NodeId, Role};
use tokio::sync::{Notify, mpsc, watch};

use self::events::Told;
use crate::leases::Tenancy;
use crate::mesh::demand::Demand;
use crate::mesh::dialler::Dialler;
use crate::mesh::needed::{self, Room};
use crate::monitor::NodeMonitors;
use crate::node::{Node, Version, View, lock};
use crate::router::LaneRouter;
use crate::said::SaidCell;
use crate::seed::SeedBook;
use crate::sharing::{Compares, Sharing};
use crate::standing::{Standing, StandingCell, StandingEvents, VotersReached};
use crate::virtual_actors::host::Virtuals;
use crate::voters::VotersCell;
use crate::{
    Config, Edges, Groups, Handler, Leases, Member, MemberEvent, Monitoring, Names, NodeEvent, PeerIdentity, Presence,
    PubSub, Reach, Readiness, RemoteTasks, RequestError, Rpc, Said, Services, Singletons, VirtualActors, Voters,
    WatchError, ZONE_BYTES_MAX,
};
use crate::{gossip, mesh, monitor, reach, said, seed, sharing, standing};

/// The least of [`Config::lease_time`].
const LEASE_TIME_MIN: Duration = Duration::from_millis(500);
/// How long [`Cluster::shutdown`] waits for peers to be told.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// A node's place in its cluster. Cheap to clone; all clones are the same node. It keeps its place until
/// [`Cluster::shutdown`], also if all clones are dropped.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("me", &self.node.me).finish_non_exhaustive()
    }
}

/// Why a node could not take its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address can't be bound or advertised, or the credentials can't be used.
    #[error("node can't listen")]
    Listen(#[from] BindError),
    /// An admin's certificate is for asking, not for being a member.
    #[error("role {0} can't be a member of a cluster")]
    Role(Role),
    /// The certificate and the actor system are of two nodes, or of two starts: pids would name nobody.
    #[error("certificate and configuration name {net:?}, the actor system {system:?}")]
    System {
        /// What the certificate and the configuration say.
        net: (NodeId, Incarnation),
        /// What the actor system says.
        system: (NodeId, Incarnation),
    },
    /// Gossip didn't start.
    #[error("gossip can't start: {0}")]
    Gossip(String),
}

/// Hands out the changes of membership since [`Cluster::subscribe`].
///
/// A subscriber that is slow misses no loss: a member that was lost and is back is told as `Down` and `Up`. It does miss
/// members that came and went while it didn't look.
pub struct MemberEvents {
    node: Arc<Node>,
    version: watch::Receiver<Version>,
    told: Told,
}

impl fmt::Debug for MemberEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberEvents").field("told", &self.told).finish_non_exhaustive()
    }
}

impl MemberEvents {
    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<MemberEvent> {
        loop {
            // Noted as seen before it is looked at: what changes in between is looked at again.
            let stopped = self.version.borrow_and_update().stopped;
            let event = self.told.next(&self.node.view().live);
            if event.is_some() || stopped {
                return event;
            }
            self.version.changed().await.ok()?;
        }
    }
}

impl Cluster {
    /// Listens, dials seeds and peers and joins whom it finds; returns as soon as it listens.
    ///
    /// Signals between `system`'s actors and those of other nodes take this cluster's connections from now on.
    ///
    /// # Errors
    /// [`StartError`] if it can't listen; nothing is left running.
    pub async fn start(config: Config, system: System) -> Result<Self, StartError> {
        let identity = config.net.credentials.identity().clone();
        if identity.role == Role::Admin {
            return Err(StartError::Role(identity.role));
        }
        let net = (identity.node, config.net.incarnation);
        if net != (system.node(), system.incarnation()) {
            return Err(StartError::System { net, system: (system.node(), system.incarnation()) });
        }
        let endpoint = Endpoint::bind(config.net.clone())?;
        let me = Member {
            node: identity.node,
            name: identity.name,
            role: identity.role,
            address: endpoint.address(),
            incarnation: config.net.incarnation,
            live: true,
            said: Said::default(),
            reach: Reach::Connected,
        };
        let (gossip_in, gossip_out) = mpsc::channel(gossip::MESSAGES_MAX);
        let node = Arc::new(Node::new(config, me, endpoint, system, gossip_in));
        node.system.install_router(Arc::new(LaneRouter { node: Arc::downgrade(&node) }));
        let cluster = Self { node };
        cluster.run();
        // An edge that keeps to cores hears of everybody through these, and would only make their digests longer.
        if !cluster.node.is_apart(Role::Edge)
            && let Err(error) = cluster.gossip(gossip_out).await
        {
            cluster.shutdown().await;
            return Err(StartError::Gossip(error.to_string()));
        }
        Ok(cluster)
    }

    pub(crate) const fn of(node: Arc<Node>) -> Self {
        Self { node }
    }

    pub(crate) const fn inner(&self) -> &Arc<Node> {
        &self.node
    }

    async fn gossip(&self, inbound: gossip::Inbox) -> anyhow::Result<()> {
        let node = &self.node;
        let handle = gossip::start(node, inbound).await?;
        let watcher = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        *lock(&node.chitchat) = Some(handle);
        let watch = tiebeam_world::spawn("cluster.gossip", gossip::watch(Arc::clone(node), watcher));
        lock(&node.tasks).push(watch.into_guard());
        Ok(())
    }

    fn run(&self) {
        let node = &self.node;
        sharing::start(node);
        crate::rpc::start(self);
        crate::leases::start(self);
        let tasks = [
            tiebeam_world::spawn("cluster.accept", mesh::accept(Arc::clone(node))).into_guard(),
            tiebeam_world::spawn("cluster.dial", mesh::dial(Arc::clone(node))).into_guard(),
            tiebeam_world::spawn("cluster.said", said::run(Arc::clone(node))).into_guard(),
            tiebeam_world::spawn("cluster.standing", standing::run(Arc::clone(node))).into_guard(),
            tiebeam_world::spawn("cluster.relay", mesh::relay::send(Arc::clone(node))).into_guard(),
        ];
        lock(&node.tasks).extend(tasks);
        let peers = node.config.peers.iter().map(|(_, address)| *address);
        let fixed = seed::addresses(&node.config.seeds).chain(peers).collect();
        let book = Arc::new(Mutex::new(SeedBook::new(fixed)));
        let lookups = seed::lookups(&node.config.seeds).map(|(index, seed)| {
            let look = seed::run(Arc::clone(node), Arc::clone(&book), index, seed.clone());
            tiebeam_world::spawn("cluster.seed", look).into_guard()
        });
        lock(&node.tasks).extend(lookups);
        tracing::info!(node = %node.me.node, incarnation = %node.me.incarnation, address = %node.me.address, "listening");
    }

    /// Asks `service` of node `to` and waits for the answer, at most for `timeout`.
    ///
    /// Delivered at most once. Requests may overtake each other. A request to this node itself is served here, without
    /// the network. At most 64 requests to one peer for [`Service::RAFT`] and 192 for all others are under way at once;
    /// more wait their turn. Dropping the future gives up waiting; the request may still be done.
    ///
    /// # Errors
    /// Each [`RequestError`] says whether the request may have been done.
    pub async fn request(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        let answer = async {
            if to == self.node() {
                return self.request_here(service, body).await;
            }
            let peer = needed::connected(&self.node, to).await?;
            peer.request(service, body).await.map_err(|error| RequestError::from_net(error, to, service))
        };
        tiebeam_world::timeout(timeout, answer).await.unwrap_or(Err(RequestError::Timeout(to)))
    }

    async fn request_here(&self, service: Service, body: Bytes) -> Result<Bytes, RequestError> {
        let me = &self.node.me;
        if body.len() > FRAME_BYTES_MAX {
            return Err(RequestError::TooLarge { size: body.len(), limit: FRAME_BYTES_MAX });
        }
        // The same rules as from afar, so that a program that works on one node works on many.
        if !service.admits(me.role) {
            return Err(RequestError::Forbidden { node: me.node, service });
        }
        let handler = self.node.handler(service).ok_or(RequestError::NoService { node: me.node, service })?;
        let asker = PeerIdentity { node: me.node, incarnation: me.incarnation, role: me.role, name: me.name.clone() };
        handler(asker, body).await.map_err(RequestError::Failed)
    }

    /// Installs the handler of `service`, in place of an earlier one.
    pub fn serve(&self, service: Service, handler: Handler) {
        self.node.handlers.write().unwrap_or_else(PoisonError::into_inner).insert(service, handler);
    }

    /// Shows another certificate and trusts its authorities from now on; connections, links and monitors live on. What was
    /// refused before is dialled again at once.
    ///
    /// # Errors
    /// [`RotateError`]; nothing has changed then.
    pub fn rotate(&self, credentials: Credentials) -> Result<(), RotateError> {
        self.node.endpoint.rotate(credentials)?;
        self.hurry();
        Ok(())
    }

    /// Proves and demands these cookies from now on, the current one and the one before; connections live on.
    ///
    /// # Errors
    /// As [`Cluster::rotate`], though credentials in use were good before.
    pub fn set_cookies(&self, current: Cookie, previous: Option<Cookie>) -> Result<(), RotateError> {
        self.node.endpoint.set_cookies(current, previous)?;
        self.hurry();
        Ok(())
    }

    /// Opens a desk for newcomers at `listen`.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn open_desk(&self, listen: SocketAddr, office: Office) -> Result<Desk, BindError> {
        self.node.endpoint.open_desk(listen, office)
    }

    /// Denies a node or a certificate from now on; its connections end at once.
    ///
    /// # Errors
    /// [`DenyListFull`]; nothing has changed then.
    pub fn revoke(&self, denied: Denied) -> Result<(), DenyListFull> {
        self.node.endpoint.revoke(denied)
    }

    /// Denies everybody in `list` and nobody else from now on. Whoever is no longer on it is dialled at once.
    pub fn deny(&self, list: DenyList) {
        self.node.endpoint.deny(list);
        self.hurry();
    }

    fn hurry(&self) {
        self.node.view().dialler.hurry_all(tiebeam_world::now());
        self.node.dial.notify_one();
    }

    /// Returns all known nodes in the order of their numbers, this one included.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let view = self.node.view();
        let mut members: BTreeMap<NodeId, Member> =
            view.known.iter().map(|(node, known)| (*node, known.member.clone())).collect();
        members.extend(view.live.iter().map(|(node, live)| (*node, live.member.clone())));
        drop(view);
        for member in members.values_mut() {
            member.said = said::of(&self.node, ReplicaId::new(member.node, member.incarnation));
        }
        members.insert(self.node.me.node, Member { said: said::now(&self.node), ..self.node.me.clone() });
        members.into_values().collect()
    }

    /// Returns where `node` listens, if this node knows it.
    #[must_use]
    pub fn address_of(&self, node: NodeId) -> Option<SocketAddr> {
        if node == self.node() {
            return Some(self.node.me.address);
        }
        let view = self.node.view();
        let live = view.live.get(&node).map(|live| live.member.address);
        let known = live.or_else(|| view.known.get(&node).map(|known| known.member.address));
        let configured = || self.node.config.peers.iter().find(|(peer, _)| *peer == node).map(|(_, address)| *address);
        known.or_else(configured)
    }

    /// Hands out all changes from now on; first an `Up` for each member that is live now, this node excluded.
    #[must_use]
    pub fn subscribe(&self) -> MemberEvents {
        MemberEvents { node: Arc::clone(&self.node), version: self.node.version.subscribe(), told: Told::default() }
    }

    /// Tells an actor of this node who is up, suspect, back and down, as messages, until it ends: first an `Up` for each member
    /// that is live now, this node excluded.
    ///
    /// # Errors
    /// [`WatchError::TooMany`] beyond 256 such monitors on this node.
    pub fn monitor_nodes<A: tiebeam_actor::Handler<NodeEvent, Reply = ()>>(
        &self,
        watcher: &Addr<A>,
    ) -> Result<Monitoring, WatchError> {
        monitor::start(&self.node, watcher)
    }

    /// Groups of actors on all connected nodes.
    #[must_use]
    pub fn groups(&self) -> Groups {
        Groups::new(Arc::clone(&self.node))
    }

    /// Names on all connected nodes, which converge.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::new(Arc::clone(&self.node))
    }

    /// Who is there, with metadata, on all connected nodes.
    #[must_use]
    pub fn presence(&self) -> Presence {
        Presence::new(Arc::clone(&self.node))
    }

    /// Services on all connected nodes, and calls to whichever instance is well.
    #[must_use]
    pub fn services(&self) -> Services {
        Services::new(Arc::clone(&self.node))
    }

    /// Functions that nodes offer each other by name.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        Rpc::new(self.clone())
    }

    /// Topics that reach whoever subscribes, on all connected nodes; nothing of them is kept.
    #[must_use]
    pub fn pubsub(&self) -> PubSub {
        PubSub::new(Arc::clone(&self.node))
    }

    /// Tasks on other nodes, under supervisors there.
    #[must_use]
    pub fn tasks(&self) -> RemoteTasks {
        RemoteTasks::new(self.clone())
    }

    /// Leases that a majority of the voters grants.
    #[must_use]
    pub fn leases(&self) -> Leases {
        Leases::new(Arc::clone(&self.node))
    }

    /// Actors by key that are always there, each on one node at a time.
    #[must_use]
    pub fn virtual_actors(&self) -> VirtualActors {
        VirtualActors::new(Arc::clone(&self.node))
    }

    /// Actors of which the cluster runs exactly one.
    #[must_use]
    pub fn singletons(&self) -> Singletons {
        Singletons::new(Arc::clone(&self.node))
    }

    /// Takes out of groups, names and presence what all starts of `node` contributed, here and, by and by, everywhere; and
    /// refuses what comes later. Only for whoever knows by consensus that the node never comes back: a node that was
    /// forgotten can share nothing any more under its number.
    pub fn forget(&self, node: NodeId) {
        self.node.sharing.forget(&self.node, node);
    }

    /// The nodes whose majority decides, as far as this node knows.
    #[must_use]
    pub fn voters(&self) -> Arc<Voters> {
        self.node.voters.now()
    }

    /// Waits on changes of the voters.
    pub fn watch_voters(&self) -> watch::Receiver<Arc<Voters>> {
        self.node.voters.watch()
    }

    /// Takes in a change of the voters that consensus made; says whether it was later than what this node knew. Members
    /// of the cluster tell it to nobody: each learns it from the log.
    pub fn set_voters(&self, voters: Voters) -> bool {
        self.node.voters.set(voters)
    }

    /// Says whether this node is ready for work; members hear of it. While it is [cut off](Standing) it is not, whatever is said
    /// here. Ready unless this is called.
    pub fn set_ready(&self, readiness: Readiness) {
        self.node.said.set_readiness(readiness);
    }

    /// Says how loaded this node is, in percent of what it can do; more than 100 if work waits. Members hear of it in tens,
    /// and only when it has moved by more than 7.
    pub fn set_load(&self, percent: u32) {
        self.node.said.set_load(percent);
    }

    /// Whether this node is ready, as it tells the others.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        said::now(&self.node).readiness
    }

    /// Whether this node is in the part of a split cluster that goes on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.node.standing.now()
    }

    /// Hands out where this node stands: as it is, then each change.
    #[must_use]
    pub fn watch_standing(&self) -> StandingEvents {
        self.node.standing.events(&self.node)
    }

    /// Waits until this node reaches a majority of the voters; at once if it does. Never, if the cluster is shut down before.
    /// Cancel safe.
    pub async fn until_majority(&self) {
        let mut events = self.watch_standing();
        loop {
            match events.next().await {
                Some(Standing::Majority) => return,
                Some(Standing::Unknown | Standing::CutOff { .. }) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Which voters are reached, at this moment and without the patience of [`Cluster::standing`].
    #[must_use]
    pub fn voters_reached(&self) -> VotersReached {
        standing::voters_reached(&self.node)
    }

    /// This node's number.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node.me.node
    }

    /// Which start of this node this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.node.me.incarnation
    }

    /// What this node may do.
    #[must_use]
    pub fn role(&self) -> Role {
        self.node.me.role
    }

    /// Where peers are told to dial this node; its port is the bound one also if the configuration says 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.node.me.address
    }

    /// How many connections there are, those in their handshakes and those of admins included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.node.endpoint.connection_count()
    }

    /// Prepares to leave: says that this node isn't ready, takes its actors out of groups, names, presence and services, so
    /// that nobody new finds them, and refuses to take others in ([`ShareError::Draining`](crate::ShareError::Draining)).
    /// They run on, and connected nodes have heard of it after about 50 ms. There is no way back but to start again.
    pub fn drain(&self) {
        self.set_ready(Readiness::NotReady("node is about to leave".to_owned()));
        self.node.sharing.drain_out(&self.node);
    }

    /// Leaves: ends virtual actors and singletons, at most for 2 s, gives back leases, closes all connections and the
    /// endpoint, tells all ends, and waits until peers were told, at most for 1 s. A second call returns at once.
    pub async fn shutdown(&self) {
        let node = &self.node;
        crate::virtual_actors::host::leave(node).await;
        crate::leases::leave(node).await;
        lock(&node.tasks).clear();
        node.sharing.roster.clear();
        let gossip = lock(&node.chitchat).take();
        if let Some(gossip) = gossip {
            let _ = gossip.initiate_shutdown();
        }
        node.endpoint.close();
        let mut version = node.version.subscribe();
        let ended = async {
            let _ = version.wait_for(|_| node.sessions().is_empty()).await;
            node.endpoint.idle().await;
        };
        if tiebeam_world::timeout(SHUTDOWN_MAX, ended).await.is_err() {
            tracing::warn!(node = %node.me.node, "left before all peers were told");
        }
        reach::end(node);
        node.version.send_modify(|version| version.stopped = true);
    }
}

impl Node {
    fn new(
        mut config: Config,
        me: Member,
        endpoint: Endpoint,
        system: System,
        gossip: mpsc::Sender<(SocketAddr, Bytes)>,
    ) -> Self {
        // What is compared with the zones of others is what they hear.
        config.zone = said::cut(&config.zone, ZONE_BYTES_MAX);
        let mut dialler = Dialler::new(config.dial_backoff);
        let now = tiebeam_world::now();
        for address in seed::addresses(&config.seeds).filter(|address| *address != me.address) {
            dialler.configure(now, address, None);
        }
        for (node, address) in config.peers.iter().filter(|(node, _)| *node != me.node) {
            dialler.configure(now, *address, Some(*node));
        }
        let config = Config { lease_time: config.lease_time.max(LEASE_TIME_MIN), ..config };
        let keeps_to_cores = me.role == Role::Edge && config.edges == Edges::KeepToCores;
        let compares = if keeps_to_cores { Compares::WithOne } else { Compares::WithSome };
        let sharing = Sharing::new(ReplicaId::new(me.node, me.incarnation), compares);
        let voters = VotersCell::new(config.voters.clone());
        let standing = StandingCell::new(&config.standing);
        let said = SaidCell::new(&config.program_version, &config.zone);
        let leases = Tenancy::new(me.node, &config);
        let view = View {
            known: BTreeMap::new(),
            connected: BTreeMap::new(),
            present: BTreeMap::new(),
            live: BTreeMap::new(),
            serial: 0,
            dialler,
        };
        let demand = Demand::new(config.dial_backoff);
        Self {
            config,
            me,
            endpoint,
            system,
            handlers: RwLock::default(),
            sessions: RwLock::default(),
            view: Mutex::new(view),
            version: watch::Sender::new(Version { changes: 0, stopped: false }),
            pairs: Mutex::default(),
            serials: AtomicU64::new(1),
            admins: AtomicUsize::new(0),
            dial: Notify::new(),
            gossip,
            chitchat: Mutex::new(None),
            tasks: Mutex::default(),
            sharing,
            voters,
            standing,
            said,
            node_monitors: NodeMonitors::default(),
            leases,
            virtuals: Virtuals::default(),
            demand: Mutex::new(demand),
            room: Room::default(),
            shown: Mutex::default(),
        }
    }
}
