//! A node: everything below, composed and started in order, under one supervision tree.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_actor::{ChildSpec, ExitReason, Supervisor, SupervisorSpec, System};
use tiebeam_admin::{Bound, Server};
use tiebeam_cluster::Cluster;
use tiebeam_kv::KvState;
use tiebeam_log::{Group, GroupConfig, Groups};
use tiebeam_net::{Credentials, Validity};
use tiebeam_resilience::Backoff;
use tiebeam_storage::disk::RealDisk;
use tiebeam_storage::{SnapshotStore, Wal};
use tiebeam_topics::consumer::{ConsumerConfig, ConsumerHost, ConsumerHostArgs, TopicPartition};
use tiebeam_topics::fetch::FetchServer;
use tiebeam_topics::partition::Partition;
use tiebeam_wire::{GroupId, NodeId, Role};
use tiebeam_workflow::{Engine, EngineArgs, Registry};
use tiebeam_world::TaskGuard;

use crate::app::{Application, BoxProcessor, ConsumerSpec};
use crate::catalog;
use crate::certificates;
use crate::config::Config;
use crate::data_dir::{self, Claim};
use crate::error::{ReloadError, StartError};
use crate::handle::Handle;
use crate::issuer;
use crate::layout;
use crate::said;
use crate::status::{HostedPartition, Status};

/// Restarts within the period after which the node's root gives up, and with it the node.
const ROOT_RESTARTS: (u32, Duration) = (20, Duration::from_secs(10));

/// Pauses between attempts to start an application, or to open a partition.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };

/// A running node. Stop it with [`Node::stop`]; dropping it leaves its tasks to the end of the runtime.
pub struct Node {
    handle: Handle,
    groups: Option<Groups>,
    http: Server,
    /// What the node runs with.
    config: tokio::sync::watch::Sender<Config>,
    _tasks: Vec<TaskGuard>,
    _claim: Claim,
}

/// What a node is composed of, each held by this process alone.
struct Parts {
    apps: Vec<Arc<dyn Application>>,
    claim: Claim,
    wal: Wal,
    snapshots: SnapshotStore,
    system: System,
    cluster: Cluster,
    http: Bound,
    validity: Validity,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node as `config` says, with those of `apps` that it has a section for.
    ///
    /// Returns once the node listens and its own groups are open; applications start in the background and are started
    /// again if they fail.
    ///
    /// # Errors
    /// [`StartError`] names what stands in the way. Nothing is left running then.
    pub async fn start(config: Config, apps: Vec<Arc<dyn Application>>) -> Result<Self, StartError> {
        let unknown = config.apps.keys().find(|name| !apps.iter().any(|app| app.name() == *name));
        if let Some(name) = unknown {
            return Err(StartError::UnknownApplication(name.clone()));
        }
        let credentials = credentials(&config)?;
        // What can be refused without a trace comes before the first write.
        let http = Bound::bind(config.listen.http).await?;
        let claim = data_dir::claim(&config.node.dir, config.id(), &config.cluster.name)?;
        let incarnation = claim.incarnation;
        // An edge keeps no groups, but its directory must not have two masters either.
        let disk = Arc::new(RealDisk);
        let (wal, recovered) = Wal::open(tiebeam_storage::Config::new(&config.node.dir), disk.clone())?;
        tracing::info!(?recovered, "storage open");
        let snapshots = SnapshotStore::open(&config.node.dir, disk)?;

        let system = System::new(config.id(), incarnation);
        let validity = credentials.validity();
        let cluster = Cluster::start(cluster_config(&config, incarnation, credentials)?, system.clone()).await?;
        let parts = Parts { apps, claim, wal, snapshots, system, cluster: cluster.clone(), http, validity };
        let started = Self::compose(&config, parts).await;
        if started.is_err() {
            cluster.shutdown().await;
        }
        started
    }

