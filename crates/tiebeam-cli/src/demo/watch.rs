//! What the demo sees of the run: the same HTTP API that everybody has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tiebeam_api::ClusterView;

use super::Expected;
use crate::app::{self, Report};
use crate::local::LocalCluster;

/// Longest time that one node's answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Watch {
    agent: ureq::Agent,
    cores: Vec<SocketAddr>,
    reporter: Option<SocketAddr>,
}

impl Watch {
    pub(crate) fn new(cluster: &LocalCluster) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).build();
        let cores = cluster.nodes.iter().filter(|n| n.name.starts_with("core")).map(|n| n.http).collect();
        let reporter = cluster.nodes.iter().find(|n| n.name == app::REPORTER_NODE).map(|n| n.http);
        Self { agent: config.into(), cores, reporter }
    }

    /// The cluster as the first core that answers sees it.
    pub(crate) fn view(&self) -> Option<ClusterView> {
        self.cores.iter().find_map(|at| self.get(*at, "/api/cluster"))
    }

    /// What the application's reporter says; none while its node is away.
    pub(crate) fn report(&self) -> Option<Report> {
        self.get(self.reporter?, "/api/apps/flights")
    }

    /// Says whether every node does its work: no second blow before the first has healed, since two of three cores
    /// are a quorum and one is not.
    pub(crate) fn all_ready(&self, cluster: &LocalCluster) -> bool {
        cluster.nodes.iter().all(|n| self.agent.get(format!("http://{}/api/health", n.http)).call().is_ok())
    }

    /// How far the work is, as far as it can be seen now.
    pub(crate) fn look(&self) -> Progress {
        let mut seen = BTreeMap::new();
        let Some(view) = self.view() else { return Progress { seen } };
        for p in view.partitions() {
            let consumed = p.consumers.iter().map(|c| c.offset).sum();
            seen.insert(Part::Published(p.topic.clone(), p.partition), p.end_offset);
            seen.insert(Part::Consumed(p.topic.clone(), p.partition), consumed);
        }
        for w in view.members.iter().filter_map(|m| m.status.as_ref()).flat_map(|s| &s.workflows) {
            seen.insert(Part::Ended(w.partition), w.counts.completed + w.counts.compensated);
        }
        Progress { seen }
    }

    fn get<T: DeserializeOwned>(&self, at: SocketAddr, path: &str) -> Option<T> {
        let mut response = self.agent.get(format!("http://{at}{path}")).call().ok()?;
        serde_json::from_slice(&response.body_mut().read_to_vec().ok()?).ok()
    }
}

/// Work that moves or stands still by itself, since a group of its own leads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Records of a topic's partition.
    Published(String, u32),
    /// The same, as far as they were consumed.
    Consumed(String, u32),
    /// Workflows of a partition that ended.
    Ended(u32),
}

/// The most that was ever seen of each part: a part whose leader is away keeps its last figure.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    seen: BTreeMap<Part, u64>,
}

impl Progress {
    /// Takes over what is newer in `look`; returns the parts that moved.
    pub(crate) fn merge(&mut self, look: Self) -> Vec<Part> {
        let mut moved = Vec::new();
        for (part, value) in look.seen {
            let held = self.seen.entry(part.clone()).or_default();
            if value > *held {
                *held = value;
                moved.push(part);
            }
        }
        moved
    }

    pub(crate) fn published(&self) -> u64 {
        self.sum(
            |part| matches!(part, Part::Published(topic, _) if topic == app::FLIGHTS_TOPIC || topic == app::DEAD_TOPIC),
        )
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.sum(|part| matches!(part, Part::Consumed(topic, _) if topic == app::FLIGHTS_TOPIC))
    }

    pub(crate) fn ended(&self) -> u64 {
        self.sum(|part| matches!(part, Part::Ended(_)))
    }

    fn sum(&self, of: impl Fn(&Part) -> bool) -> u64 {
        self.seen.iter().filter(|(part, _)| of(part)).map(|(_, n)| n).sum()
    }

    /// How much of the work is done, from 0 to 1: publishing, consuming and workflows count a third each.
    pub(crate) fn fraction(&self, expected: &Expected) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let part = |done: u64, all: u64| if all == 0 { 1.0 } else { (done as f64 / all as f64).min(1.0) };
        let rows = expected.plain.rows + expected.plain.bad_rows();
        let parts = part(self.published(), rows) + part(self.consumed(), expected.plain.rows);
        (parts + part(self.ended(), expected.workflows)) / 3.0
    }
}
