//! Decides whom to dial and when. Pure: time and randomness are handed in, dials come out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tiebeam_resilience::Backoff;
use tiebeam_wire::{Instant, NodeId};

/// Dials under way at once. More would let a whole cluster's restart become one node's storm of handshakes.
pub(crate) const DIALS_MAX: usize = 16;
/// Addresses that are remembered at once; configured ones are always.
pub(crate) const TARGETS_MAX: usize = 1000;
/// How long an address that gossip once told is dialled without success before it is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);

/// How many times longer the longest pause is where only people can help. When the certificates of a cluster run out, all
/// its nodes dial all others, and are refused after the costliest part of a handshake.
const REFUSED_FACTOR: u32 = 12;

/// An address to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) address: SocketAddr,
    /// Who must answer, if that is known.
    pub(crate) expected: Option<NodeId>,
}

/// How a dial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This node answered, and was connected or is so by another connection.
    Answered(NodeId),
    /// It is this node's own address.
    Oneself,
    /// Nobody answered, or somebody who refused or was refused for a while.
    Failed,
    /// Somebody answered, and only people can mend what keeps the two apart, as an expired certificate does.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { due: Instant },
    Dialling,
    Oneself,
}

#[derive(Clone, Debug)]
struct Target {
    expected: Option<NodeId>,
    /// Who answered there last.
    node: Option<NodeId>,
    configured: bool,
    attempt: u32,
    /// When it was last known to be of use.
    good: Instant,
    state: State,
}

/// Every address that may lead to a node, and every node that needs no dialling.
#[derive(Debug)]
pub(crate) struct Dialler {
    backoff: Backoff,
    targets: BTreeMap<SocketAddr, Target>,
    connected: BTreeSet<NodeId>,
}

impl Dialler {
    pub(crate) const fn new(backoff: Backoff) -> Self {
        Self { backoff, targets: BTreeMap::new(), connected: BTreeSet::new() }
    }

    /// Adds an address of the configuration; it is never forgotten.
    pub(crate) fn configure(&mut self, now: Instant, address: SocketAddr, expected: Option<NodeId>) {
        self.know(now, address, expected);
        if let Some(target) = self.targets.get_mut(&address) {
            target.configured = true;
        }
    }

    /// An address is no longer in the configuration: it is forgotten as those are that gossip tells.
    pub(crate) fn release(&mut self, now: Instant, address: SocketAddr) {
        if let Some(target) = self.targets.get_mut(&address) {
            target.configured = false;
            target.good = now;
        }
    }

    /// Adds an address that gossip told, or who must answer there; due at once if it is new.
    pub(crate) fn know(&mut self, now: Instant, address: SocketAddr, expected: Option<NodeId>) {
        let full = self.targets.len() >= TARGETS_MAX;
        match self.targets.get_mut(&address) {
            Some(target) => target.expected = expected.or(target.expected),
            None if full => {}
            None => {
                let state = State::Waiting { due: now };
                let target = Target { expected, node: None, configured: false, attempt: 0, good: now, state };
                self.targets.insert(address, target);
            }
        }
    }

    /// Makes an address due at once: there is news that its node is back.
    pub(crate) fn hurry(&mut self, now: Instant, address: SocketAddr) {
        if let Some(target) = self.targets.get_mut(&address) {
            target.attempt = 0;
            target.good = now;
            if let State::Waiting { due } = &mut target.state {
                *due = now.min(*due);
            }
        }
    }

    /// Makes all addresses due at once: what kept this node out may be mended.
    pub(crate) fn hurry_all(&mut self, now: Instant) {
        for target in self.targets.values_mut() {
            target.attempt = 0;
            if let State::Waiting { due } = &mut target.state {
                *due = now.min(*due);
            }
        }
    }

    /// A connection to `node` is up, whoever dialled.
    pub(crate) fn connected(&mut self, node: NodeId) {
        self.connected.insert(node);
    }

