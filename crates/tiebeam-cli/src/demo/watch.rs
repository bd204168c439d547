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
        let mut progress = Progress::default();
        let Some(view) = self.view() else { return progress };
        for p in view.partitions() {
            let at = (p.topic.clone(), p.partition);
            progress.published.insert(at.clone(), p.end_offset);
            progress.consumed.insert(at, p.consumers.iter().map(|c| c.offset).sum());
        }
        for w in view.members.iter().filter_map(|m| m.status.as_ref()).flat_map(|s| &s.workflows) {
            progress.ended.insert(w.partition, w.counts.completed + w.counts.compensated);
        }
        progress
    }

    fn get<T: DeserializeOwned>(&self, at: SocketAddr, path: &str) -> Option<T> {
        let mut response = self.agent.get(format!("http://{at}{path}")).call().ok()?;
        serde_json::from_slice(&response.body_mut().read_to_vec().ok()?).ok()
    }
}

/// The most that was ever seen of each part: a part whose leader is away keeps its last figure.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    published: BTreeMap<(String, u32), u64>,
    consumed: BTreeMap<(String, u32), u64>,
    ended: BTreeMap<u32, u64>,
}

impl Progress {
    /// Takes over what is newer in `seen`; says whether anything was.
    pub(crate) fn merge(&mut self, seen: &Self) -> bool {
        // Not `||`: each of the three must be taken over.
        raise(&mut self.published, &seen.published)
            | raise(&mut self.consumed, &seen.consumed)
            | raise(&mut self.ended, &seen.ended)
    }

    pub(crate) fn published(&self) -> u64 {
        let input = |topic: &str| topic == app::FLIGHTS_TOPIC || topic == app::DEAD_TOPIC;
        self.published.iter().filter(|((topic, _), _)| input(topic)).map(|(_, n)| n).sum()
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.consumed.iter().filter(|((topic, _), _)| topic == app::FLIGHTS_TOPIC).map(|(_, n)| n).sum()
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended.values().sum()
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

fn raise<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) -> bool {
    let mut raised = false;
    for (key, value) in from {
        let held = into.entry(key.clone()).or_default();
        if *value > *held {
            *held = *value;
            raised = true;
        }
    }
    raised
}
