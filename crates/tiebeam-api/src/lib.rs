//! States the admin contract: what a node answers about itself, and what the cluster looks like from one node.
//!
//! The same types travel as JSON to browsers and scripts and as bincode between nodes. Fields are only ever added at
//! the end of a struct; [`API_VERSION`] grows when a reader must know.

use serde::{Deserialize, Serialize};

/// Version of the contract.
pub const API_VERSION: u8 = 1;

/// One replica of a group, as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group's id.
    pub group: u64,
    /// What the group holds: `meta`, `flights/3`, `workflow/12`.
    pub name: String,
    /// Its voters' node ids.
    pub members: Vec<u64>,
    /// The newest term that the replica knows.
    pub term: u64,
    /// Node id of the leader, if known.
    pub leader: Option<u64>,
    /// Entries applied by this replica.
    pub applied: u64,
    /// Why the replica is stopped for good, if it is.
    pub stopped: Option<String>,
}

/// A consumer of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// The next offset that it will read.
    pub offset: u64,
}

/// A partition, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// The topic.
    pub topic: String,
    /// The partition's number in the topic, from 0.
    pub partition: u32,
    /// The offset that the next record will get.
    pub end_offset: u64,
    /// Batches that a producer sent again and that were not stored again.
    pub duplicates: u64,
    /// Its consumers, in order of name.
    pub consumers: Vec<ConsumerStatus>,
}

/// Workflow instances by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowCounts {
    /// Ever started.
    pub started: u64,
    /// Not ended yet.
    pub running: u64,
    /// Ended well.
    pub completed: u64,
    /// Failed, with every compensation done.
    pub compensated: u64,
    /// Failed, with nothing to undo.
    pub failed: u64,
    /// Stopped by a fault of their code; need a person.
    pub stuck: u64,
    /// Attempts of steps that failed and were tried again.
    pub retries: u64,
    /// Starts of an id that had been started before.
    pub duplicates: u64,
}

impl WorkflowCounts {
    /// Adds the counts of another partition.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            started: self.started + other.started,
            running: self.running + other.running,
            completed: self.completed + other.completed,
            compensated: self.compensated + other.compensated,
            failed: self.failed + other.failed,
            stuck: self.stuck + other.stuck,
            retries: self.retries + other.retries,
            duplicates: self.duplicates + other.duplicates,
        }
    }
}

/// A workflow partition, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowPartition {
    /// The partition's number, from 0.
    pub partition: u32,
    /// Its instances.
    pub counts: WorkflowCounts,
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `core` or `edge`.
    pub role: String,
    /// How often it has started.
    pub incarnation: u64,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Actors alive on it.
    pub processes: u64,
    /// Its replicas, in order of group.
    pub groups: Vec<GroupStatus>,
    /// The partitions that it leads.
    pub partitions: Vec<PartitionStatus>,
    /// The workflow partitions that it leads.
    pub workflows: Vec<WorkflowPartition>,
}

/// A member of the cluster, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `core` or `edge`.
    pub role: String,
    /// Where it listens.
    pub address: String,
    /// How often it has started.
    pub incarnation: u64,
    /// Whether it is up.
    pub up: bool,
    /// What it last said about itself; none if it didn't answer in time.
    pub status: Option<NodeStatus>,
    /// The version of its program, as gossip tells it; empty if it said none.
    #[serde(default)]
    pub version: String,
    /// Its zone, as gossip tells it; empty if it said none.
    #[serde(default)]
    pub zone: String,
    /// Whether it is ready for work, as gossip tells it; none if it said nothing yet.
    #[serde(default)]
    pub ready: Option<bool>,
    /// Why it isn't ready; empty if it is.
    #[serde(default)]
    pub unready_why: String,
    /// Its load in percent, in tens, as gossip tells it.
    #[serde(default)]
    pub load_percent: u32,
}

/// The cluster, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The cluster's name.
    pub cluster: String,
    /// The id of the node that looked.
    pub seen_by: u64,
    /// All members, in order of id.
    pub members: Vec<MemberView>,
}

impl ClusterView {
    /// All groups by id, each as its leader sees it, or else as whoever saw it in the newest term.
    #[must_use]
    pub fn groups(&self) -> Vec<&GroupStatus> {
        let mut newest: std::collections::BTreeMap<u64, &GroupStatus> = std::collections::BTreeMap::new();
        for (node, group) in self.statuses().flat_map(|s| s.groups.iter().map(move |g| (s.id, g))) {
            let leads = |g: &GroupStatus| g.leader == Some(node);
            let best = newest.entry(group.group).or_insert(group);
            if (group.term, leads(group)) >= (best.term, false) {
                *best = group;
            }
        }
        newest.into_values().collect()
    }

    /// The partitions of all topics, in order of topic and number.
    #[must_use]
    pub fn partitions(&self) -> Vec<&PartitionStatus> {
        let mut all: Vec<_> = self.statuses().flat_map(|s| &s.partitions).collect();
        all.sort_by(|a, b| (&a.topic, a.partition, b.end_offset).cmp(&(&b.topic, b.partition, a.end_offset)));
        all.dedup_by(|a, b| (&a.topic, a.partition) == (&b.topic, b.partition));
        all
    }

    /// Workflow instances of all groups whose leader answered.
    #[must_use]
    pub fn workflows(&self) -> WorkflowCounts {
        let mut all: Vec<_> = self.statuses().flat_map(|s| &s.workflows).collect();
        // A leader that doesn't know yet that it was deposed answers, too; it knows of fewer starts.
        all.sort_by_key(|w| (w.partition, std::cmp::Reverse(w.counts.started)));
        all.dedup_by_key(|w| w.partition);
        all.into_iter().fold(WorkflowCounts::default(), |sum, w| sum.plus(w.counts))
    }

    fn statuses(&self) -> impl Iterator<Item = &NodeStatus> {
        self.members.iter().filter_map(|m| m.status.as_ref())
    }
}

/// What `/api/health` answers: HTTP 200 if `ready`, else 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the node does its work: it knows a leader of each of its groups, none of them is stopped, and it
    /// is not cut off.
    pub ready: bool,
    /// The node's id.
    pub node: u64,
    /// What it waits for or what failed; empty if ready.
    pub reasons: Vec<String>,
    /// `majority` if the node reaches a majority of the core nodes, `cut off` if it doesn't, `unknown` if it hasn't since it
    /// started.
    #[serde(default)]
    pub standing: String,
}