    /// The connection to `node` is gone; all its addresses are dialled again soon.
    pub(crate) fn disconnected(&mut self, now: Instant, node: NodeId, random: u64) {
        self.connected.remove(&node);
        let due = now + self.backoff.delay(0, random);
        for target in self.targets.values_mut().filter(|target| target.names(node)) {
            target.attempt = 1;
            target.good = now;
            if let State::Waiting { due: earlier } = &mut target.state {
                *earlier = due;
            }
        }
    }

    /// Returns what to dial now; each is then under way until [`Dialler::ended`].
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Dial> {
        let connected = &self.connected;
        self.targets.retain(|_, target| {
            target.configured || target.is_served(connected) || now.since(target.good) < FORGET_AFTER
        });
        let room = self.room();
        let due = self.targets.iter_mut().filter(|(_, target)| {
            matches!(target.state, State::Waiting { due } if due <= now) && !target.is_served(connected)
        });
        due.take(room)
            .map(|(address, target)| {
                target.state = State::Dialling;
                Dial { address: *address, expected: target.expected }
            })
            .collect()
    }

    /// Takes in how a dial ended.
    pub(crate) fn ended(&mut self, now: Instant, address: SocketAddr, outcome: Outcome, random: u64) {
        let Some(target) = self.targets.get_mut(&address) else { return };
        match outcome {
            Outcome::Oneself => return target.state = State::Oneself,
            Outcome::Answered(node) => {
                target.node = Some(node);
                target.good = now;
            }
            Outcome::Failed | Outcome::Refused => {}
        }
        let max = if outcome == Outcome::Refused { self.backoff.max * REFUSED_FACTOR } else { self.backoff.max };
        let backoff = Backoff { max, ..self.backoff };
        target.state = State::Waiting { due: now + backoff.delay(target.attempt, random) };
        target.attempt = target.attempt.saturating_add(1);
    }

    /// When [`Dialler::take_due`] should next be asked; none if only an event can change anything.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // What is due already waits for a dial to end: a moment in the past would have the caller ask again and again.
        if self.room() == 0 {
            return None;
        }
        let waiting = self.targets.values().filter(|target| !target.is_served(&self.connected));
        waiting.filter_map(|target| if let State::Waiting { due } = target.state { Some(due) } else { None }).min()
    }

    /// How many more may be dialled now.
    fn room(&self) -> usize {
        let under_way = self.targets.values().filter(|target| target.state == State::Dialling).count();
        DIALS_MAX.saturating_sub(under_way)
    }
}

impl Target {
    fn names(&self, node: NodeId) -> bool {
        self.expected.or(self.node) == Some(node)
    }