    async fn compose(config: &Config, parts: Parts) -> Result<Self, StartError> {
        let Parts { apps, claim, wal, snapshots, system, cluster, http, validity } = parts;
        let cores: Arc<[NodeId]> = config.cores().into_keys().collect();
        let (restarts, period) = ROOT_RESTARTS;
        let root = system.spawn::<Supervisor>(SupervisorSpec::one_for_one().intensity(restarts, period)).await;
        let root = root.map_err(StartError::Root)?;
        let handle = Handle::new(&config.node.name, Arc::clone(&cores), cluster.clone(), system.clone(), root.clone());
        let apps: Vec<Arc<dyn Application>> =
            apps.into_iter().filter(|app| config.apps.contains_key(app.name())).collect();
        let status = Status::new(config, handle.clone(), apps.clone());

        let mut tasks = vec![tiebeam_world::spawn("node.root", root_watch(system, root.pid())).into_guard()];
        let running = tokio::sync::watch::Sender::new(config.clone());
        let watch = certificates::watch(running.subscribe(), cluster.clone(), validity);
        tasks.push(tiebeam_world::spawn("node.certificates", watch).into_guard());
        tasks.extend(issuer::open(config, &running, &cluster)?);
        let mut groups = None;
        if config.role() == Role::Core {
            let (opened, watch) = open_groups(&handle, &cores, wal, snapshots, &status, &apps).await?;
            groups = Some(opened);
            tasks.push(tiebeam_world::spawn("node.partitions", watch).into_guard());
        }
        status.serve_on(&cluster);
        tasks.push(tiebeam_world::spawn("node.said", said::run(cluster.clone(), status.clone())).into_guard());
        let http = http.serve(status.clone());
        for app in apps {
            let settings = config.apps.get(app.name()).cloned().unwrap_or_default();
            let run = start_app(app, handle.clone(), settings, status.clone());
            tasks.push(tiebeam_world::spawn("node.app", run).into_guard());
        }
        tracing::info!(
            node = %config.id(), name = config.node.name, role = config.node.role,
            incarnation = cluster.incarnation().0, quic = %cluster.local_addr(), http = %http.address(), "node started"
        );
        Ok(Self { handle, groups, http, config: running, _tasks: tasks, _claim: claim })
    }

    /// What code on this node has of the cluster.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the node serves HTTP.
    #[must_use]
    pub const fn http(&self) -> std::net::SocketAddr {
        self.http.address()
    }

    /// Puts into effect what `config` says of certificate, key, authority, cookies and revocations; connections live on. All
    /// else needs a restart, which is said if anything of it differs.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub async fn reload(&self, config: Config) -> Result<(), ReloadError> {
        let credentials = certificates::apply(&config, &self.handle.cluster).await?;
        let serial = credentials.serial();
        if !self.config.borrow().can_become(&config) {
            tracing::warn!("configuration differs in more than secrets and revocations; the rest needs a restart");
        }
        tracing::info!(%serial, revoked = certificates::denied(&config)?.len(), "configuration read again");
        // The rest stays as it was until then, so that the next one is compared with what really runs.
        self.config.send_modify(|running| running.take_secrets(&config));
        Ok(())
    }

    /// Stops the node in order: it takes itself out of what others find it by and serves on for a while
    /// ([`NodeSection::drain_ms`](crate::config::NodeSection::drain_ms)); then children of the root in reverse order of
    /// start, then groups, then connections. The other nodes are told.
    pub async fn stop(self) {
        drop(self._tasks);
        let drain = Duration::from_millis(self.config.borrow().node.drain_ms);
        tracing::info!(?drain, "node drains");
        self.handle.cluster.drain();
        tiebeam_world::sleep(drain).await;
        // An error means that the root is gone already.
        let _ = self.handle.root.stop(ExitReason::Shutdown).await;
        if let Some(groups) = self.groups {
            groups.stop().await;
        }
        self.handle.cluster.shutdown().await;
        tracing::info!("node stopped");
    }
}

pub(crate) fn credentials(config: &Config) -> Result<Credentials, StartError> {
    let tls = &config.tls;
    let credentials = Credentials::load(&tls.ca, &tls.cert, &tls.key)?;
    let named = credentials.identity();
    let expected = expected(config);
    if *named != expected {
        return Err(StartError::Identity { named: Box::new(named.clone()), configured: Box::new(expected) });
    }
    Ok(credentials)
}

/// Whom the node's certificate must name.
pub(crate) fn expected(config: &Config) -> tiebeam_net::Identity {
    tiebeam_net::Identity {
        node: config.id(),
        name: config.node.name.clone(),
        role: config.role(),
        cluster: config.cluster.name.clone(),
    }
}

fn cluster_config(
    config: &Config,
    incarnation: tiebeam_wire::Incarnation,
    credentials: Credentials,
) -> Result<tiebeam_cluster::Config, StartError> {
    let (cookie, previous) = certificates::cookies(config)?;
    let mut net = tiebeam_net::Config::new(config.listen.quic, incarnation, credentials, cookie);
    net.cookie_previous = previous;
    net.denied = certificates::denied(config).map_err(|error| StartError::Revoked(Box::new(error)))?;
    // A core that listens on every address is known to the others by the one in the list of cores.
    if config.listen.quic.ip().is_unspecified() {
        net.advertise = config.cores().get(&config.id()).copied();
    }
    let mut cluster = tiebeam_cluster::Config::new(net);
    cluster.peers = config.cores().into_iter().filter(|(id, _)| *id != config.id()).collect();
    let voters = config.cores().into_keys().collect();
    cluster.voters = tiebeam_cluster::Voters { version: 0, nodes: voters };
    cluster.seeds = config.seeds();
    cluster.standing.strategy = config.split();
    cluster.zone.clone_from(&config.node.zone);
    env!("CARGO_PKG_VERSION").clone_into(&mut cluster.program_version);
    Ok(cluster)
}

