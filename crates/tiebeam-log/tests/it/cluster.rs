use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tiebeam_log::{Client, Group, GroupConfig, Groups, RestoreError, Route, StateMachine};
use tiebeam_storage::disk::RealDisk;
use tiebeam_storage::{Config, SnapshotStore, Wal};
use tiebeam_wire::{GroupId, NodeId, Role, codec};

use crate::mesh::Mesh;

pub(crate) const GROUP: GroupId = GroupId(7);
pub(crate) const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// Remembers commands in order, each once: what it holds tells what was lost, doubled or reordered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Journal {
    pub(crate) seen: Vec<u64>,
}

impl StateMachine for Journal {
    fn apply(&mut self, _: u64, command: &Bytes) -> Bytes {
        let value = u64::from_le_bytes(command[..8].try_into().unwrap());
        if !self.seen.contains(&value) {
            self.seen.push(value);
        }
        command.slice(..8)
    }

    fn query(&self, _: &[u8]) -> Bytes {
        self.snapshot().into()
    }

    fn snapshot(&self) -> Vec<u8> {
        codec::encode(1, &self.seen)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.seen = codec::decode(1, snapshot)?;
        Ok(())
    }
}

pub(crate) fn command(value: u64) -> Bytes {
    value.to_le_bytes().to_vec().into()
}

pub(crate) struct Node {
    pub(crate) groups: Groups,
    pub(crate) group: Group<Journal>,
}

pub(crate) struct Cluster {
    pub(crate) mesh: Mesh,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    config: GroupConfig,
    dirs: BTreeMap<NodeId, tempfile::TempDir>,
}

/// Elections within a fraction of a second, so that tests don't wait; nothing is asserted about time.
pub(crate) fn quick() -> GroupConfig {
    GroupConfig {
        heartbeat_interval: Duration::from_millis(40),
        election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
        ..GroupConfig::default()
    }
}

impl Cluster {
    pub(crate) async fn start(config: GroupConfig) -> Self {
        let dirs = NODES.into_iter().map(|n| (n, tempfile::tempdir().unwrap())).collect();
        let mut cluster = Self { mesh: Mesh::default(), nodes: BTreeMap::new(), config, dirs };
        for node in NODES {
            cluster.start_node(node).await;
        }
        cluster
    }

    pub(crate) async fn start_node(&mut self, id: NodeId) {
        let dir = self.dirs[&id].path();
        let disk = Arc::new(RealDisk);
        let (wal, _) = Wal::open(Config::new(dir), disk.clone()).unwrap();
        let snapshots = SnapshotStore::open(dir, disk).unwrap();
        let groups = Groups::start(id, Arc::new(wal), snapshots, self.mesh.of(id, Role::Core));
        self.mesh.heal(id);
        let group = groups.open(GROUP, &NODES, self.config.clone(), Journal::default).await.unwrap();
        self.nodes.insert(id, Node { groups, group });
    }

    /// Stops a node without a word to the others.
    pub(crate) async fn stop_node(&mut self, id: NodeId) {
        self.mesh.cut_off(id);
        let node = self.nodes.remove(&id).unwrap();
        node.groups.stop().await;
    }

    /// Takes all power away at once and starts the nodes on what their disks hold at this moment: no goodbye is said, no
    /// value that waits for the next write is written.
    pub(crate) async fn lose_power(self) -> Self {
        let dirs = self.dirs.iter().map(|(id, dir)| (*id, copy(dir.path()))).collect();
        let mut after = Self { mesh: Mesh::default(), nodes: BTreeMap::new(), config: self.config.clone(), dirs };
        for id in self.nodes.keys() {
            self.mesh.cut_off(*id);
        }
        for node in self.nodes.into_values() {
            node.groups.stop().await;
        }
        for id in NODES {
            after.start_node(id).await;
        }
        after
    }

    pub(crate) async fn leader(&self) -> NodeId {
        let led = self.nodes.iter().map(|(id, node)| {
            Box::pin(async {
                node.group.led().await;
                *id
            })
        });
        futures::future::select_all(led).await.0
    }

    pub(crate) fn client(&self) -> (Client, Route) {
        let transport = self.mesh.of(NodeId(99), Role::Edge);
        (Client::new(transport), Route { group: GROUP, replicas: NODES.to_vec() })
    }

    /// Waits until every running replica has applied as much as the one that applied most.
    pub(crate) async fn settled(&self) {
        let most = self.nodes.values().map(|n| n.group.applied()).max().unwrap();
        for node in self.nodes.values() {
            node.group.applied_past(most - 1).await;
        }
    }

    pub(crate) fn states(&self) -> Vec<Vec<u64>> {
        self.nodes.values().map(|n| n.group.read(|s| s.seen.clone())).collect()
    }
}

/// Copies a node's directory as it is, whatever is being written meanwhile.
fn copy(dir: &Path) -> tempfile::TempDir {
    fn files(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => files(&entry.path(), &to),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    files(dir, to.path());
    to
}