    fn is_served(&self, connected: &BTreeSet<NodeId>) -> bool {
        self.expected.or(self.node).is_some_and(|node| connected.contains(&node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };

    fn at(ms: u64) -> Instant {
        Instant { nanos: ms * 1_000_000 }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The largest random number makes the delay the whole of the backoff's step.
    fn fail(dialler: &mut Dialler, now: Instant, port: u16) {
        dialler.ended(now, address(port), Outcome::Failed, u64::MAX);
    }

    fn ports(dials: &[Dial]) -> Vec<u16> {
        dials.iter().map(|dial| dial.address.port()).collect()
    }

    /// A cluster whose certificates ran out must not spend itself on handshakes, and must be back when they are mended.
    #[test]
    fn refused_dial_waits_longer_until_there_is_news() {
        let mut dialler = Dialler::new(BACKOFF);
        dialler.configure(at(0), address(1), None);
        let mut now = at(0);
        for _ in 0..20 {
            assert_eq!(ports(&dialler.take_due(now)), [1]);
            dialler.ended(now, address(1), Outcome::Refused, u64::MAX);
            now = dialler.deadline().unwrap();
        }
        let last = now;
        assert_eq!(ports(&dialler.take_due(now)), [1]);
        dialler.ended(now, address(1), Outcome::Refused, u64::MAX);
        assert_eq!(dialler.deadline().unwrap().since(last), Duration::from_secs(60));
        dialler.hurry_all(at(1));
        assert_eq!(ports(&dialler.take_due(now)), [1]);
        fail(&mut dialler, now, 1);
        assert!(dialler.deadline().unwrap().since(now) < Duration::from_secs(1));
    }

    #[test]
    fn failed_dial_is_tried_again_later_and_later() {
        let mut dialler = Dialler::new(BACKOFF);
        dialler.configure(at(0), address(1), None);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(ports(&dialler.take_due(now)), [1]);
            assert_eq!(dialler.deadline(), None, "under way");
            fail(&mut dialler, now, 1);
            let due = dialler.deadline().unwrap();
            waits.push(due.since(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn connected_node_is_not_dialled_at_any_of_its_addresses() {
        let mut dialler = Dialler::new(BACKOFF);
        dialler.configure(at(0), address(1), None);
        dialler.know(at(0), address(2), Some(NodeId(7)));
        assert_eq!(ports(&dialler.take_due(at(0))), [1, 2]);
        dialler.ended(at(1), address(1), Outcome::Answered(NodeId(7)), 0);
        fail(&mut dialler, at(1), 2);
        dialler.connected(NodeId(7));
        assert_eq!((dialler.take_due(at(10_000)), dialler.deadline()), (vec![], None));
        dialler.disconnected(at(20_000), NodeId(7), u64::MAX);
        assert_eq!(dialler.deadline(), Some(at(20_100)));
        assert_eq!(ports(&dialler.take_due(at(20_100))), [1, 2]);
    }

    #[test]
    fn news_of_a_node_cuts_its_backoff_short() {
        let mut dialler = Dialler::new(BACKOFF);
        dialler.know(at(0), address(1), Some(NodeId(7)));
        for now in [0, 100, 300, 700] {
            assert_eq!(ports(&dialler.take_due(at(now))), [1]);
            fail(&mut dialler, at(now), 1);
        }
        dialler.hurry(at(800), address(1));
        assert_eq!(ports(&dialler.take_due(at(800))), [1]);
        fail(&mut dialler, at(800), 1);
        assert_eq!(dialler.deadline(), Some(at(900)), "and the next one starts from the beginning");
    }

    #[test]
    fn own_address_is_dialled_once() {
        let mut dialler = Dialler::new(BACKOFF);
        dialler.configure(at(0), address(1), None);
        assert_eq!(dialler.take_due(at(0)).len(), 1);
        dialler.ended(at(0), address(1), Outcome::Oneself, 0);
        assert_eq!((dialler.take_due(at(100_000)), dialler.deadline()), (vec![], None));
    }

    #[test]
    fn dials_at_once_are_bounded() {
        let mut dialler = Dialler::new(BACKOFF);
        for port in 1..=40 {
            dialler.know(at(0), address(port), None);
        }
        assert_eq!(dialler.take_due(at(0)).len(), DIALS_MAX);
        assert_eq!(dialler.take_due(at(0)).len(), 0);
        // A deadline that has passed would be asked for again at once, and a core be busy until a dial ends. Found by
        // `tiebeam-sim members --nodes 50`, in which time never went on.
        assert_eq!(dialler.deadline(), None);
        fail(&mut dialler, at(0), 1);
        assert_eq!(ports(&dialler.take_due(at(0))), [17]);
    }

    #[test]
    fn only_configured_addresses_are_dialled_for_ever() {
        let mut dialler = Dialler::new(BACKOFF);
        dialler.configure(at(0), address(1), None);
        dialler.know(at(0), address(2), None);
        assert_eq!(ports(&dialler.take_due(at(16 * 60 * 1000))), [1]);
        fail(&mut dialler, at(16 * 60 * 1000), 1);
        dialler.release(at(17 * 60 * 1000), address(1));
        assert_eq!(ports(&dialler.take_due(at(18 * 60 * 1000))), [1]);
        fail(&mut dialler, at(18 * 60 * 1000), 1);
        assert_eq!(ports(&dialler.take_due(at(33 * 60 * 1000))), [0; 0], "no more, after a quarter of an hour");
    }
}
