//! A replica's life: opened on its log, restarted when its Raft core dies, stopped for good when its disk does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, InitializeError, LinearizableReadError, RaftError};
use tiebeam_storage::{SnapshotStore, Wal};
use tiebeam_wire::{GroupId, Instant, NodeId};
use tiebeam_world::TaskGuard;
use tokio::sync::watch;

use crate::StateMachine;
use crate::config::{GroupConfig, Snapshots};
use crate::group::{LINEARIZE_TIMEOUT, ProposeError, Term};
use crate::groups::{GroupStatus, OpenError};
use crate::machine::{Machine, Shared};
use crate::network::Network;
use crate::store::Store;
use crate::transport::Transport;
use crate::type_config::{Command, Member, RaftTypes};

pub(crate) type Raft<S> = openraft::Raft<RaftTypes, Machine<S>>;

/// A core that panics this often within [`RESTART_PERIOD`] is not restarted again: the state would not get better.
const RESTARTS_MAX: usize = 3;
const RESTART_PERIOD: Duration = Duration::from_secs(60);

/// How often a replica that led before its start stands for election, and how far apart; then its timer goes on as that of
/// any follower. Long enough for the other nodes of a cluster that is started as a whole to be reached.
const STANDS_MAX: u32 = 10;
const STAND_PAUSE: Duration = Duration::from_millis(100);

/// Who leads, as far as this replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) term: u64,
    pub(crate) leader: Option<NodeId>,
    /// Set once the replica is stopped for good.
    pub(crate) stopped: Option<String>,
}

/// What a replica is made of; the same at each restart.
pub(crate) struct Parts<S> {
    pub(crate) node: NodeId,
    pub(crate) members: Vec<NodeId>,
    pub(crate) config: GroupConfig,
    pub(crate) wal: Arc<Wal>,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) new_state: Box<dyn Fn() -> S + Send + Sync>,
}

pub(crate) struct Core<S: StateMachine> {
    pub(crate) id: GroupId,
    parts: Parts<S>,
    pub(crate) shared: Arc<Shared<S>>,
    raft: RwLock<Raft<S>>,
    leadership: watch::Sender<Leadership>,
    tasks: Mutex<Vec<TaskGuard>>,
    /// The snapshot that is being received, if any.
    pub(super) incoming: Mutex<Option<super::serve::Incoming>>,
}

impl<S: StateMachine> Core<S> {
    pub(crate) async fn open(id: GroupId, parts: Parts<S>) -> Result<Arc<Self>, OpenError> {
        let shared = Arc::new(Shared::new((parts.new_state)()));
        let has_led = Store::new(parts.wal.group(id), parts.config.append_bytes_max).has_led(parts.node);
        let raft = start(id, &parts, &shared).await?;
        let core = Arc::new(Self {
            id,
            parts,
            shared,
            raft: RwLock::new(raft),
            leadership: watch::Sender::new(Leadership::default()),
            tasks: Mutex::default(),
            incoming: Mutex::new(None),
        });
        let mut tasks = vec![
            tiebeam_world::spawn("log.watch", Arc::clone(&core).watch()).into_guard(),
            tiebeam_world::spawn("log.initialize", Arc::clone(&core).initialize()).into_guard(),
        ];
        if has_led {
            tasks.push(tiebeam_world::spawn("log.stand", Arc::clone(&core).stand()).into_guard());
        }
        if let Snapshots::Every(entries) = core.parts.config.snapshots {
            tasks.push(tiebeam_world::spawn("log.snapshot", Arc::clone(&core).snapshot_every(entries)).into_guard());
        }
        *core.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(core)
    }

