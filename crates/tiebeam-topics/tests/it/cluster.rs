use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_actor::{ExitReason, System};
use tiebeam_log::{Client, Group, GroupConfig, Groups};
use tiebeam_storage::disk::{Disk, RealDisk};
use tiebeam_storage::{Config, OpenError, SnapshotStore, Wal};
use tiebeam_topics::Offset;
use tiebeam_topics::batch::Record;
use tiebeam_topics::catalog::{Catalog, CatalogError, PartitionMeta, TopicMeta};
use tiebeam_topics::consumer::TopicPartition;
use tiebeam_topics::fetch::{FetchClient, FetchServer};
use tiebeam_topics::partition::Partition;
use tiebeam_topics::producer::{Producer, ProducerConfig};
use tiebeam_wire::{GroupId, Incarnation, NodeId, Role};

use crate::mesh::Mesh;

pub(crate) const TOPIC: &str = "timber";

/// What a node's consumer host is called, if it has one that must end with it.
pub(crate) const HOST: &str = "host";

/// Long enough for any machine; nothing is asserted about time.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    pub(crate) groups: Groups,
    pub(crate) partitions: Vec<Group<Partition>>,
    pub(crate) system: System,
    pub(crate) server: FetchServer,
}

/// Nodes that each hold a replica of every partition of one topic.
pub(crate) struct Cluster {
    pub(crate) mesh: Mesh,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) topic: TopicMeta,
    places: BTreeMap<NodeId, Place>,
    _dirs: Vec<tempfile::TempDir>,
}

/// Where a node keeps its data.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
}

struct Known(TopicMeta);

impl Catalog for Known {
    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<TopicMeta>, CatalogError>> {
        futures::future::ready(Ok(Some(self.0.clone()).filter(|topic| topic.name == name))).boxed()
    }
}

impl Cluster {
    pub(crate) async fn start(nodes: u64, partitions: u64) -> Self {
        let dirs: Vec<tempfile::TempDir> = (0..nodes).map(|_| tempfile::tempdir().unwrap()).collect();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let places = dirs.iter().map(|dir| Place { dir: dir.path().to_owned(), disk: disk.clone() }).collect();
        Self { _dirs: dirs, ..Self::start_at(places, partitions).await.unwrap() }
    }

    /// Starts one node at each place.
    pub(crate) async fn start_at(places: Vec<Place>, partitions: u64) -> Result<Self, Box<dyn Error>> {
        let places: BTreeMap<NodeId, Place> = (1..).map(NodeId).zip(places).collect();
        let replicas: Vec<NodeId> = places.keys().copied().collect();
        let partition = |n| PartitionMeta { group: GroupId(100 + n), replicas: replicas.clone() };
        let topic = TopicMeta { name: TOPIC.to_owned(), partitions: (0..partitions).map(partition).collect() };
        let mut cluster = Self { mesh: Mesh::default(), nodes: BTreeMap::new(), topic, places, _dirs: Vec::new() };
        for node in replicas {
            cluster.try_start_node(node).await?;
        }
        Ok(cluster)
    }

    pub(crate) async fn start_node(&mut self, id: NodeId) {
        self.try_start_node(id).await.unwrap();
    }

    async fn try_start_node(&mut self, id: NodeId) -> Result<(), Box<dyn Error>> {
        let Place { dir, disk } = self.places[&id].clone();
        // What was dropped with the node's life before may still be on its way out.
        let opened = async {
            loop {
                match Wal::open(Config::new(&dir), disk.clone()) {
                    Err(OpenError::Locked { .. }) => tiebeam_world::sleep(Duration::from_millis(5)).await,
                    opened => return opened,
                }
            }
        };
        let (wal, _) = patiently(opened).await?;
        let snapshots = SnapshotStore::open(dir, disk)?;
        let groups = Groups::start(id, Arc::new(wal), snapshots, self.mesh.of(id, Role::Core));
        self.mesh.heal(id);
        // Elections within a fraction of a second, so that tests don't wait.
        let config = GroupConfig {
            heartbeat_interval: Duration::from_millis(40),
            election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
            ..Partition::group_config()
        };
        let (server, mut partitions) = (FetchServer::default(), Vec::new());
        for partition in &self.topic.partitions {
            let opened = groups.open(partition.group, &partition.replicas, config.clone(), Partition::default);
            let group = opened.await?;
            server.insert(group.clone());
            partitions.push(group);
        }
        self.mesh.serve_fetch(id, server.clone());
        self.nodes.insert(id, Node { groups, partitions, system: System::new(id, Incarnation(1)), server });
        Ok(())
    }

    /// Stops a node without a word to the others.
    pub(crate) async fn stop_node(&mut self, id: NodeId) {
        self.mesh.cut_off(id);
        self.mesh.forget_fetch(id);
        let node = self.nodes.remove(&id).unwrap();
        if let Some(host) = node.system.whereis(HOST) {
            node.system.exit(host, ExitReason::Kill);
            node.system.wait(host).await;
        }
        node.groups.stop().await;
    }

    pub(crate) async fn leader(&self, partition: usize) -> NodeId {
        let led = self.nodes.iter().map(|(id, node)| {
            Box::pin(async move {
                node.partitions[partition].led().await;
                *id
            })
        });
        futures::future::select_all(led).await.0
    }

    pub(crate) async fn producer(&self, name: &str, config: ProducerConfig) -> Producer {
        let client = Client::new(self.mesh.of(NodeId(99), Role::Edge));
        Producer::open(client, &Known(self.topic.clone()), TOPIC, name, config).await.unwrap()
    }

    pub(crate) fn reader(&self, partition: usize, bytes_max: u32) -> FetchClient {
        FetchClient::new(Arc::new(self.mesh.clone()), self.topic.partitions[partition].clone(), bytes_max)
    }

    /// Reads the first `count` records of a partition as anybody would who holds no replica.
    pub(crate) async fn read(&self, partition: usize, count: usize) -> Vec<Record> {
        let (mut reader, mut records, mut offset) = (self.reader(partition, 100_000), Vec::new(), Offset::ZERO);
        let all = async {
            while records.len() < count {
                let batches = reader.fetch(offset, PATIENCE).await.unwrap();
                offset = batches.last().map_or(offset, |batch| batch.end_offset());
                records.extend(batches.iter().flat_map(|batch| batch.records()));
            }
            records
        };
        patiently(all).await
    }

    pub(crate) fn name(&self, partition: usize) -> TopicPartition {
        TopicPartition { topic: TOPIC.into(), partition: partition as u32 }
    }
}

/// Waits until the state of `group` on its node is as wanted; looks again whenever something was applied.
pub(crate) async fn until(group: &Group<Partition>, wanted: impl Fn(&Partition) -> bool) {
    let come = async {
        loop {
            let applied = group.applied();
            if group.read(&wanted) {
                return;
            }
            group.applied_past(applied).await;
        }
    };
    patiently(come).await;
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tiebeam_world::timeout(PATIENCE, future).await.expect("what the test waits for came in time")
}

pub(crate) fn record(number: u64) -> Record {
    let value = Some(Bytes::copy_from_slice(&number.to_le_bytes()));
    Record { timestamp_ms: number as i64, value, ..Record::default() }
}

pub(crate) fn number(record: &Record) -> u64 {
    u64::from_le_bytes(record.value.as_deref().unwrap().try_into().unwrap())
}

/// Small batches, so that a few hundred records are many.
pub(crate) fn small() -> ProducerConfig {
    ProducerConfig { batch_records_max: 7, attempt_timeout: Duration::from_secs(2), ..ProducerConfig::default() }
}
