//! What a node says about itself and its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_admin::Source;
use tiebeam_api::{
    API_VERSION, ClusterView, ConsumerStatus, GroupStatus, Health, MemberView, NodeStatus, PartitionStatus,
    WorkflowCounts, WorkflowPartition,
};
use tiebeam_cluster::{Cluster, Member, PeerIdentity, Readiness, Service, Standing};
use tiebeam_log::{Group, Groups};
use tiebeam_topics::consumer::TopicPartition;
use tiebeam_topics::partition::Partition;
use tiebeam_wire::{GroupId, Instant, NodeId, codec};

use crate::app::Application;
use crate::config::Config;
use crate::handle::Handle;

/// How long a member may take to say how it is before the view is made without it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);

/// A partition of which this node holds a replica.
#[derive(Clone, Debug)]
pub(crate) struct HostedPartition {
    pub(crate) name: TopicPartition,
    pub(crate) group: Group<Partition>,
}

pub(crate) struct Status {
    name: String,
    role: String,
    cluster_name: String,
    started: Instant,
    handle: Handle,
    apps: Vec<Arc<dyn Application>>,
    hosted: Mutex<Hosted>,
}

#[derive(Default)]
struct Hosted {
    groups: Option<Groups>,
    partitions: BTreeMap<GroupId, HostedPartition>,
    workflows: BTreeMap<GroupId, (u32, Group<tiebeam_workflow::Partition>)>,
    apps_started: BTreeSet<&'static str>,
}

impl Status {
    pub(crate) fn new(config: &Config, handle: Handle, apps: Vec<Arc<dyn Application>>) -> Arc<Self> {
        Arc::new(Self {
            name: config.node.name.clone(),
            role: config.node.role.clone(),
            cluster_name: config.cluster.name.clone(),
            started: tiebeam_world::now(),
            handle,
            apps,
            hosted: Mutex::default(),
        })
    }

    pub(crate) fn groups_are(&self, groups: Groups) {
        self.hosted().groups = Some(groups);
    }

    pub(crate) fn add_partition(&self, partition: HostedPartition) {
        self.hosted().partitions.insert(partition.group.id(), partition);
    }

    pub(crate) fn add_workflows(&self, partition: u32, group: Group<tiebeam_workflow::Partition>) {
        self.hosted().workflows.insert(group.id(), (partition, group));
    }

    pub(crate) fn app_started(&self, name: &'static str) {
        self.hosted().apps_started.insert(name);
    }

    /// Answers other members that ask how this node is.
    pub(crate) fn serve_on(self: &Arc<Self>, cluster: &Cluster) {
        let status = Arc::downgrade(self);
        let handler = move |_: PeerIdentity, _: Bytes| {
            let answer = status.upgrade().map(|s| Bytes::from(codec::encode(API_VERSION, &s.status())));
            async move { answer.ok_or_else(|| "node is stopping".to_owned()) }.boxed()
        };
        cluster.serve(Service::ADMIN, Arc::new(handler));
    }

