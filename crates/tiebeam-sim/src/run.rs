//! One seed: a cluster with all workloads, faults, and a quiet end in which everything must come right.

use std::sync::Arc;

use futures::FutureExt;
use tracing::Level;

use crate::faults;
use crate::log::Log;
use crate::simulation::{SECOND, Simulation, Work, on_thread};
use crate::site::Site;
use crate::workload::{self, End, Workload};

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// How many core nodes there are.
    pub nodes: u64,
    /// How many of them are cores; the others are edges.
    pub cores: u64,
    /// Until when there are faults, in virtual seconds.
    pub faults_until_s: u64,
    /// How long it is quiet after that, in virtual seconds.
    pub quiet_s: u64,
    /// Which traces go into the log.
    pub level: Level,
}

impl Plan {
    /// Five virtual minutes of five cores; of each third seed, of three cores and four edges.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let (nodes, cores) = if seed.is_multiple_of(3) { (7, 3) } else { (5, 5) };
        Self { seed, nodes, cores, faults_until_s: 270, quiet_s: 30, level: Level::INFO }
    }
}

/// How long it may take after healing until all nodes see all nodes, and none is lost any more. A connection that was all but
/// lost before may take its last probe only now: QUIC doubles the time between probes, and counts no connection as
/// idle before three of them (RFC 9000, 10.1).
pub const JOINED_NANOS_MAX: u64 = 10 * SECOND;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What broke, if something did.
    pub failure: Option<String>,
    /// What happened.
    pub log: Log,
    /// How long it took after healing until all nodes saw all nodes for good, in nanoseconds.
    pub joined_after: Option<u64>,
}

/// Runs one seed on a thread of its own.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    on_thread(plan.seed, move || simulate(plan))
}

fn simulate(plan: Plan) -> Outcome {
    let workloads = workload::all();
    let work = begin(&workloads);
    let mut simulation = match Simulation::mixed(plan.seed, plan.nodes, plan.cores, plan.level, work) {
        Ok(simulation) => simulation,
        Err(error) => return Outcome { failure: Some(error.to_string()), log: Log::default(), joined_after: None },
    };
    let joined_after = go(plan, &mut simulation, &workloads);
    let outside = Arc::clone(simulation.outside());
    drop(simulation);
    Outcome { failure: outside.failure(), log: outside.take_log(), joined_after }
}

/// All workloads, one after the other, on each start of a node.
fn begin(workloads: &[Arc<dyn Workload>]) -> Work {
    let workloads = workloads.to_vec();
    Arc::new(move |site: Site| {
        let begun: Vec<_> = workloads.iter().map(|workload| workload.begin(site.clone())).collect();
        async move {
            for begun in begun {
                begun.await;
            }
        }
        .boxed()
    })
}

fn go(plan: Plan, simulation: &mut Simulation, workloads: &[Arc<dyn Workload>]) -> Option<u64> {
    let nodes = simulation.nodes().to_vec();
    let until = plan.faults_until_s * SECOND;
    nodes.iter().for_each(|node| simulation.start(*node));
    for (at, fault) in faults::draw(plan.seed, &nodes, faults::CALM, until) {
        simulation.run_until(at);
        if simulation.outside().failure().is_some() {
            return None;
        }
        simulation.outside().tell(tiebeam_wire::NodeId(0), fault.to_string());
        fault.apply(simulation);
    }
    simulation.run_until(until);
    simulation.outside().tell(tiebeam_wire::NodeId(0), "everything is healed".to_owned());
    faults::heal(simulation);
    simulation.outside().state().is_healed = true;
    let joined_at = join(simulation, until + JOINED_NANOS_MAX)?;
    simulation.run_until(until + plan.quiet_s * SECOND);
    let latest = nodes.iter().map(|node| (*node, simulation.incarnation(*node))).collect();
    let quiet_from = until + JOINED_NANOS_MAX;
    let end = End { latest, quiet_from, outside: Arc::clone(simulation.outside()) };
    workloads.iter().for_each(|workload| workload.check(&end));
    Some(joined_at - until)
}

/// Runs until `end`, when all nodes must see all nodes; returns since when they do. Connections that were all but lost when
/// the network was healed may still end, so it is the last time that counts.
fn join(simulation: &mut Simulation, end: u64) -> Option<u64> {
    let (nodes, mut joined_at) = (simulation.nodes().to_vec(), None);
    while simulation.outside().failure().is_none() {
        let blind: Vec<_> = nodes.iter().filter(|node| !simulation.sees(**node, &nodes)).collect();
        joined_at = if blind.is_empty() { joined_at.or_else(|| Some(simulation.now())) } else { None };
        if simulation.now() >= end {
            if joined_at.is_none() {
                let seconds = JOINED_NANOS_MAX / SECOND;
                simulation.outside().fail(format!("{seconds} s after healing {blind:?} don't see all nodes"));
            }
            return joined_at;
        }
        simulation.run_until((simulation.now() + SECOND / 20).min(end));
    }
    None
}
