//! Whole nodes on one thread and on virtual time: time jumps to whatever happens next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_cluster::{Cluster, Config, Voters};
use tiebeam_net::ca::{Authority, AuthorityError};
use tiebeam_net::{Cookie, Credentials, Identity};
use tiebeam_wire::{Incarnation, NodeId, Role};
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::clock::Clock;
use crate::host::Host;
use crate::interpose;
use crate::network::Network;
use crate::outside::Outside;
use crate::plug::address;
use crate::site::Site;
use crate::trace::ToLog;

/// A second, in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
const CLUSTER: &str = "skies";
/// Nodes that everybody is told to ask for the others.
const SEED_NODES: usize = 2;

/// What is begun on each start of a node.
pub type Work = Arc<dyn Fn(Site) -> BoxFuture<'static, ()> + Send + Sync>;

/// A cluster and its network. Only within [`on_thread`].
pub struct Simulation {
    outside: Arc<Outside>,
    nodes: Arc<[NodeId]>,
    hosts: BTreeMap<NodeId, Host>,
    credentials: BTreeMap<NodeId, Credentials>,
    work: Work,
    _traces: DefaultGuard,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Runs `simulate` on a thread of its own, where clocks and entropy are functions of `seed`.
///
/// # Panics
/// If `simulate` does.
pub fn on_thread<T: Send + 'static>(seed: u64, simulate: impl FnOnce() -> T + Send + 'static) -> T {
    let simulated = move || {
        interpose::begin(seed);
        let clock = Clock::new();
        interpose::set_clocks(clock.monotonic(0), clock.wall(0));
        tiebeam_world::seed(seed);
        // The process counts from its first look at the clock: before any node's.
        let _ = tiebeam_world::now();
        let result = simulate();
        interpose::end();
        result
    };
    let thread = std::thread::Builder::new().name("simulation".to_owned()).stack_size(8 << 20).spawn(simulated);
    let joined = thread.map(std::thread::JoinHandle::join);
    match joined {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => panic!("no thread for the simulation: {error}"),
    }
}

impl Simulation {
    /// Makes a cluster of `count` cores that are down. `work` is begun on each start of a node; traces of `level` and above
    /// go into the log.
    ///
    /// # Errors
    /// [`AuthorityError`]: certificates can't be made.
    pub fn new(seed: u64, count: u64, level: Level, work: Work) -> Result<Self, AuthorityError> {
        Self::mixed(seed, count, count, level, work)
    }

    /// As [`Simulation::new`], with `cores` cores, which have the first numbers; the others are edges.
    ///
    /// # Errors
    /// As [`Simulation::new`].
    pub fn mixed(seed: u64, count: u64, cores: u64, level: Level, work: Work) -> Result<Self, AuthorityError> {
        let outside = Outside::new(seed);
        let traces = tracing::subscriber::set_default(ToLog { outside: Arc::clone(&outside), level });
        let nodes: Arc<[NodeId]> = (1..=count).map(NodeId).collect();
        let authority = Authority::ephemeral(CLUSTER)?;
        let role = |node: &NodeId| if node.0 <= cores { Role::Core } else { Role::Edge };
        let credentials = nodes.iter().map(|node| Ok((*node, credentials(&authority, *node, role(node))?)));
        let credentials = credentials.collect::<Result<_, AuthorityError>>()?;
        let hosts = nodes.iter().map(|node| (*node, Host::new(*node))).collect();
        Ok(Self { outside, nodes, hosts, credentials, work, _traces: traces })
    }

    /// Starts a node, with a higher incarnation than before. Nothing happens if it is up.
    pub fn start(&mut self, node: NodeId) {
        let (now, cores) = (self.now(), self.cores().collect());
        let Some(host) = self.hosts.get_mut(&node).filter(|host| !host.is_up()) else { return };
        let incarnation = Incarnation(host.incarnation.0 + 1);
        let cookie = Cookie::new("a secret of the simulation").expect("longer than a cookie's least");
        let mut net = tiebeam_net::Config::new(address(node), incarnation, self.credentials[&node].clone(), cookie);
        net.advertise = Some(address(node));
        let mut config = Config::new(net);
        config.seeds = self.nodes.iter().take(SEED_NODES).map(|node| address(*node).into()).collect();
        config.voters = Voters { version: 0, nodes: cores };
        self.outside.tell(node, format!("starts as {incarnation}"));
        self.outside.state().turn = node;
        let work = Arc::clone(&self.work);
        host.start(now, config, &self.nodes, &self.outside, move |site| work(site).boxed());
        self.outside.state().turn = NodeId(0);
    }

