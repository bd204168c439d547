//! Names of three nodes, with splits and loss.

use proptest::prelude::*;
use tiebeam_wire::{Incarnation, NodeId};

use super::*;
use crate::names::NamesKind;

const NAMES: [&str; 2] = ["clerk", "judge"];

#[derive(Clone, Debug)]
enum Step {
    Register {
        node: usize,
        name: usize,
        serial: u64,
    },
    Unregister {
        node: usize,
        name: usize,
    },
    End {
        node: usize,
        serial: u64,
    },
    /// Cuts a node off from the others, or lets it meet them again.
    Cut {
        node: usize,
    },
    Heal {
        node: usize,
    },
    /// Carries what is under way, but for one in so many.
    Carry {
        lose: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (node, name, serial) = (0..3_usize, 0..NAMES.len(), 1..4_u64);
    prop_oneof![
        3 => (node.clone(), name.clone(), serial.clone()).prop_map(|(node, name, serial)| Step::Register { node, name, serial }),
        1 => (node.clone(), name).prop_map(|(node, name)| Step::Unregister { node, name }),
        1 => (node.clone(), serial).prop_map(|(node, serial)| Step::End { node, serial }),
        1 => node.clone().prop_map(|node| Step::Cut { node }),
        1 => node.prop_map(|node| Step::Heal { node }),
        4 => (2..5_usize).prop_map(|lose| Step::Carry { lose }),
    ]
}

/// Three nodes, some of them cut off.
struct World {
    nodes: Vec<Core<NamesKind>>,
    is_cut: Vec<bool>,
    ms: u64,
    /// Who was told that it lost, ever.
    lost: Vec<(String, Pid)>,
}

impl World {
    fn new() -> Self {
        let config = Config { shards: 2, ..Config::default() };
        let nodes = (0..3).map(|node| Core::new(Instant { nanos: 0 }, replica(node), config, node as u64)).collect();
        let mut world = Self { nodes, is_cut: vec![true; 3], ms: 0, lost: Vec::new() };
        (0..3).for_each(|node| world.heal(node));
        world
    }

    fn now(&self) -> Instant {
        Instant { nanos: self.ms * 1_000_000 }
    }

    fn apply(&mut self, step: &Step) {
        self.ms += 1;
        let (now, ms) = (self.now(), self.ms);
        match *step {
            Step::Register { node, name, serial } => {
                let (name, pid) = (NAMES[name].to_owned(), pid(node, serial));
                // As `Names::register` does.
                if self.nodes[node].board.seen(&name, &()).is_none_or(|holder| *holder == pid) {
                    self.nodes[node].put(now, ms, pid, &name, pid).unwrap();
                }
            }
            Step::Unregister { node, name } => {
                self.nodes[node].withdraw(now, ms, &NAMES[name].to_owned());
            }
            Step::End { node, serial } => {
                self.nodes[node].ended(now, ms, pid(node, serial));
            }
            Step::Cut { node } => self.cut(node),
            Step::Heal { node } => self.heal(node),
            Step::Carry { lose } => self.carry(Some(lose)),
        }
        self.settle();
    }

    fn pairs(&self, node: usize) -> Vec<(usize, usize)> {
        let others = (0..3).filter(|other| *other != node && !self.is_cut[*other]);
        others.flat_map(|other| [(node, other), (other, node)]).collect()
    }

    fn cut(&mut self, node: usize) {
        if !self.is_cut[node] {
            let now = self.now();
            for (at, peer) in self.pairs(node) {
                self.nodes[at].handle(now, self.ms, Event::Down(replica(peer))).unwrap();
            }
            self.is_cut[node] = true;
        }
    }

    fn heal(&mut self, node: usize) {
        if self.is_cut[node] {
            self.is_cut[node] = false;
            let now = self.now();
            for (at, peer) in self.pairs(node) {
                self.nodes[at].handle(now, self.ms, Event::Up(replica(peer))).unwrap();
            }
        }
    }

    fn carry(&mut self, lose: Option<usize>) {
        let mut count = 0;
        for node in 0..3 {
            let now = self.now();
            self.nodes[node].expire(now, self.ms);
            while let Some((to, bytes)) = self.nodes[node].outbox.pop_front() {
                count += 1;
                let at = usize::try_from(to.node.0).unwrap();
                let is_lost = self.is_cut[node] || self.is_cut[at] || lose.is_some_and(|lose| count % lose == 0);
                if !is_lost {
                    let _ = self.nodes[at].handle(now, self.ms, Event::Received { from: replica(node), bytes });
                }
            }
        }
    }

