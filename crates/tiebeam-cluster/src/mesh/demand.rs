//! Keeps what is sent to a node that isn't connected and is dialled for it. Pure: time is handed in.
//!
//! What waits does so in the order in which it was sent, ahead of all that is sent later; it goes with the connection, or
//! comes to nothing as a whole. In the latter case nothing is taken until all who sent were told, as with the end of a
//! connection, so that whoever was told can begin anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tiebeam_resilience::Backoff;
use tiebeam_wire::{Incarnation, Instant, NodeId};

/// Bytes of signals that may wait for one node. Beyond it all that waits for it comes to nothing, and is told so: a hole in
/// the order would be worse.
pub(crate) const NODE_BYTES_MAX: usize = 1024 * 1024;
/// The same for all nodes together. Beyond it a signal that would have to wait is not taken, with the same consequence for
/// what waits for its node.
pub(crate) const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a waiting signal takes besides its bytes, at most.
const SIGNAL_BYTES: usize = 64;

/// A signal that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) lane: usize,
    pub(crate) frame: Bytes,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It waits; the node is being dialled already.
    Taken,
    /// It waits, and the node must be dialled; the number names this attempt.
    Dial(u64),
    /// It was not taken.
    Refused,
    /// It was not taken, and all who wait must be told ([`Demand::told`]).
    Overflow,
}

/// The way to a node that isn't connected.
#[derive(Debug)]
struct Way {
    state: State,
    /// How many dials failed in a row.
    attempt: u32,
}

#[derive(Debug)]
enum State {
    Dialling {
        number: u64,
        waiting: Vec<Waiting>,
        bytes: usize,
        /// Which starts of the node what waits is for.
        starts: BTreeSet<Incarnation>,
    },
    /// All who have ties to these starts are being told that they are lost.
    Ending { starts: BTreeSet<Incarnation> },
    /// It was dialled in vain, or its connection was lost just now.
    Resting { until: Instant },
}

/// All ways. At most one for each member.
#[derive(Debug)]
pub(crate) struct Demand {
    ways: BTreeMap<NodeId, Way>,
    backoff: Backoff,
    bytes: usize,
    number: u64,
}

impl Demand {
    pub(crate) const fn new(backoff: Backoff) -> Self {
        Self { ways: BTreeMap::new(), backoff, bytes: 0, number: 0 }
    }

    /// Lets a signal for this start of a node wait; without a signal only the connection is asked for.
    pub(crate) fn offer(&mut self, now: Instant, node: NodeId, start: Incarnation, signal: Option<Waiting>) -> Offer {
        let size = signal.as_ref().map_or(0, |signal| signal.frame.len() + SIGNAL_BYTES);
        let attempt = match self.ways.get(&node) {
            Some(Way { state: State::Ending { .. }, .. }) => return Offer::Refused,
            Some(Way { state: State::Resting { until }, .. }) if now < *until => return Offer::Refused,
            Some(way) => way.attempt,
            None => 0,
        };
        if self.bytes + size > ALL_BYTES_MAX {
            return self.overflow(node);
        }
        let way = self.ways.entry(node).or_insert(Way { state: State::Resting { until: now }, attempt });
        let mut offer = Offer::Taken;
        if matches!(way.state, State::Resting { .. }) {
            self.number += 1;
            offer = Offer::Dial(self.number);
            let (waiting, starts) = (Vec::new(), BTreeSet::from([start]));
            way.state = State::Dialling { number: self.number, waiting, bytes: 0, starts };
        }
        let State::Dialling { waiting, bytes, starts, .. } = &mut way.state else { return Offer::Refused };
        if size > 0 && *bytes + size > NODE_BYTES_MAX && !waiting.is_empty() {
            return self.overflow(node);
        }
        *bytes += size;
        self.bytes += size;
        starts.insert(start);
        waiting.extend(signal);
        offer
    }

    /// Nothing more fits: what waits for the node comes to nothing.
    fn overflow(&mut self, node: NodeId) -> Offer {
        if self.fail(node, None) { Offer::Overflow } else { Offer::Refused }
    }

