use std::collections::BTreeMap;

use tiebeam_wire::{Incarnation, NodeId};

use super::{DotStore, NOTHING_KEPT, Value};
use crate::{Dot, DotSet, Live, ReplicaId};

/// What somebody who watches a key sees: what was read there, and what is. The two differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    /// Where.
    pub key: K,
    /// What was read before; none if the key came.
    pub before: Option<V>,
    /// What is read now; none if the key went.
    pub after: Option<V>,
}

impl<K: Ord + Clone, V: Value> DotStore<K, V> {
    /// Takes in all that `other` holds and has seen, and returns what that changed, in order of keys.
    ///
    /// Commutative, associative and idempotent. The cost follows the size of `other`, a delta as a rule.
    pub fn merge(&mut self, other: &Self) -> Vec<Change<K, V>> {
        self.merge_seen(other, &Live::Everyone)
    }

    /// As [`DotStore::merge`], and returns what changed in the eyes of those who see `live` alone.
    pub fn merge_seen(&mut self, other: &Self, live: &Live) -> Vec<Change<K, V>> {
        self.absorb(other, &NOTHING_KEPT, live)
    }

    /// Returns what changes for those who see `live` when `replica` appears. The state stays as it is.
    #[must_use]
    pub fn changes_when_up(&self, replica: ReplicaId, live: &Live) -> Vec<Change<K, V>> {
        self.changes_between(replica, live, &live.with(replica))
    }

    /// Returns what changes for those who see `live` when `replica` disappears. The state stays as it is.
    #[must_use]
    pub fn changes_when_down(&self, replica: ReplicaId, live: &Live) -> Vec<Change<K, V>> {
        self.changes_between(replica, live, &live.without(replica))
    }

    /// Merges `other`, of which the dots in `kept` are held too though it doesn't bring them.
    pub(super) fn absorb(&mut self, other: &Self, kept: &DotSet, live: &Live) -> Vec<Change<K, V>> {
        let gone = self.removed_by(other, kept);
        let unseen = |dot: &Dot| !self.context.contains(dot);
        let new: Vec<Dot> = other.dots.keys().copied().filter(unseen).collect();
        let mut before: BTreeMap<K, Option<V>> = BTreeMap::new();
        let keys = gone.iter().filter_map(|dot| self.dots.get(dot));
        for (key, _) in keys.chain(new.iter().filter_map(|dot| other.dots.get(dot))) {
            if !before.contains_key(key) {
                before.insert(key.clone(), self.get_seen(key, live).cloned());
            }
        }
        gone.into_iter().for_each(|dot| self.drop_dot(dot));
        for (dot, (key, value)) in new.into_iter().filter_map(|dot| Some((dot, other.dots.get(&dot)?))) {
            self.hold(dot, key.clone(), value.clone());
        }
        self.context.merge(&other.context);
        self.changes_since(before, live)
    }

    /// Finds the held dots that `other` has seen and doesn't hold.
    fn removed_by(&self, other: &Self, kept: &DotSet) -> Vec<Dot> {
        let mut removed = Vec::new();
        for (replica, first, last) in other.context.dots().ranges() {
            let held = self.dots.range(Dot::new(replica, first)..=Dot::new(replica, last)).map(|(dot, _)| *dot);
            removed.extend(held.filter(|dot| !other.dots.contains_key(dot) && !kept.contains(dot)));
        }
        for (node, incarnation) in other.context.forgotten() {
            if !self.context.is_forgotten(ReplicaId::new(node, incarnation)) {
                removed.extend(self.dots_up_to(node, incarnation));
            }
        }
        removed
    }

    fn dots_up_to(&self, node: NodeId, incarnation: Incarnation) -> impl Iterator<Item = Dot> {
        let first = Dot::new(ReplicaId::new(node, Incarnation(0)), 0);
        let last = Dot::new(ReplicaId::new(node, incarnation), u64::MAX);
        self.dots.range(first..=last).map(|(dot, _)| *dot)
    }

    fn changes_since(&self, before: BTreeMap<K, Option<V>>, live: &Live) -> Vec<Change<K, V>> {
        let compared = before.into_iter().map(|(key, before)| {
            let after = self.get_seen(&key, live).cloned();
            Change { key, before, after }
        });
        compared.filter(|change| change.before != change.after).collect()
    }

    fn changes_between(&self, replica: ReplicaId, before: &Live, after: &Live) -> Vec<Change<K, V>> {
        let held = self.dots.range(Dot::new(replica, 0)..=Dot::new(replica, u64::MAX));
        let seen = held.map(|(_, (key, _))| (key.clone(), self.get_seen(key, before).cloned())).collect();
        self.changes_since(seen, after)
    }
}
