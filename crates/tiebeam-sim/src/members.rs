//! How membership behaves with many nodes: when a join and a death are known to all, what it costs, and how often a node that
//! is well is called lost.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tiebeam_cluster::MemberEvent;
use tiebeam_wire::{Incarnation, NodeId};
use tracing::Level;

use crate::network::Link;
use crate::simulation::{SECOND, Simulation, Work, on_thread};
use crate::site::Site;

/// How long after each death and each join the cluster is left alone.
const SETTLE: u64 = 15 * SECOND;
/// Over how long traffic without faults is measured.
const STEADY: u64 = 10 * SECOND;
const BAD_LINK: Link = Link { loss_permille: 200, ..Link::GOOD };

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// Number of nodes; at least 3.
    pub nodes: u64,
    /// How many of them are cores; the others are edges.
    pub cores: u64,
    /// How many nodes fall over and come back, one after the other.
    pub rounds: u64,
    /// Over how long losses are counted in a bad network, in virtual seconds; at least 1.
    pub bad_s: u64,
}

/// What came of it. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Report {
    /// Number of nodes.
    pub nodes: u64,
    /// How many of them are cores.
    pub cores: u64,
    /// How long all nodes, started at once, took until all saw all.
    pub together: Option<u64>,
    /// How long single nodes took to see one that joined, in ascending order.
    pub joins: Vec<u64>,
    /// How long single nodes took to see that one had died, in ascending order.
    pub deaths: Vec<u64>,
    /// What a core sends per second when nothing happens, in bytes.
    pub core_bytes_per_second: u64,
    /// The same for an edge.
    pub edge_bytes_per_second: u64,
    /// How often in an hour some node calls another lost that is well, where a fifth of all datagrams is lost.
    pub false_per_hour: u64,
}

/// What was told: when, by whom, of whom, and whether it is up.
type Told = (u64, NodeId, NodeId, Incarnation, bool);

#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<Told>>>);

impl Book {
    fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Work {
        let book = self.clone();
        Arc::new(move |site: Site| {
            let book = book.clone();
            async move {
                let mut events = site.cluster.subscribe();
                while let Some(event) = events.next().await {
                    let (of, incarnation, is_up) = match event {
                        MemberEvent::Up(member) => (member.node, member.incarnation, true),
                        MemberEvent::Down(node, incarnation) => (node, incarnation, false),
                    };
                    book.told().push((site.outside.now(), site.node(), of, incarnation, is_up));
                }
            }
            .boxed()
        })
    }

    /// How long after `since` each node was first told this of `of`.
    fn since(&self, since: u64, of: NodeId, incarnation: Incarnation, is_up: bool) -> Vec<u64> {
        let mut seen = std::collections::BTreeMap::new();
        for (at, by, ..) in self.told().iter().filter(|told| (told.2, told.3, told.4) == (of, incarnation, is_up)) {
            if *at >= since {
                seen.entry(*by).or_insert(at - since);
            }
        }
        seen.into_values().collect()
    }
}

/// Measures a cluster, on a thread of its own.
///
/// # Errors
/// Says what went wrong.
pub fn measure(plan: Plan) -> Result<Report, String> {
    on_thread(plan.seed, move || {
        let book = Book::default();
        let simulation = Simulation::mixed(plan.seed, plan.nodes, plan.cores, Level::ERROR, book.work());
        scenario(plan, simulation.map_err(|error| error.to_string())?, &book)
    })
}

fn scenario(plan: Plan, mut simulation: Simulation, book: &Book) -> Result<Report, String> {
    let nodes = simulation.nodes().to_vec();
    let count = nodes.len() as u64;
    simulation.outside().leave_datagrams_out();
    nodes.iter().for_each(|node| simulation.start(*node));
    let mut together = None;
    while together.is_none() && simulation.now() < 120 * SECOND {
        simulation.run_until(simulation.now() + SECOND / 20);
        let joined = nodes.iter().all(|node| simulation.sees(*node, &nodes));
        together = joined.then(|| simulation.now());
    }
    simulation.run_until(simulation.now() + SETTLE);
    let (mut joins, mut deaths) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        // Not those whom everybody is told to ask.
        let node = nodes[usize::try_from(round * count / (plan.rounds + 1)).unwrap_or(0).max(2).min(nodes.len() - 1)];
        let at = simulation.now();
        simulation.crash(node);
        simulation.run_until(at + SETTLE);
        deaths.extend(book.since(at, node, simulation.incarnation(node), false));
        let at = simulation.now();
        simulation.start(node);
        simulation.run_until(at + SETTLE);
        joins.extend(book.since(at, node, simulation.incarnation(node), true));
    }
    let (cores, edges) = nodes.split_at(simulation.cores().count());
    let sent = [cores, edges].map(|of| simulation.outside().sent_bytes(of));
    simulation.run_until(simulation.now() + STEADY);
    let per_second = |of: &[NodeId], sent: u64| {
        (simulation.outside().sent_bytes(of) - sent) / (of.len() as u64).max(1) / (STEADY / SECOND)
    };
    let (core_bytes_per_second, edge_bytes_per_second) = (per_second(cores, sent[0]), per_second(edges, sent[1]));
    simulation.network(|network| network.set_usual(BAD_LINK));
    let from = simulation.now();
    simulation.run_until(from + plan.bad_s * SECOND);
    let lost = book.told().iter().filter(|told| told.0 >= from && !told.4).count() as u64;
    joins.sort_unstable();
    deaths.sort_unstable();
    let expected = usize::try_from(plan.rounds * (count - 1)).unwrap_or(0);
    if let Some(failure) = simulation.outside().failure() {
        return Err(failure);
    }
    if (joins.len(), deaths.len()) != (expected, expected) {
        return Err(format!("{} joins and {} deaths were seen, of {expected} each", joins.len(), deaths.len()));
    }
    Ok(Report {
        nodes: count,
        cores: cores.len() as u64,
        together,
        joins,
        deaths,
        core_bytes_per_second,
        edge_bytes_per_second,
        false_per_hour: lost * 3600 / plan.bad_s,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |nanos: &u64| nanos / 1_000_000;
        let percentile = |times: &[u64], percent: usize| {
            times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).map_or(0, &ms)
        };
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.nodes,
            self.cores,
            self.together.as_ref().map_or_else(|| "never".to_owned(), |at| ms(at).to_string()),
            percentile(&self.joins, 50),
            percentile(&self.joins, 95),
            percentile(&self.joins, 100),
            percentile(&self.deaths, 50),
            percentile(&self.deaths, 95),
            percentile(&self.deaths, 100),
            self.core_bytes_per_second,
            self.edge_bytes_per_second,
            self.false_per_hour,
        )
    }
}

/// The head of the table whose rows [`Report`]s are.
pub const HEAD: &str = "| nodes | cores | all joined, ms | join p50, ms | join p95, ms | join max, ms | \
                        death p50, ms | death p95, ms | death max, ms | bytes/core/s | bytes/edge/s | \
                        falsely lost/h at 20 % loss |";
