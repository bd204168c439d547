//! Draws what goes wrong in a run from its seed: all kinds of faults, mixed, each with its end.

use std::fmt;

use tiebeam_wire::NodeId;

use crate::network::Link;
use crate::simulation::{SECOND, Simulation};

const MS: u64 = 1_000_000;

/// Something that goes wrong, or is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The node is killed.
    Crash(NodeId),
    /// It is started again.
    Start(NodeId),
    /// It is stopped where it is.
    Pause(NodeId),
    /// It goes on.
    Resume(NodeId),
    /// Nothing gets from the first of each pair to the second.
    Cut(Vec<(NodeId, NodeId)>),
    /// These cuts are taken away.
    Join(Vec<(NodeId, NodeId)>),
    /// One direction is changed.
    Change(NodeId, NodeId, Link),
    /// One direction is as usual.
    Reset(NodeId, NodeId),
    /// All links are changed that were not changed alone.
    ChangeAll(Link),
    /// The monotonic clock runs fast by so many millionths, or slow.
    Rate(NodeId, i32),
    /// The monotonic clock jumps ahead by so many nanoseconds.
    Jump(NodeId, u64),
    /// The wall clock is set ahead by so many seconds, or behind.
    Wall(NodeId, i64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Fault {
    /// Does it.
    pub fn apply(&self, simulation: &mut Simulation) {
        match self {
            Self::Crash(node) => simulation.crash(*node),
            Self::Start(node) => simulation.start(*node),
            Self::Pause(node) => simulation.pause(*node),
            Self::Resume(node) => simulation.resume(*node),
            Self::Cut(pairs) => simulation.network(|network| pairs.iter().for_each(|(a, b)| network.cut(*a, *b))),
            Self::Join(pairs) => simulation.network(|network| pairs.iter().for_each(|(a, b)| network.join(*a, *b))),
            Self::Change(from, to, link) => simulation.network(|network| network.set(*from, *to, *link)),
            Self::Reset(from, to) => simulation.network(|network| network.reset(*from, *to)),
            Self::ChangeAll(link) => simulation.network(|network| network.set_usual(*link)),
            Self::Rate(node, ppm) => simulation.set_rate(*node, *ppm),
            Self::Jump(node, nanos) => simulation.jump(*node, *nanos),
            Self::Wall(node, seconds) => simulation.set_wall(*node, seconds.saturating_mul(1_000_000_000)),
        }
    }
}

/// Draws the faults between two moments, in the order of their time.
#[must_use]
pub fn draw(seed: u64, nodes: &[NodeId], from: u64, until: u64) -> Vec<(u64, Fault)> {
    let mut chance = Chance { rng: fastrand::Rng::with_seed(seed ^ 0xfa_0175), nodes };
    let mut faults = Vec::new();
    let mut at = from;
    // Some runs are rough, some have long quiet times in which everything is joined again.
    let gap_ms = [500, 2_000, 8_000][chance.rng.usize(..3)];
    while at < until {
        faults.extend(chance.fault(at).into_iter().filter(|(at, _)| *at < until));
        at += chance.rng.u64(1..2 * gap_ms) * MS;
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

struct Chance<'a> {
    rng: fastrand::Rng,
    nodes: &'a [NodeId],
}

impl Chance<'_> {
    fn node(&mut self) -> NodeId {
        self.nodes[self.rng.usize(..self.nodes.len())]
    }

    /// Short times are as likely as long ones: the edges of timeouts lie at both.
    fn after(&mut self, at: u64, least_ms: u64, most_ms: u64) -> u64 {
        let ratio = u32::try_from(most_ms / least_ms).unwrap_or(u32::MAX).ilog2();
        let least = least_ms << self.rng.u32(..=ratio);
        at + self.rng.u64(least * MS..=2 * least * MS)
    }

    fn fault(&mut self, at: u64) -> Vec<(u64, Fault)> {
        let node = self.node();
        match self.rng.u8(..20) {
            0..4 => vec![(at, Fault::Crash(node)), (self.after(at, 1, 10_000), Fault::Start(node))],
            4..7 => vec![(at, Fault::Pause(node)), (self.after(at, 10, 8_000), Fault::Resume(node))],
            7..13 => {
                let pairs = self.split();
                vec![(at, Fault::Cut(pairs.clone())), (self.after(at, 50, 15_000), Fault::Join(pairs))]
            }
            13..16 => {
                let (other, link) = (self.node(), self.link());
                vec![(at, Fault::Change(node, other, link)), (self.after(at, 1_000, 20_000), Fault::Reset(node, other))]
            }
            16 => {
                vec![(at, Fault::ChangeAll(self.link())), (self.after(at, 1_000, 10_000), Fault::ChangeAll(Link::GOOD))]
            }
            17 => vec![(at, Fault::Rate(node, self.rng.i32(-10_000..=10_000)))],
            18 => vec![(at, Fault::Jump(node, self.after(0, 1, 5_000)))],
            _ => vec![(at, Fault::Wall(node, self.rng.i64(-1_800..=1_800)))],
        }
    }

    /// Who can't reach whom: one way, all of one node, two halves, or everybody but the neighbours in a ring.
    fn split(&mut self) -> Vec<(NodeId, NodeId)> {
        let (a, b, count) = (self.node(), self.node(), self.nodes.len());
        let side: Vec<bool> = (0..count).map(|_| self.rng.bool()).collect();
        let kind = self.rng.u8(..6);
        let is_cut = |i: usize, j: usize| match kind {
            0 => (self.nodes[i], self.nodes[j]) == (a, b),
            1 => self.nodes[i] == a,
            2 => self.nodes[j] == a,
            3 => self.nodes[i] == a || self.nodes[j] == a,
            4 => side[i] != side[j],
            _ => (i + 1) % count != j && (j + 1) % count != i,
        };
        let pairs = (0..count).flat_map(|i| (0..count).map(move |j| (i, j)));
        pairs.filter(|(i, j)| i != j && is_cut(*i, *j)).map(|(i, j)| (self.nodes[i], self.nodes[j])).collect()
    }

    fn link(&mut self) -> Link {
        let permille = [0, 10, 100, 400];
        let some = |rng: &mut fastrand::Rng| permille[rng.usize(..permille.len())];
        let rng = &mut self.rng;
        Link {
            delay_us: [200, 2_000, 40_000, 300_000][rng.usize(..4)],
            jitter_us: [200, 5_000, 100_000][rng.usize(..3)],
            loss_permille: some(rng),
            duplicate_permille: some(rng),
            reorder_permille: some(rng),
            mtu_bytes: [1500, 1500, 1280, 1200][rng.usize(..4)],
        }
    }
}

/// Takes all faults away: all nodes run, and all links are good. Clocks stay as they are.
pub(crate) fn heal(simulation: &mut Simulation) {
    simulation.network(crate::network::Network::heal);
    for node in simulation.nodes().to_vec() {
        simulation.resume(node);
        simulation.start(node);
    }
}

/// The least time of quiet before the first fault: the cluster is whole then.
pub(crate) const CALM: u64 = 5 * SECOND;
