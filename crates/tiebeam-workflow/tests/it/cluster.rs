use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_actor::{Addr, ExitReason, System};
use tiebeam_log::{Client, GroupConfig, Groups, Route};
use tiebeam_storage::disk::RealDisk;
use tiebeam_storage::{Config as WalConfig, SnapshotStore, Wal};
use tiebeam_wire::{GroupId, Incarnation, NodeId, Role};
use tiebeam_workflow::limits::PARTITIONS;
use tiebeam_workflow::{Config, Engine, EngineArgs, Partition, Registry, Workflows};

use crate::mesh::Mesh;

pub(crate) const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

struct Node {
    groups: Groups,
    system: System,
    engines: Vec<Addr<Engine>>,
}

/// Three nodes, each with a replica and an engine of every partition.
pub(crate) struct Cluster {
    mesh: Mesh,
    registry: Arc<Registry>,
    nodes: BTreeMap<NodeId, Node>,
    dirs: BTreeMap<NodeId, tempfile::TempDir>,
}

fn group_of(partition: u32) -> GroupId {
    GroupId(100 + u64::from(partition))
}

impl Cluster {
    pub(crate) async fn start(registry: Registry) -> Self {
        let dirs = NODES.into_iter().map(|n| (n, tempfile::tempdir().unwrap())).collect();
        let mut cluster = Self { mesh: Mesh::default(), registry: Arc::new(registry), nodes: BTreeMap::new(), dirs };
        for node in NODES {
            cluster.start_node(node).await;
        }
        cluster
    }

    pub(crate) async fn start_node(&mut self, id: NodeId) {
        let dir = self.dirs[&id].path();
        let disk = Arc::new(RealDisk);
        let (wal, _) = Wal::open(WalConfig::new(dir), disk.clone()).unwrap();
        let snapshots = SnapshotStore::open(dir, disk).unwrap();
        let groups = Groups::start(id, Arc::new(wal), snapshots, self.mesh.of(id, Role::Core));
        let (system, mut engines) = (System::new(id, Incarnation(1)), Vec::new());
        self.mesh.heal(id);
        // Elections within a second or so, so that tests don't wait; nothing is asserted about time.
        let config = GroupConfig {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: (Duration::from_millis(500), Duration::from_millis(1_000)),
            ..GroupConfig::default()
        };
        for partition in 0..PARTITIONS {
            let group = groups.open(group_of(partition), &NODES, config.clone(), Partition::new).await.unwrap();
            let args = EngineArgs { group, registry: self.registry.clone(), config: Config::default() };
            engines.push(system.spawn::<Engine>(args).await.unwrap());
        }
        self.nodes.insert(id, Node { groups, system, engines });
    }

    /// Stops a node without a word to the others.
    pub(crate) async fn stop_node(&mut self, id: NodeId) {
        self.mesh.cut_off(id);
        let node = self.nodes.remove(&id).unwrap();
        for engine in &node.engines {
            node.system.exit(engine.pid(), ExitReason::Kill);
            node.system.wait(engine.pid()).await;
        }
        node.groups.stop().await;
    }

    pub(crate) fn workflows(&self) -> Workflows {
        let client = Client::new(self.mesh.of(NodeId(99), Role::Edge));
        let route = |partition| Route { group: group_of(partition), replicas: NODES.to_vec() };
        Workflows::new(client, (0..PARTITIONS).map(route).collect(), Duration::from_secs(60))
    }
}