/// Opens the cluster's own groups; returns them with the task that opens those of topics as they appear.
async fn open_groups(
    handle: &Handle,
    cores: &[NodeId],
    wal: Wal,
    snapshots: SnapshotStore,
    status: &Arc<Status>,
    apps: &[Arc<dyn Application>],
) -> Result<(Groups, impl Future<Output = ()> + Send + use<>), StartError> {
    let node = handle.cluster.node();
    let groups = Groups::start(node, Arc::new(wal), snapshots, Arc::new(handle.cluster.clone()));
    status.groups_are(groups.clone());
    let meta = groups.open(GroupId::META, cores, GroupConfig::fast(), KvState::default).await?;

    let mut registry = Registry::new();
    apps.iter().for_each(|app| app.workflows(handle, &mut registry));
    let registry = Arc::new(registry);
    for (partition, route) in layout::workflow_routes(cores).into_iter().enumerate() {
        if !route.replicas.contains(&node) {
            continue;
        }
        let new = tiebeam_workflow::Partition::default;
        let group = groups.open(route.group, &route.replicas, GroupConfig::default(), new).await?;
        status.add_workflows(u32::try_from(partition).unwrap_or(u32::MAX), group.clone());
        let args = EngineArgs { group, registry: Arc::clone(&registry), config: tiebeam_workflow::Config::default() };
        handle.supervise(ChildSpec::actor::<Engine>(format!("workflow/{partition}"), args)).await?;
    }
    let consumers = apps.iter().flat_map(|app| app.consumers(handle)).collect();
    let fetch = FetchServer::default();
    fetch.serve_on(&handle.cluster);
    let watch =
        Partitions { handle: handle.clone(), meta, groups: groups.clone(), fetch, consumers, status: status.clone() };
    Ok((groups, watch.follow()))
}

/// Opens partitions on this node as the catalogue names them.
struct Partitions {
    handle: Handle,
    meta: Group<KvState>,
    groups: Groups,
    fetch: FetchServer,
    consumers: Vec<ConsumerSpec>,
    status: Arc<Status>,
}

impl Partitions {
    async fn follow(self) {
        let node = self.handle.cluster.node();
        let mut open = BTreeSet::new();
        let mut seen = 0;
        let mut failures = 0;
        loop {
            let mut all = true;
            for topic in self.meta.read(catalog::topics) {
                for (number, partition) in topic.partitions.iter().enumerate() {
                    if !partition.replicas.contains(&node) || open.contains(&partition.group) {
                        continue;
                    }
                    let number = u32::try_from(number).unwrap_or(u32::MAX);
                    let name = TopicPartition { topic: Arc::from(topic.name.as_str()), partition: number };
                    match self.open(&name, partition.group, &partition.replicas).await {
                        Ok(()) => drop(open.insert(partition.group)),
                        Err(error) => {
                            tracing::error!(partition = %name, %error, "partition can't be opened, trying again");
                            all = false;
                        }
                    }
                }
            }
            if all {
                failures = 0;
                seen = self.meta.applied_past(seen).await;
            } else {
                failures += 1;
                tiebeam_world::sleep(AGAIN.delay(failures, tiebeam_world::random())).await;
            }
        }
    }

    async fn open(&self, name: &TopicPartition, id: GroupId, replicas: &[NodeId]) -> Result<(), StartError> {
        let group = self.groups.open(id, replicas, Partition::group_config(), Partition::default).await?;
        self.fetch.insert(group.clone());
        self.status.add_partition(HostedPartition { name: name.clone(), group: group.clone() });
        for spec in self.consumers.iter().filter(|spec| *spec.topic == *name.topic) {
            let args = ConsumerHostArgs {
                consumer: spec.name.clone(),
                partitions: vec![(name.clone(), group.clone())],
                processor: Arc::clone(&spec.processor),
                config: ConsumerConfig::default(),
            };
            let child = format!("consumer/{}/{name}", spec.name);
            self.handle.supervise(ChildSpec::actor::<ConsumerHost<BoxProcessor>>(child, args)).await?;
        }
        Ok(())
    }
}

async fn start_app(app: Arc<dyn Application>, handle: Handle, settings: toml::Table, status: Arc<Status>) {
    let mut failures = 0;
    while let Err(error) = app.start(handle.clone(), settings.clone()).await {
        tracing::warn!(app = app.name(), error = &*error, "application did not start, trying again");
        tiebeam_world::sleep(AGAIN.delay(failures, tiebeam_world::random())).await;
        failures = failures.saturating_add(1);
    }
    tracing::info!(app = app.name(), "application started");
    status.app_started(app.name());
}

/// Ends the process when the root supervisor gives up: half a node that looks alive is worse than none, and whoever
/// started it can start it again.
async fn root_watch(system: System, root: tiebeam_actor::Pid) {
    let reason = system.wait(root).await;
    tracing::error!(?reason, "root supervisor gave up, and the node with it");
    std::process::exit(70);
}
