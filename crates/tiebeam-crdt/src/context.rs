use std::collections::BTreeMap;

use tiebeam_wire::{Incarnation, NodeId};

use crate::ranges::Ranges;
use crate::replica::mix;
use crate::{Dot, ReplicaId};

/// Why a replica can't write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// It was forgotten: what it wrote would count as removed before anybody saw it.
    #[error("replica {replica} was forgotten and can't write any more")]
    Forgotten {
        /// Who wanted to write.
        replica: ReplicaId,
    },
    /// Its counter is at its end, which no honest replica reaches.
    #[error("replica {replica} has no number left for another write")]
    Exhausted {
        /// Who wanted to write.
        replica: ReplicaId,
    },
}

/// A set of dots, as ranges per replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotSet(BTreeMap<ReplicaId, Ranges>);

impl DotSet {
    pub(crate) const EMPTY: Self = Self(BTreeMap::new());

    /// Adds one dot.
    pub fn insert(&mut self, dot: Dot) {
        self.insert_range(dot.replica, dot.counter, dot.counter);
    }

    pub(crate) fn insert_range(&mut self, replica: ReplicaId, first: u64, last: u64) {
        self.0.entry(replica).or_default().insert(first, last);
    }

    /// Adds the ranges of a replica that wire bytes named; false if it is there already.
    pub(crate) fn insert_ranges(&mut self, replica: ReplicaId, ranges: Ranges) -> bool {
        !ranges.is_empty() && self.0.insert(replica, ranges).is_none()
    }

    fn union(&mut self, other: &Self) {
        for (replica, ranges) in &other.0 {
            self.0.entry(*replica).or_default().union(ranges);
        }
    }

    /// Whether `dot` is in it.
    #[must_use]
    pub fn contains(&self, dot: &Dot) -> bool {
        self.0.get(&dot.replica).is_some_and(|ranges| ranges.contains(dot.counter))
    }

    /// Whether it holds no dot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns its dots as ranges `(replica, first, last)`, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (ReplicaId, u64, u64)> + '_ {
        self.0.iter().flat_map(|(replica, ranges)| ranges.as_slice().iter().map(|(a, b)| (*replica, *a, *b)))
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = (ReplicaId, &Ranges)> + '_ {
        self.0.iter().map(|(replica, ranges)| (*replica, ranges))
    }

    /// Returns the dots after `after` up to and including `upto`, either of which may be open.
    fn between(&self, after: Option<Dot>, upto: Option<Dot>) -> Self {
        let mut part = Self::default();
        for (replica, ranges) in &self.0 {
            if after.is_some_and(|dot| *replica < dot.replica) || upto.is_some_and(|dot| *replica > dot.replica) {
                continue;
            }
            let first = after.filter(|dot| dot.replica == *replica).map_or(1, |dot| dot.counter.saturating_add(1));
            let last = upto.filter(|dot| dot.replica == *replica).map_or(u64::MAX, |dot| dot.counter);
            part.insert_ranges(*replica, ranges.cut(first, last));
        }
        part
    }
}

/// What a replica has seen: every dot whose effect is in its state.
///
/// Of a replica whose writes all came, that is one number, the version vector's; what came early lies beside it in ranges
/// of its own, the cloud, until the gap is filled. Of a forgotten replica all dots count as seen: per node that is one
/// number, the highest incarnation forgotten, and all lower ones with it. So the context grows by one number per node that
/// was ever forgotten, which is what it takes never to resurrect one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CausalContext {
    dots: DotSet,
    forgotten: BTreeMap<NodeId, Incarnation>,
}

impl CausalContext {
    /// Makes a context of its parts, or nothing if dots of a forgotten replica are among them.
    pub(crate) fn from_parts(dots: DotSet, forgotten: BTreeMap<NodeId, Incarnation>) -> Option<Self> {
        let context = Self { dots, forgotten };
        let clean = context.dots.0.keys().all(|replica| !context.is_forgotten(*replica));
        clean.then_some(context)
    }

    /// Takes in that `dot` was seen.
    pub fn insert(&mut self, dot: Dot) {
        if !self.is_forgotten(dot.replica) {
            self.dots.insert(dot);
        }
    }