    /// A connection to the node is up: hands out what waits for it, in order. Nothing if all who wait must be told before.
    pub(crate) fn take(&mut self, node: NodeId) -> Option<Vec<Waiting>> {
        match self.ways.get_mut(&node).map(|way| &mut way.state) {
            Some(State::Ending { .. }) => return None,
            Some(State::Dialling { waiting, bytes, .. }) => {
                self.bytes -= *bytes;
                let waiting = std::mem::take(waiting);
                self.ways.remove(&node);
                return Some(waiting);
            }
            Some(State::Resting { .. }) | None => {}
        }
        self.ways.remove(&node);
        Some(Vec::new())
    }

    /// A dial failed, or will; `number` names the attempt, none if any is meant. What waits is dropped. Says whether those
    /// who wait are to be told.
    pub(crate) fn fail(&mut self, node: NodeId, number: Option<u64>) -> bool {
        let Some(way) = self.ways.get_mut(&node) else { return false };
        let State::Dialling { number: current, bytes, starts, .. } = &mut way.state else { return false };
        if number.is_some_and(|number| number != *current) {
            return false;
        }
        self.bytes -= *bytes;
        let starts = std::mem::take(starts);
        way.state = State::Ending { starts };
        true
    }

    /// The connection to this start of a node is gone, and those who have ties across it will be told. With no way to it.
    pub(crate) fn close(&mut self, node: NodeId, start: Incarnation) {
        let state = State::Ending { starts: BTreeSet::from([start]) };
        self.ways.insert(node, Way { state, attempt: 0 });
    }

    /// Which starts of the node those who wait must be told of, if they must be.
    pub(crate) fn ending(&self, node: NodeId) -> Option<BTreeSet<Incarnation>> {
        match &self.ways.get(&node)?.state {
            State::Ending { starts } => Some(starts.clone()),
            _ => None,
        }
    }

    /// All who waited were told. The node is dialled again when it is asked for after a pause: whoever was told that a
    /// connection is lost has time to hear of it before what it sends takes the next one.
    pub(crate) fn told(&mut self, now: Instant, node: NodeId, random: u64) {
        let Some(way) = self.ways.get_mut(&node) else { return };
        if matches!(way.state, State::Ending { .. }) {
            way.state = State::Resting { until: now + self.backoff.delay(way.attempt, random) };
            way.attempt = way.attempt.saturating_add(1);
        }
        // Numbers of nodes are never used again, so ways to those that are gone would pile up.
        let forget_after = self.backoff.max;
        self.ways.retain(|_, way| !matches!(way.state, State::Resting { until } if now.since(until) > forget_after));
    }

    /// Says whether the node is being dialled.
    pub(crate) fn is_dialling(&self, node: NodeId) -> bool {
        matches!(self.ways.get(&node), Some(Way { state: State::Dialling { .. }, .. }))
    }

    /// Forgets that dials failed: the node is gone.
    pub(crate) fn forget(&mut self, node: NodeId) {
        if matches!(self.ways.get(&node), Some(Way { state: State::Resting { .. }, .. })) {
            self.ways.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NODE: NodeId = NodeId(7);
    const START: Incarnation = Incarnation(3);

    fn at(ms: u64) -> Instant {
        Instant { nanos: ms * 1_000_000 }
    }

    fn demand() -> Demand {
        Demand::new(Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) })
    }

    fn signal(size: usize, byte: u8) -> Option<Waiting> {
        Some(Waiting { lane: usize::from(byte), frame: vec![byte; size].into() })
    }

    fn offer(demand: &mut Demand, size: usize, byte: u8) -> Offer {
        demand.offer(at(0), NODE, START, signal(size, byte))
    }

    #[test]
    fn what_waits_goes_with_the_connection_in_its_order() {
        let mut demand = demand();
        assert_eq!(offer(&mut demand, 1, 1), Offer::Dial(1));
        assert_eq!((offer(&mut demand, 1, 2), offer(&mut demand, 1, 3)), (Offer::Taken, Offer::Taken));
        let lanes: Vec<_> = demand.take(NODE).unwrap().into_iter().map(|waiting| waiting.lane).collect();
        assert_eq!((lanes, demand.bytes, demand.ways.len()), (vec![1, 2, 3], 0, 0));
    }

