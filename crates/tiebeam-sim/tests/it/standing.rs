//! Who knows, and how soon, that a cluster is split.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use tiebeam_actor::{Actor, Addr, ChildSpec, Ctx, ExitReason, Supervisor, SupervisorSpec};
use tiebeam_cluster::Standing;
use tiebeam_cluster::services::{InstanceSpec, WhenCutOff};
use tiebeam_sim::{SECOND, Simulation, Site, Work, on_thread};
use tiebeam_wire::NodeId;
use tracing::Level;

/// By when a node must know that it is cut off: the idle timeout of its connections, after which they end, the word of a core
/// to its edges, and a second of patience.
const KNOWN_AFTER: u64 = 5 * SECOND;

/// What was told: when, by whom, and whether it is the majority.
type Told = Arc<Mutex<Vec<(u64, NodeId, Standing)>>>;

/// A node that writes down where it stands. Edges run an actor, under a supervisor, that is to stop when they are cut off.
fn watchers(told: &Told) -> Work {
    let told = Arc::clone(told);
    Arc::new(move |site: Site| {
        let told = Arc::clone(&told);
        async move {
            if site.cluster.role() == tiebeam_wire::Role::Edge {
                serve(&site).await;
            }
            let mut events = site.cluster.watch_standing();
            while let Some(standing) = events.next().await {
                told.lock().unwrap().push((site.outside.now(), site.node(), standing));
            }
        }
        .boxed()
    })
}

async fn serve(site: &Site) {
    let supervisor = site.system.spawn::<Supervisor>(SupervisorSpec::one_for_one()).await.unwrap();
    let args = (site.clone(), supervisor.clone());
    supervisor.start_child(ChildSpec::actor::<Served>("served", args)).await.unwrap();
}

/// Serves, and registers itself.
struct Served;

impl Actor for Served {
    type Args = (Site, Addr<Supervisor>);

    async fn init((site, supervisor): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let stop = WhenCutOff::Stop { supervisor, child: "served".to_owned() };
        let spec = InstanceSpec::new("served", format!("{}", site.node())).when_cut_off(stop);
        site.cluster.services().register(spec, &ctx.addr()).map_err(|error| ExitReason::Other(error.to_string()))?;
        Ok(Self)
    }
}

fn simulated(cores: u64, edges: u64, scenario: impl FnOnce(&mut Simulation, &Told) + Send + 'static) {
    on_thread(7, move || {
        let told = Told::default();
        let mut simulation = Simulation::mixed(7, cores + edges, cores, Level::INFO, watchers(&told)).unwrap();
        simulation.nodes().to_vec().into_iter().for_each(|node| simulation.start(node));
        simulation.run_until(5 * SECOND);
        scenario(&mut simulation, &told);
        assert_eq!(simulation.outside().failure(), None);
    });
}

/// Lets nothing through between those in `part` and all others.
fn split(simulation: &mut Simulation, part: &[u64]) {
    let nodes = simulation.nodes().to_vec();
    let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b)));
    let between: Vec<_> = pairs.filter(|(a, b)| part.contains(&a.0) != part.contains(&b.0)).collect();
    simulation.network(|network| between.iter().for_each(|(a, b)| network.cut(*a, *b)));
}

/// Those who don't stand with the majority.
fn others(simulation: &Simulation) -> Vec<u64> {
    let nodes = simulation
        .nodes()
        .iter()
        .filter(|node| simulation.cluster(**node).is_some_and(|cluster| cluster.standing() != Standing::Majority));
    nodes.map(|node| node.0).collect()
}

/// On which nodes the actors of edges run, as node 1 sees it.
fn served(simulation: &Simulation, by: u64) -> Vec<String> {
    let list = simulation.cluster(NodeId(by)).unwrap().services().list("served");
    list.into_iter().map(|instance| instance.id).collect()
}