    fn hosted(&self) -> MutexGuard<'_, Hosted> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> NodeId {
        self.handle.cluster.node()
    }

    fn groups(&self) -> Vec<GroupStatus> {
        let hosted = self.hosted();
        let name = |group: GroupId| {
            if group == GroupId::META {
                return "meta".to_owned();
            }
            if let Some((partition, _)) = hosted.workflows.get(&group) {
                return format!("workflow/{partition}");
            }
            let partition = hosted.partitions.get(&group).map(|p| &p.name);
            partition.map_or_else(|| group.to_string(), |p| format!("{}/{}", p.topic, p.partition))
        };
        let status = |g: tiebeam_log::GroupStatus| GroupStatus {
            group: g.group.0,
            name: name(g.group),
            members: g.members.iter().map(|m| m.0).collect(),
            term: g.term,
            leader: g.leader.map(|l| l.0),
            applied: g.applied,
            stopped: g.stopped,
        };
        hosted.groups.iter().flat_map(Groups::status).map(status).collect()
    }

    fn partitions(&self) -> Vec<PartitionStatus> {
        let led = |p: &&HostedPartition| p.group.leader() == Some(self.node());
        let status = |p: &HostedPartition| {
            let status = p.group.read(Partition::status);
            let consumers = status.consumers.into_iter();
            PartitionStatus {
                topic: p.name.topic.to_string(),
                partition: p.name.partition,
                end_offset: status.end.get(),
                duplicates: status.counters.duplicates,
                consumers: consumers.map(|(name, offset)| ConsumerStatus { name, offset: offset.get() }).collect(),
            }
        };
        self.hosted().partitions.values().filter(led).map(status).collect()
    }

    fn workflows(&self) -> Vec<WorkflowPartition> {
        let hosted = self.hosted();
        let led = hosted.workflows.values().filter(|(_, group)| group.leader() == Some(self.node()));
        let counts = |(partition, group): &(u32, Group<tiebeam_workflow::Partition>)| {
            let c = group.read(tiebeam_workflow::Partition::counts);
            WorkflowPartition { partition: *partition, counts: api_counts(c) }
        };
        led.map(counts).collect()
    }

    async fn ask(&self, member: Member) -> MemberView {
        let answer = async {
            if member.node == self.node() {
                return Some(self.status());
            }
            if !member.live {
                return None;
            }
            let request = self.handle.cluster.request(member.node, Service::ADMIN, Bytes::new(), ANSWER_TIMEOUT);
            codec::decode(API_VERSION, &request.await.ok()?).ok()
        };
        let status: Option<NodeStatus> = answer.await;
        let (ready, unready_why) = match member.said.readiness {
            Readiness::Unsaid => (None, String::new()),
            Readiness::Ready => (Some(true), String::new()),
            Readiness::NotReady(why) => (Some(false), why),
        };
        MemberView {
            id: member.node.0,
            name: member.name,
            role: member.role.to_string(),
            address: member.address.to_string(),
            incarnation: member.incarnation.0,
            up: member.live || member.node == self.node(),
            status,
            version: member.said.version,
            zone: member.said.zone,
            ready,
            unready_why,
            load_percent: member.said.load_percent,
        }
    }
}

/// Returns workflow counts as the admin contract has them.
#[must_use]
pub const fn api_counts(c: tiebeam_workflow::Counts) -> WorkflowCounts {
    WorkflowCounts {
        started: c.started,
        running: c.running,
        completed: c.completed,
        compensated: c.compensated,
        failed: c.failed,
        stuck: c.stuck,
        retries: c.retries,
        duplicates: c.duplicate_starts,
    }
}

impl Source for Status {
    fn health(&self) -> Health {
        let mut reasons = Vec::new();
        for g in self.groups() {
            if let Some(stopped) = g.stopped {
                reasons.push(format!("replica of {} is stopped: {stopped}", g.name));
            } else if g.leader.is_none() {
                reasons.push(format!("{} has no leader", g.name));
            }
        }
        let standing = self.handle.cluster.standing();
        let (reached, of) =
            (self.handle.cluster.voters_reached().reached.len(), self.handle.cluster.voters().nodes.len());
        match standing {
            Standing::Majority => {}
            Standing::Unknown => reasons.push(format!("{reached} of {of} core nodes are reached, no majority yet")),
            Standing::CutOff { .. } => reasons.push(format!("cut off: {reached} of {of} core nodes are reached")),
        }
        let started = self.hosted().apps_started.clone();
        let waiting = self.apps.iter().map(|app| app.name()).filter(|name| !started.contains(name));
        reasons.extend(waiting.map(|name| format!("application {name} is starting")));
        let standing = match standing {
            Standing::Majority => "majority",
            Standing::Unknown => "unknown",
            Standing::CutOff { .. } => "cut off",
        };
        Health { ready: reasons.is_empty(), node: self.node().0, reasons, standing: standing.to_owned() }
    }

    fn status(&self) -> NodeStatus {
        NodeStatus {
            id: self.node().0,
            name: self.name.clone(),
            role: self.role.clone(),
            incarnation: self.handle.cluster.incarnation().0,
            uptime_ms: u64::try_from(tiebeam_world::now().since(self.started).as_millis()).unwrap_or(u64::MAX),
            processes: self.handle.system.process_count(),
            groups: self.groups(),
            partitions: self.partitions(),
            workflows: self.workflows(),
        }
    }

    fn app(&self, name: &str) -> Option<String> {
        self.apps.iter().find(|app| app.name() == name)?.report(&self.handle)
    }

    fn cluster(&self) -> BoxFuture<'_, ClusterView> {
        async move {
            let members = self.handle.cluster.members();
            let members = futures::future::join_all(members.into_iter().map(|m| self.ask(m))).await;
            ClusterView { cluster: self.cluster_name.clone(), seen_by: self.node().0, members }
        }
        .boxed()
    }
}