    /// Without the state in between, whoever was told and tried again would have its new ties told as lost with the old.
    #[test]
    fn nothing_is_taken_between_a_failure_and_its_being_told() {
        let mut demand = demand();
        offer(&mut demand, 1, 1);
        demand.offer(at(0), NODE, Incarnation(2), signal(1, 2));
        assert!(demand.fail(NODE, Some(1)));
        assert_eq!(demand.ending(NODE), Some(BTreeSet::from([Incarnation(2), START])));
        assert_eq!((offer(&mut demand, 1, 3), demand.take(NODE)), (Offer::Refused, None));
        assert_eq!((demand.fail(NODE, Some(1)), demand.bytes), (false, 0), "told once");
        demand.told(at(0), NODE, u64::MAX);
        assert_eq!(demand.ending(NODE), None);
    }

    /// Each call to a node that nobody reaches would be a handshake.
    #[test]
    fn node_that_was_dialled_in_vain_rests_for_longer_each_time() {
        let mut demand = demand();
        for (number, pause) in [(1, 100), (2, 200), (3, 400)] {
            let now = at(1000 * number);
            assert_eq!(demand.offer(now, NODE, START, None), Offer::Dial(number));
            demand.fail(NODE, None);
            demand.told(now, NODE, u64::MAX);
            assert_eq!(demand.offer(at(1000 * number + pause - 1), NODE, START, None), Offer::Refused);
        }
        demand.forget(NODE);
        assert_eq!(demand.offer(at(3001), NODE, START, None), Offer::Dial(4));
    }

    /// Edges come and go under ever new numbers.
    #[test]
    fn ways_that_nobody_asks_for_are_forgotten() {
        let mut demand = demand();
        for node in 0..100 {
            demand.close(NodeId(node), START);
            demand.told(at(node * 1000), NodeId(node), u64::MAX);
        }
        assert_eq!(demand.ways.len(), 6);
    }

    /// A dial that fails late must not take along what waits for the next one.
    #[test]
    fn earlier_dial_ends_nothing_of_a_later_one() {
        let mut demand = demand();
        offer(&mut demand, 1, 1);
        demand.fail(NODE, None);
        demand.told(at(0), NODE, 0);
        assert_eq!(demand.offer(at(500), NODE, START, None), Offer::Dial(2));
        assert!(!demand.fail(NODE, Some(1)));
        assert!(demand.is_dialling(NODE));
    }

    /// One refused in the middle would be a hole; unbounded, a node that doesn't answer would fill this one's memory.
    #[test]
    fn beyond_the_limit_all_that_waits_comes_to_nothing() {
        let mut demand = demand();
        assert_eq!(offer(&mut demand, 2 * NODE_BYTES_MAX, 1), Offer::Dial(1), "a single one always goes");
        assert_eq!(offer(&mut demand, 1, 2), Offer::Overflow);
        assert_eq!((offer(&mut demand, 1, 3), demand.bytes), (Offer::Refused, 0));
        for node in 100..=164 {
            let taken = demand.offer(at(0), NodeId(node), START, signal(NODE_BYTES_MAX - SIGNAL_BYTES, 0));
            assert_eq!(matches!(taken, Offer::Dial(_)), node < 164, "{node}: {taken:?}");
        }
        assert_eq!(demand.offer(at(0), NodeId(100), START, signal(1, 0)), Offer::Overflow);
        assert_eq!(demand.bytes, 63 * NODE_BYTES_MAX);
    }

    #[test]
    fn end_of_a_connection_is_told_before_it_is_dialled_again() {
        let mut demand = demand();
        demand.close(NODE, START);
        assert_eq!((offer(&mut demand, 1, 1), demand.ending(NODE).unwrap().len()), (Offer::Refused, 1));
        demand.told(at(0), NODE, u64::MAX);
        assert_eq!(offer(&mut demand, 1, 1), Offer::Refused, "those who were told have time to hear of it");
        assert_eq!(demand.offer(at(100), NODE, START, None), Offer::Dial(1));
    }
}
