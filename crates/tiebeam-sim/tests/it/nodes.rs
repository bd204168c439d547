//! Two and more real nodes on virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, CallError, Ctx, ExitReason, Handler, Table};
use tiebeam_sim::network::Link;
use tiebeam_sim::{SECOND, Simulation, Site, Work, on_thread};
use tiebeam_wire::NodeId;
use tracing::Level;

/// Doubles numbers.
struct Doubler;

#[derive(Serialize, Deserialize)]
struct Double(u64);

impl Actor for Doubler {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }

    fn table() -> Table<Self> {
        Table::new().call::<Double>(1)
    }
}

impl Handler<Double> for Doubler {
    type Reply = u64;

    async fn handle(&mut self, Double(number): Double, _: &mut Ctx<Self>) -> u64 {
        number * 2
    }
}

/// A node that calls all others once a second.
fn callers(answers: &Arc<Mutex<Vec<String>>>) -> Work {
    let answers = Arc::clone(answers);
    Arc::new(move |site: Site| {
        let answers = Arc::clone(&answers);
        async move {
            site.system.starter().named("doubler").spawn::<Doubler>(()).await.unwrap();
            for number in 1.. {
                tiebeam_world::sleep(Duration::from_secs(1)).await;
                for other in site.nodes.iter().filter(|other| **other != site.node()) {
                    let doubler = site.system.named::<Doubler>(*other, "doubler");
                    let answer: Result<u64, CallError> = doubler.call(Double(number)).await;
                    let line = format!("{} {} asks {other}: {answer:?}", site.outside.now() / SECOND, site.node());
                    answers.lock().unwrap().push(line);
                }
            }
        }
        .boxed()
    })
}

fn simulated(count: u64, scenario: impl FnOnce(&mut Simulation) + Send + 'static) -> Vec<String> {
    simulated_of(count, count, scenario)
}

fn simulated_of(count: u64, cores: u64, scenario: impl FnOnce(&mut Simulation) + Send + 'static) -> Vec<String> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&answers);
    on_thread(11, move || {
        let mut simulation = Simulation::mixed(11, count, cores, Level::DEBUG, callers(&answers)).unwrap();
        scenario(&mut simulation);
        assert_eq!(simulation.outside().failure(), None);
    });
    let mut heard = heard.lock().unwrap().clone();
    heard.sort();
    heard
}

fn start_all(simulation: &mut Simulation) {
    simulation.nodes().to_vec().into_iter().for_each(|node| simulation.start(node));
}

#[test]
fn two_nodes_find_each_other_and_call() {
    let answers = simulated(2, |simulation| {
        start_all(simulation);
        simulation.run_until(5 * SECOND / 2);
    });
    assert_eq!(answers, ["1 n1 asks n2: Ok(2)", "1 n2 asks n1: Ok(2)", "2 n1 asks n2: Ok(4)", "2 n2 asks n1: Ok(4)"]);
}

/// Three and four know one and two; that they find each other is gossip's doing.
#[test]
fn four_nodes_find_each_other_by_gossip() {
    simulated(4, |simulation| {
        start_all(simulation);
        simulation.run_until(3 * SECOND);
        let nodes = simulation.nodes().to_vec();
        assert!(nodes.iter().all(|node| simulation.sees(*node, &nodes)));
    });
}

#[test]
fn crashed_node_is_lost_and_comes_back_as_another() {
    simulated(3, |simulation| {
        start_all(simulation);
        simulation.run_until(3 * SECOND);
        let (one, two) = (NodeId(1), NodeId(2));
        simulation.crash(two);
        simulation.run_until(8 * SECOND);
        let live =
            |simulation: &Simulation| simulation.cluster(one).unwrap().members().iter().filter(|m| m.live).count();
        assert_eq!((live(simulation), simulation.is_up(two)), (2, false));
        simulation.start(two);
        simulation.run_until(12 * SECOND);
        assert_eq!((live(simulation), simulation.incarnation(two).0), (3, 2));
        assert!(simulation.sees(one, &[two]));
    });
}