    /// Stops the replica; what it holds stays on disk. Its tasks go first, or they would take the stop for a fault.
    pub(crate) async fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.publish(Leadership { leader: None, stopped: Some("node is stopping".to_owned()), ..self.leadership() });
        if let Err(error) = self.raft().shutdown().await {
            tracing::warn!(group = %self.id, %error, "raft core didn't stop in order");
        }
    }

    pub(crate) fn raft(&self) -> Raft<S> {
        self.raft.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.parts.wal.group(self.id), self.parts.config.append_bytes_max)
    }

    pub(crate) fn leadership(&self) -> Leadership {
        self.leadership.borrow().clone()
    }

    pub(crate) async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        match self.raft().client_write(Command(command)).await {
            Ok(response) => Ok(response.data.0),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => Err(self.not_leader(to.leader_id)),
            Err(RaftError::APIError(other)) => Err(self.stopped(&other)),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(&fatal)),
        }
    }

    pub(crate) async fn linearize(&self, policy: ReadPolicy) -> Result<(), ProposeError> {
        match self.raft().ensure_linearizable(policy).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => Err(self.not_leader(to.leader_id)),
            Err(RaftError::APIError(_)) => Err(self.not_leader(None)),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(&fatal)),
        }
    }

    fn not_leader(&self, leader: Option<u64>) -> ProposeError {
        ProposeError::NotLeader { group: self.id, leader: leader.map(NodeId) }
    }

    fn stopped(&self, reason: &dyn std::fmt::Display) -> ProposeError {
        ProposeError::Stopped { group: self.id, reason: reason.to_string() }
    }

    pub(crate) async fn led(&self) -> Term {
        let mut leadership = self.leadership.subscribe();
        loop {
            let now = leadership.borrow_and_update().clone();
            if now.leader == Some(self.parts.node) {
                // The barrier of a new leader: its own blank entry is committed and all before it applied.
                let barrier = tiebeam_world::timeout(LINEARIZE_TIMEOUT, self.linearize(ReadPolicy::ReadIndex)).await;
                if matches!(barrier, Ok(Ok(()))) {
                    return Term(now.term);
                }
                if !leadership.has_changed().unwrap_or(true) {
                    tiebeam_world::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            if leadership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(crate) async fn deposed(&self, term: Term) {
        let mut leadership = self.leadership.subscribe();
        let node = self.parts.node;
        // An error means that the group is gone, which deposes as well.
        let _ = leadership.wait_for(|now| now.term != term.0 || now.leader != Some(node)).await;
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let Leadership { term, leader, stopped } = self.leadership();
        let applied = *self.shared.applied().borrow();
        GroupStatus { group: self.id, members: self.parts.members.clone(), term, leader, applied, stopped }
    }

    /// Forms the group when it is new: one replica begins, and which one differs from group to group, so that leaders
    /// start out spread. The others stand by in case it is away.
    async fn initialize(self: Arc<Self>) {
        let Parts { node, members, .. } = &self.parts;
        let count = members.len() as u64;
        let place = members.iter().position(|m| m == node).unwrap_or(0) as u64;
        let turn = (place + count - self.id.0 % count) % count;
        tiebeam_world::sleep(Duration::from_secs(5 * turn)).await;
        let nodes: BTreeMap<u64, Member> = members.iter().map(|m| (m.0, Member)).collect();
        match self.raft().initialize(nodes).await {
            Ok(()) => tracing::info!(group = %self.id, ?members, "group initialized"),
            // It has a log already, its own or one that a leader sent: the usual case after a restart.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => tracing::warn!(group = %self.id, %error, "group not initialized"),
        }
    }

    /// Stands for election right after a start, since this replica led before it went away. If the others were away as
    /// well, nobody need wait for a timeout; if they were not, they refuse until they miss their leader, or have another.
    async fn stand(self: Arc<Self>) {
        for _ in 0..STANDS_MAX {
            let Leadership { leader: None, stopped: None, .. } = self.leadership() else { return };
            // An error means that the core has ended, which `watch` takes care of.
            let _ = self.raft().trigger().elect(true).await;
            tiebeam_world::sleep(STAND_PAUSE).await;
        }
    }

    async fn snapshot_every(self: Arc<Self>, entries: u64) {
        let mut applied = self.shared.applied();
        let mut due = *applied.borrow() + entries;
        while let Ok(now) = applied.wait_for(|now| *now >= due).await.map(|now| *now) {
            due = now + entries;
            if let Err(error) = self.raft().trigger().snapshot().await {
                tracing::warn!(group = %self.id, %error, "snapshot not started");
            }
        }
    }

    /// Follows the Raft core: publishes who leads, and restarts the core if it dies of a panic.
    async fn watch(self: Arc<Self>) {
        let mut panics = VecDeque::new();
        loop {
            let raft = self.raft();
            let fatal = self.follow(&raft).await;
            let stop = match fatal {
                Fatal::Stopped => Some("stopped".to_owned()),
                Fatal::StorageError(error) => Some(format!("storage failed: {error}")),
                Fatal::Panicked if too_often(&mut panics, tiebeam_world::now()) => {
                    Some("panicked too often".to_owned())
                }
                Fatal::Panicked => self.restart().await.err().map(|e| e.to_string()),
            };
            if let Some(reason) = stop {
                tracing::error!(group = %self.id, reason, "replica stopped for good");
                self.publish(Leadership { stopped: Some(reason), ..self.leadership() });
                return;
            }
        }
    }

    async fn follow(&self, raft: &Raft<S>) -> Fatal<RaftTypes> {
        let mut metrics = raft.server_metrics();
        loop {
            let now = {
                let m = metrics.borrow_watched();
                Leadership { term: m.vote.leader_id().term, leader: m.current_leader.map(NodeId), stopped: None }
            };
            self.publish(now);
            if metrics.changed().await.is_err() {
                let state = raft.metrics().borrow_watched().running_state.clone();
                return state.err().unwrap_or(Fatal::Panicked);
            }
        }
    }

    fn publish(&self, now: Leadership) {
        self.leadership.send_if_modified(|old| {
            if *old == now {
                return false;
            }
            tracing::info!(group = %self.id, term = now.term, leader = ?now.leader, "leadership changed");
            *old = now;
            true
        });
    }

    async fn restart(&self) -> Result<(), OpenError> {
        tracing::error!(group = %self.id, "raft core panicked, restarting the replica from its log");
        self.publish(Leadership { leader: None, ..self.leadership() });
        self.shared.replace((self.parts.new_state)());
        let raft = start(self.id, &self.parts, &self.shared).await?;
        *self.raft.write().unwrap_or_else(PoisonError::into_inner) = raft;
        Ok(())
    }
}

async fn start<S: StateMachine>(id: GroupId, parts: &Parts<S>, shared: &Arc<Shared<S>>) -> Result<Raft<S>, OpenError> {
    let config = parts.config.raft(id).map_err(|e| OpenError::Config { group: id, reason: e.to_string() })?;
    let machine = Machine::open(id, Arc::clone(shared), parts.snapshots.clone())
        .map_err(|source| OpenError::Snapshot { group: id, source })?;
    let network = Network { group: id, transport: Arc::clone(&parts.transport) };
    let store = Store::new(parts.wal.group(id), parts.config.append_bytes_max);
    let raft = openraft::Raft::new(parts.node.0, config, network, store, machine).await;
    raft.map_err(|e| OpenError::Raft { group: id, reason: e.to_string() })
}

/// Notes a panic at `now`; says whether there were too many of late.
fn too_often(panics: &mut VecDeque<Instant>, now: Instant) -> bool {
    panics.retain(|at| now.since(*at) < RESTART_PERIOD);
    panics.push_back(now);
    panics.len() > RESTARTS_MAX
}