#[test]
fn minority_knows_within_five_seconds_and_the_majority_never_doubts() {
    simulated(5, 0, |simulation, told| {
        assert_eq!(others(simulation), [0; 0]);
        let split_at = simulation.now();
        split(simulation, &[1, 2]);
        simulation.run_until(split_at + KNOWN_AFTER);
        assert_eq!(others(simulation), [1, 2]);
        simulation.run_until(split_at + 60 * SECOND);
        assert_eq!(others(simulation), [1, 2]);
        let healed_at = simulation.now();
        simulation.network(tiebeam_sim::network::Network::heal);
        simulation.run_until(healed_at + 10 * SECOND);
        assert_eq!(others(simulation), [0; 0], "all agree after healing, without a restart");
        let doubts = told.lock().unwrap().clone();
        let doubts =
            doubts.iter().filter(|(_, node, standing)| node.0 > 2 && matches!(standing, Standing::CutOff { .. }));
        assert_eq!(doubts.collect::<Vec<_>>(), Vec::<&(u64, NodeId, Standing)>::new());
    });
}

/// Nobody has a majority, so nobody goes on; two halves that both did would be the worst that can be.
#[test]
fn of_two_halves_neither_goes_on() {
    simulated(4, 0, |simulation, _| {
        split(simulation, &[1, 2]);
        simulation.run_until(simulation.now() + KNOWN_AFTER);
        assert_eq!(others(simulation), [1, 2, 3, 4]);
    });
}

/// Edge 6 keeps its connection to core 1, which is itself cut off: only that core's word can tell it.
#[test]
fn edge_learns_from_its_only_core_that_both_are_cut_off() {
    simulated(5, 2, |simulation, told| {
        assert_eq!(served(simulation, 1), ["n6", "n7"]);
        let split_at = simulation.now();
        split(simulation, &[1, 6]);
        simulation.run_until(split_at + KNOWN_AFTER);
        assert_eq!(others(simulation), [1, 6]);
        assert!(simulation.sees(NodeId(6), &[NodeId(1)]), "they are connected still");
        simulation.run_until(split_at + KNOWN_AFTER + SECOND);
        assert_eq!(served(simulation, 1), [""; 0], "what is to stop has stopped");
        assert_eq!(served(simulation, 2), ["n7"], "and goes on where the majority is");
        let since = told.lock().unwrap().iter().rev().find_map(|(_, node, standing)| match standing {
            Standing::CutOff { since } if node.0 == 6 => Some(since.nanos),
            _ => None,
        });
        assert!(since.is_some_and(|since| since > split_at), "{since:?}");
        let healed_at = simulation.now();
        simulation.network(tiebeam_sim::network::Network::heal);
        simulation.run_until(healed_at + 10 * SECOND);
        assert_eq!(others(simulation), [0; 0]);
        for by in [1, 2, 6] {
            assert_eq!(served(simulation, by), ["n6", "n7"], "and runs again when its node is back");
        }
    });
}

/// An edge that loses all cores has nobody who could tell it.
#[test]
fn edge_alone_knows_that_it_is_cut_off() {
    simulated(3, 2, |simulation, _| {
        split(simulation, &[4]);
        simulation.run_until(simulation.now() + KNOWN_AFTER);
        assert_eq!(others(simulation), [4]);
    });
}

/// A core of the minority that a node reaches must not speak louder than one of the majority.
#[test]
fn edge_that_reaches_both_sides_stands_with_the_majority() {
    simulated(5, 1, |simulation, _| {
        let cores: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let pairs = cores.iter().flat_map(|a| cores.iter().map(move |b| (*a, *b)));
        let between: Vec<_> = pairs.filter(|(a, b)| (a.0 <= 2) != (b.0 <= 2)).collect();
        simulation.network(|network| between.iter().for_each(|(a, b)| network.cut(*a, *b)));
        simulation.run_until(simulation.now() + KNOWN_AFTER);
        assert_eq!(others(simulation), [1, 2]);
    });
}

/// A node that starts into a split has never reached a majority: it must not go on as if it had.
#[test]
fn node_that_starts_among_the_few_does_not_know_where_it_stands() {
    simulated(3, 0, |simulation, _| {
        simulation.crash(NodeId(3));
        split(simulation, &[3]);
        simulation.run_until(simulation.now() + KNOWN_AFTER);
        simulation.start(NodeId(3));
        simulation.run_until(simulation.now() + 30 * SECOND);
        assert_eq!(simulation.cluster(NodeId(3)).unwrap().standing(), Standing::Unknown);
        simulation.network(tiebeam_sim::network::Network::heal);
        simulation.run_until(simulation.now() + 10 * SECOND);
        assert_eq!(others(simulation), [0; 0]);
    });
}