    fn settle(&mut self) {
        for core in &mut self.nodes {
            core.check();
            self.lost.extend(core.lost.drain(..).map(|lost| (lost.key, lost.pid)));
        }
    }
}

fn replica(node: usize) -> ReplicaId {
    ReplicaId::new(NodeId(node as u64), Incarnation(1))
}

fn pid(node: usize, serial: u64) -> Pid {
    Pid { node: NodeId(node as u64), incarnation: Incarnation(1), serial }
}

proptest! {
    /// Whatever was registered during splits and under loss: once all is connected and quiet, every node names the same
    /// holder, that holder's node knows it for its own, and nobody else believes to have the name without having
    /// been told.
    #[test]
    fn names_agree_once_all_is_connected(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.apply(step));
        (0..3).for_each(|node| world.heal(node));
        for _ in 0..20 {
            world.ms += 2_500;
            world.carry(None);
            world.settle();
        }
        for name in NAMES.map(str::to_owned) {
            let seen: Vec<Option<Pid>> =
                world.nodes.iter().map(|core| core.board.seen(&name, &()).copied()).collect();
            prop_assert!(seen.iter().all(|holder| *holder == seen[0]), "{name}: {seen:?}");
            let owners: Vec<Pid> = world.nodes.iter().filter_map(|core| core.owner(&name)).collect();
            prop_assert_eq!(owners, seen[0].into_iter().collect::<Vec<_>>(), "{}", name);
        }
    }
}

/// The loser must be told by its own node and by that alone, once.
#[test]
fn conflict_is_lost_by_the_earlier_registration_and_told_once() {
    let mut world = World::new();
    let steps = [
        Step::Cut { node: 0 },
        Step::Register { node: 0, name: 0, serial: 1 },
        Step::Register { node: 1, name: 0, serial: 2 },
        Step::Heal { node: 0 },
    ];
    steps.iter().for_each(|step| world.apply(step));
    for _ in 0..10 {
        world.ms += 2_500;
        world.carry(None);
        world.settle();
    }
    assert_eq!(world.lost, [("clerk".to_owned(), pid(0, 1))]);
    let holders: Vec<_> = world.nodes.iter().map(|core| core.board.seen(&"clerk".to_owned(), &()).copied()).collect();
    assert_eq!(holders, [Some(pid(1, 2)); 3]);
}

/// What an earlier start left would be held for ever, and travel with every state.
#[test]
fn later_start_forgets_what_earlier_ones_left() {
    let start = |incarnation| ReplicaId::new(NodeId(9), Incarnation(incarnation));
    let (now, name) = (Instant { nanos: 0 }, "clerk".to_owned());
    let mut core = Core::<NamesKind>::new(now, replica(0), Config::default(), 0);
    let mut guest = Core::<NamesKind>::new(now, start(1), Config::default(), 0);
    guest.handle(now, 0, Event::Up(replica(0))).unwrap();
    let holder = Pid { node: NodeId(9), incarnation: Incarnation(1), serial: 1 };
    guest.put(now, 0, holder, &name, holder).unwrap();
    guest.expire(Instant { nanos: 1_000_000_000 }, 0);
    for event in super::super::events_of(start(1), Event::Up) {
        core.handle(now, 0, event).unwrap();
    }
    for (_, bytes) in guest.outbox.drain(..) {
        let _ = core.handle(now, 0, Event::Received { from: start(1), bytes });
    }
    assert_eq!((core.board.seen(&name, &()), core.replicator.stats().held), (Some(&holder), 1));
    core.handle(now, 0, Event::Down(start(1))).unwrap();
    assert_eq!((core.board.seen(&name, &()), core.replicator.stats().held), (None, 1), "hidden and held");
    for event in super::super::events_of(start(2), Event::Up) {
        core.handle(now, 0, event).unwrap();
    }
    let stats = core.replicator.stats();
    assert_eq!((core.board.seen(&name, &()), stats.held, stats.forgotten), (None, 0, 1));
}