    /// Kills a node.
    pub fn crash(&mut self, node: NodeId) {
        let now = self.now();
        self.resume(node);
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.is_up()) else { return };
        self.outside.tell(node, "crashes".to_owned());
        self.outside.state().turn = node;
        host.crash(now);
        self.outside.state().turn = NodeId(0);
    }

    /// Stops a node where it is, as SIGSTOP does; its clocks run on.
    pub fn pause(&mut self, node: NodeId) {
        let now = self.now();
        if let Some(host) = self.hosts.get_mut(&node).filter(|host| host.is_up() && host.paused_at.is_none()) {
            host.paused_at = Some(now);
            self.outside.tell(node, "is paused".to_owned());
        }
    }

    /// Lets a paused node go on.
    pub fn resume(&mut self, node: NodeId) {
        let now = self.now();
        let Some(paused_at) = self.hosts.get_mut(&node).and_then(|host| host.paused_at.take()) else { return };
        *self.outside.state().paused_nanos.entry(node).or_default() += now - paused_at;
        self.outside.tell(node, "goes on".to_owned());
    }

    /// Lets a node's clock run fast, in millionths, or slow, if below zero.
    pub fn set_rate(&mut self, node: NodeId, fast_ppm: i32) {
        self.change_clock(node, format!("clock is {fast_ppm} ppm fast"), |clock, now| clock.set_rate(now, fast_ppm));
    }

    /// Lets a node's monotonic clock jump ahead.
    pub fn jump(&mut self, node: NodeId, ahead_nanos: u64) {
        *self.outside.state().paused_nanos.entry(node).or_default() += ahead_nanos;
        let text = format!("clock jumps by {} ms", ahead_nanos / 1_000_000);
        self.change_clock(node, text, |clock, now| clock.jump(now, ahead_nanos));
    }

    /// Sets a node's wall clock ahead of the true time, or behind, if below zero.
    pub fn set_wall(&mut self, node: NodeId, ahead_nanos: i64) {
        let text = format!("wall clock is set {} s ahead", ahead_nanos / 1_000_000_000);
        self.change_clock(node, text, |clock, _| clock.set_wall(ahead_nanos));
    }

    fn change_clock(&mut self, node: NodeId, text: String, change: impl FnOnce(&mut Clock, u64)) {
        let now = self.now();
        if let Some(host) = self.hosts.get_mut(&node) {
            change(&mut host.clock, now);
            host.clock_changed(now);
            self.outside.tell(node, text);
        }
    }

    /// Changes the network.
    pub fn network<T>(&mut self, change: impl FnOnce(&mut Network) -> T) -> T {
        change(&mut self.outside.state().network)
    }

    /// Runs until `end`, or until an invariant breaks.
    pub fn run_until(&mut self, end: u64) {
        while self.outside.state().failure.is_none() {
            let due = self.hosts.values().filter(|host| host.paused_at.is_none()).map(|host| host.due);
            let arrives = self.outside.state().network.next();
            let next = due.chain(arrives).min().unwrap_or(u64::MAX).max(self.now());
            if next > end {
                self.outside.state().now = end;
                return;
            }
            self.outside.state().now = next;
            self.deliver(next);
            for host in self.hosts.values_mut().filter(|host| host.paused_at.is_none() && host.due <= next) {
                self.outside.state().turn = host.node;
                host.run(next);
            }
            self.outside.state().turn = NodeId(0);
        }
    }

    fn deliver(&mut self, now: u64) {
        loop {
            let mut state = self.outside.state();
            let Some(datagram) = state.network.take(now) else { return };
            // What arrives where nobody listens is gone.
            let Some(host) = self.hosts.get_mut(&datagram.to) else { continue };
            let Some(plug) = host.plug().cloned() else { continue };
            state.arrived(&datagram);
            drop(state);
            plug.put(datagram);
            host.due = host.due.min(now);
        }
    }

    /// Nanoseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.outside.now()
    }

    /// What the nodes share with the simulation.
    #[must_use]
    pub fn outside(&self) -> &Arc<Outside> {
        &self.outside
    }

    /// All nodes, up or down.
    #[must_use]
    pub fn nodes(&self) -> &Arc<[NodeId]> {
        &self.nodes
    }

    /// All cores, up or down.
    pub fn cores(&self) -> impl Iterator<Item = NodeId> {
        let of_role = self.credentials.iter().filter(|(_, credentials)| credentials.identity().role == Role::Core);
        of_role.map(|(node, _)| *node)
    }

    /// Says whether the node was started and has not crashed.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.hosts.get(&node).is_some_and(Host::is_up)
    }

    /// Which start of a node is the latest.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Incarnation {
        self.hosts.get(&node).map_or(Incarnation(0), |host| host.incarnation)
    }

    /// The cluster as the node sees it; none if it is down or doesn't listen yet.
    #[must_use]
    pub fn cluster(&self, node: NodeId) -> Option<&Cluster> {
        self.hosts.get(&node)?.cluster()
    }

    /// Says whether the latest start of each node of `others` is live in the eyes of `node`.
    #[must_use]
    pub fn sees(&self, node: NodeId, others: &[NodeId]) -> bool {
        let Some(cluster) = self.cluster(node) else { return false };
        let live: BTreeMap<NodeId, Incarnation> = cluster
            .members()
            .into_iter()
            .filter(|member| member.live)
            .map(|member| (member.node, member.incarnation))
            .collect();
        others.iter().all(|other| live.get(other) == Some(&self.incarnation(*other)))
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        for node in self.nodes.iter().copied().collect::<Vec<_>>() {
            if let Some(host) = self.hosts.get_mut(&node) {
                host.crash(self.outside.now());
            }
        }
    }
}

fn credentials(authority: &Authority, node: NodeId, role: Role) -> Result<Credentials, AuthorityError> {
    let identity = Identity { node, name: format!("node-{}", node.0), role, cluster: CLUSTER.to_owned() };
    let issued = authority.issue(identity)?;
    let credentials =
        Credentials::from_pem(authority.pem().as_bytes(), issued.certificate.as_bytes(), issued.key.as_bytes());
    Ok(credentials.expect("the authority has just issued them"))
}
