//! What the laws are tried on: each type with its mutators, driven by numbers.

use std::fmt::Debug;

use tiebeam_crdt::{AwSet, Dot, DotStore, EwFlag, GCounter, LwwMap, PnCounter, ReplicaId, Stamp, Value};
use tiebeam_wire::{Incarnation, NodeId};

/// The replica of a node's first incarnation.
pub(crate) fn replica(node: u64) -> ReplicaId {
    ReplicaId::new(NodeId(node), Incarnation(1))
}

pub(crate) fn dot(node: u64, counter: u64) -> Dot {
    Dot::new(replica(node), counter)
}

pub(crate) fn stamp(wall_ms: u64) -> Stamp {
    Stamp { wall_ms, logical: 0 }
}

/// One type: its mutators are numbered, and refused ones (the replica was forgotten) are empty deltas.
pub(crate) trait Subject {
    type K: Ord + Clone + Debug;
    type V: Value + Debug;

    fn mutate(state: &DotStore<Self::K, Self::V>, me: ReplicaId, kind: u8, pick: u8) -> DotStore<Self::K, Self::V>;
}

pub(crate) enum Sets {}
pub(crate) enum Maps {}
pub(crate) enum Grows {}
pub(crate) enum Counts {}
pub(crate) enum Flags {}

impl Subject for Sets {
    type K = u8;
    type V = ();

    fn mutate(state: &AwSet<u8>, me: ReplicaId, kind: u8, pick: u8) -> AwSet<u8> {
        let element = pick % 4;
        match kind % 4 {
            0 | 1 => state.add(me, element).unwrap_or_default(),
            2 => state.remove(&element),
            _ => state.withdraw(me, &element),
        }
    }
}

impl Subject for Maps {
    type K = u8;
    type V = tiebeam_crdt::Stamped<u8>;

    fn mutate(state: &LwwMap<u8, u8>, me: ReplicaId, kind: u8, pick: u8) -> LwwMap<u8, u8> {
        let key = pick % 3;
        match kind % 4 {
            // Few stamps, so that ties are frequent.
            0 | 1 => state.put(me, stamp(u64::from(pick % 5)), key, pick).unwrap_or_default(),
            2 => state.remove(&key),
            _ => state.withdraw(me, &key),
        }
    }
}

impl Subject for Grows {
    type K = ReplicaId;
    type V = tiebeam_crdt::Count;

    fn mutate(state: &GCounter, me: ReplicaId, _: u8, pick: u8) -> GCounter {
        state.count(me, u64::from(pick)).unwrap_or_default()
    }
}

impl Subject for Counts {
    type K = ReplicaId;
    type V = tiebeam_crdt::Tally;

    fn mutate(state: &PnCounter, me: ReplicaId, _: u8, pick: u8) -> PnCounter {
        state.count(me, i64::from(pick) - 100).unwrap_or_default()
    }
}

impl Subject for Flags {
    type K = ();
    type V = tiebeam_crdt::Enabled;

    fn mutate(state: &EwFlag, me: ReplicaId, kind: u8, _: u8) -> EwFlag {
        if kind.is_multiple_of(2) { state.enable(me).unwrap_or_default() } else { state.disable() }
    }
}