/// A pause below the idle timeout is not noticed, one beyond it is; the node itself finds out when it goes on.
#[test]
fn paused_node_is_lost_after_the_idle_timeout_alone() {
    simulated(2, |simulation| {
        start_all(simulation);
        simulation.run_until(3 * SECOND);
        let (one, two) = (NodeId(1), NodeId(2));
        for (seconds, is_seen) in [(1, true), (6, false)] {
            simulation.pause(two);
            simulation.run_until(simulation.now() + seconds * SECOND);
            assert_eq!(simulation.sees(one, &[two]), is_seen, "after {seconds} s");
            simulation.resume(two);
            simulation.run_until(simulation.now() + 6 * SECOND);
            assert!(simulation.sees(one, &[two]) && simulation.sees(two, &[one]));
        }
    });
}

/// QUIC alone would wait for three of its own probes, which are many seconds apart by then (RFC 9000, 10.1).
#[test]
fn death_on_a_slow_network_is_noticed_as_soon_as_on_a_fast_one() {
    simulated(2, |simulation| {
        start_all(simulation);
        simulation.run_until(3 * SECOND);
        let (one, two) = (NodeId(1), NodeId(2));
        let delay_us = 1_500_000;
        simulation.network(|network| network.set_usual(Link { delay_us, ..Link::GOOD }));
        simulation.run_until(60 * SECOND);
        assert!(simulation.sees(one, &[two]) && simulation.sees(two, &[one]));
        simulation.pause(two);
        let (idle, keep_alive) = (3 * SECOND, 3 * SECOND / 4);
        simulation.run_until(simulation.now() + delay_us * 1_000 + idle + keep_alive + SECOND / 100);
        assert!(!simulation.sees(one, &[two]));
    });
}

/// A clock that jumps is a pause to its node: QUIC finds that nothing came for too long.
#[test]
fn nodes_meet_again_after_a_jump_of_one_clock_and_with_clocks_of_different_rates() {
    simulated(2, |simulation| {
        start_all(simulation);
        simulation.set_rate(NodeId(1), 10_000);
        simulation.set_rate(NodeId(2), -10_000);
        simulation.set_wall(NodeId(2), -1_800 * 1_000_000_000);
        simulation.run_until(60 * SECOND);
        assert!(simulation.sees(NodeId(1), &[NodeId(2)]));
        simulation.jump(NodeId(1), 10 * SECOND);
        simulation.run_until(70 * SECOND);
        assert!(simulation.sees(NodeId(1), &[NodeId(2)]) && simulation.sees(NodeId(2), &[NodeId(1)]));
    });
}

/// Between two edges nothing gets through, and both see each other by way of the core, which carries their datagrams: each is
/// called by the other soon, and until then told that it isn't connected. Without the core neither is there for the other.
#[test]
fn edges_that_are_cut_apart_call_each_other_by_way_of_a_core() {
    let answers = simulated_of(3, 1, |simulation| {
        let (one, two, three) = (NodeId(1), NodeId(2), NodeId(3));
        simulation.network(|network| {
            network.cut(two, three);
            network.cut(three, two);
        });
        start_all(simulation);
        simulation.run_until(20 * SECOND);
        let nodes = simulation.nodes().to_vec();
        assert!(nodes.iter().all(|node| simulation.sees(*node, &nodes)), "all are there by way of the core");
        simulation.crash(one);
        simulation.run_until(30 * SECOND);
        assert!(!simulation.sees(two, &[three]) && !simulation.sees(three, &[two]));
    });
    let of = |start: &str, end: &str| answers.iter().filter(|line| line.contains(start) && line.contains(end)).count();
    for pair in ["n2 asks n3", "n3 asks n2"] {
        assert!(of(pair, "Ok(") >= 10, "{answers:#?}");
        assert!(of(pair, "Err(NoConnection)") >= 2, "{answers:#?}");
    }
}