    /// Takes in all that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        for (node, incarnation) in &other.forgotten {
            self.forget(ReplicaId::new(*node, *incarnation));
        }
        self.dots.union(&other.dots);
        if !self.forgotten.is_empty() {
            let forgotten = &self.forgotten;
            self.dots.0.retain(|replica, _| !is_forgotten(forgotten, *replica));
        }
    }

    /// Forgets `replica` and all earlier incarnations of its node: all they ever wrote counts as seen.
    pub fn forget(&mut self, replica: ReplicaId) {
        let highest = self.forgotten.entry(replica.node).or_insert(replica.incarnation);
        *highest = replica.incarnation.max(*highest);
        let forgotten = &self.forgotten;
        self.dots.0.retain(|replica, _| !is_forgotten(forgotten, *replica));
    }

    /// Returns the dot for the next write of `replica`.
    ///
    /// # Errors
    /// [`MintError::Forgotten`] is final for this replica; so is [`MintError::Exhausted`].
    pub fn next(&self, replica: ReplicaId) -> Result<Dot, MintError> {
        if self.is_forgotten(replica) {
            return Err(MintError::Forgotten { replica });
        }
        // After the last one seen, not into the first gap: what is missing there was written, and may still arrive.
        let counter = self.last(replica).checked_add(1).ok_or(MintError::Exhausted { replica })?;
        Ok(Dot { replica, counter })
    }

    /// Whether `dot` was seen.
    #[must_use]
    pub fn contains(&self, dot: &Dot) -> bool {
        self.is_forgotten(dot.replica) || self.dots.contains(dot)
    }

    /// Whether all that `other` has seen was seen here.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let highest = |node| self.forgotten.get(node);
        other.forgotten.iter().all(|(node, incarnation)| highest(node).is_some_and(|mine| incarnation <= mine))
            && other.dots.0.iter().all(|(replica, ranges)| {
                self.is_forgotten(*replica) || self.dots.0.get(replica).is_some_and(|mine| mine.covers(ranges))
            })
    }

    /// Whether every dot of `dots` was seen.
    #[must_use]
    pub fn covers_dots(&self, dots: &DotSet) -> bool {
        dots.0.iter().all(|(replica, ranges)| {
            self.is_forgotten(*replica) || self.dots.0.get(replica).is_some_and(|mine| mine.covers(ranges))
        })
    }

    /// Whether `replica` was forgotten, or a later incarnation of its node.
    #[must_use]
    pub fn is_forgotten(&self, replica: ReplicaId) -> bool {
        is_forgotten(&self.forgotten, replica)
    }

    /// Whether nothing was seen and nobody forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dots.is_empty() && self.forgotten.is_empty()
    }

    /// Returns the number of the last write of `replica` that was seen, gaps or not; 0 if none was.
    #[must_use]
    pub fn last(&self, replica: ReplicaId) -> u64 {
        self.dots.0.get(&replica).map_or(0, Ranges::last)
    }

    /// Returns the number up to which no write of `replica` is missing; 0 if the first is.
    #[must_use]
    pub fn contiguous(&self, replica: ReplicaId) -> u64 {
        self.dots.0.get(&replica).map_or(0, Ranges::contiguous)
    }

    /// Returns the version vector: up to which write nothing is missing, per replica, in order.
    pub fn vector(&self) -> impl Iterator<Item = (ReplicaId, u64)> + '_ {
        self.dots.0.iter().map(|(replica, ranges)| (*replica, ranges.contiguous()))
    }

    /// Returns the highest incarnation that was forgotten of each node, in order.
    pub fn forgotten(&self) -> impl Iterator<Item = (NodeId, Incarnation)> + '_ {
        self.forgotten.iter().map(|(node, incarnation)| (*node, *incarnation))
    }

    /// Returns the seen dots of replicas that aren't forgotten.
    #[must_use]
    pub const fn dots(&self) -> &DotSet {
        &self.dots
    }

    /// Returns what was seen of the dots after `after` up to and including `upto`, and who was forgotten.
    pub(crate) fn between(&self, after: Option<Dot>, upto: Option<Dot>) -> Self {
        Self { dots: self.dots.between(after, upto), forgotten: self.forgotten.clone() }
    }

    /// Folds the context into 64 bits; equal contexts have equal ones, on every node.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = 0;
        for (replica, first, last) in self.dots.ranges() {
            hash = mix(hash ^ Dot::new(replica, first).hash());
            hash = mix(hash ^ last);
        }
        for (node, incarnation) in &self.forgotten {
            hash = mix(hash ^ Dot::new(ReplicaId::new(*node, *incarnation), 0).hash());
        }
        hash
    }
}

fn is_forgotten(forgotten: &BTreeMap<NodeId, Incarnation>, replica: ReplicaId) -> bool {
    forgotten.get(&replica.node).is_some_and(|highest| replica.incarnation <= *highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(node: u64, incarnation: u64, counter: u64) -> Dot {
        Dot::new(ReplicaId::new(NodeId(node), Incarnation(incarnation)), counter)
    }

    fn context(dots: &[Dot]) -> CausalContext {
        let mut context = CausalContext::default();
        dots.iter().for_each(|dot| context.insert(*dot));
        context
    }

    #[test]
    fn cloud_becomes_vector_when_the_gap_closes() {
        let mut seen = context(&[dot(1, 1, 1), dot(1, 1, 3)]);
        assert_eq!(seen.vector().collect::<Vec<_>>(), [(dot(1, 1, 0).replica, 1)]);
        seen.insert(dot(1, 1, 2));
        assert_eq!(seen, context(&[dot(1, 1, 1), dot(1, 1, 2), dot(1, 1, 3)]));
        assert_eq!(seen.dots().ranges().count(), 1);
    }

    /// A number from the gap would name two writes once the missing one arrives.
    #[test]
    fn next_write_is_numbered_after_the_last_seen_not_into_a_gap() {
        let seen = context(&[dot(1, 1, 1), dot(1, 1, 5)]);
        assert_eq!(seen.next(dot(1, 1, 0).replica), Ok(dot(1, 1, 6)));
    }

    #[test]
    fn forgetting_takes_earlier_incarnations_along_and_spares_later_ones() {
        let mut seen = context(&[dot(1, 1, 1), dot(1, 2, 1), dot(1, 3, 1), dot(2, 1, 1)]);
        seen.forget(dot(1, 2, 0).replica);
        let left: Vec<ReplicaId> = seen.vector().map(|(replica, _)| replica).collect();
        assert_eq!(left, [dot(1, 3, 0).replica, dot(2, 1, 0).replica]);
        assert!(seen.contains(&dot(1, 1, 99)) && !seen.contains(&dot(1, 3, 2)));
        assert_eq!(seen.next(dot(1, 2, 0).replica), Err(MintError::Forgotten { replica: dot(1, 2, 0).replica }));
    }

    #[test]
    fn numbers_can_end_and_say_so() {
        let seen = context(&[dot(1, 1, u64::MAX)]);
        assert!(matches!(seen.next(dot(1, 1, 0).replica), Err(MintError::Exhausted { .. })));
    }
}
