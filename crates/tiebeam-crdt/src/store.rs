//! The one kernel: values under keys, each written by a dot, and the context of all dots seen.

mod merge;
mod piece;
mod read;

use std::collections::BTreeMap;

pub use merge::Change;
pub use piece::{KeptError, Piece};

use crate::{CausalContext, Dot, DotSet, MintError, ReplicaId};

/// What a [`DotStore`] keeps under a key.
pub trait Value: Clone + PartialEq {
    /// What decides between values that were written without knowing of each other.
    type Rank: Ord;

    /// Returns the rank; the highest is read. Equal ranks are decided by the dot, so by the replica first.
    fn rank(&self) -> Self::Rank;
}

impl Value for () {
    type Rank = ();

    fn rank(&self) {}
}

/// Values under keys, each under the dot that wrote it. State, delta and answer to a gap are all of this type.
///
/// A dot that was seen and is not held was removed; that is all there is of a removal, so removals leave nothing behind.
/// The types that users know ([`AwSet`](crate::AwSet) and the others) are names of this one for certain values, with
/// mutators of their own.
#[derive(Clone, Debug)]
pub struct DotStore<K, V> {
    dots: BTreeMap<Dot, (K, V)>,
    /// The dots of each key, sorted: one, but for keys that several replicas wrote without knowing of each other.
    keys: BTreeMap<K, Vec<Dot>>,
    context: CausalContext,
    /// The sum of the hashes of all held dots, so that a digest needs no walk.
    held: u64,
}

impl<K, V> Default for DotStore<K, V> {
    fn default() -> Self {
        Self { dots: BTreeMap::new(), keys: BTreeMap::new(), context: CausalContext::default(), held: 0 }
    }
}

impl<K: Ord + Clone, V: Value> PartialEq for DotStore<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.context == other.context && self.dots == other.dots
    }
}

impl<K, V> DotStore<K, V> {
    /// Makes an empty one, which has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<K: Ord + Clone, V: Value> DotStore<K, V> {
    /// Makes a store of its parts, or nothing if an entry's dot is unseen or there twice.
    pub(crate) fn from_parts(context: CausalContext, entries: Vec<(Dot, K, V)>) -> Option<Self> {
        let mut store = Self { context, ..Self::default() };
        for (dot, key, value) in entries {
            let seen = store.context.dots().contains(&dot);
            if !seen || store.dots.contains_key(&dot) {
                return None;
            }
            store.hold(dot, key, value);
        }
        Some(store)
    }

    /// Makes a delta with `change`, merges it, and returns it with what it changed: the usual way to write.
    ///
    /// # Errors
    /// Those of `change`; then nothing was changed.
    pub fn update<E>(&mut self, change: impl FnOnce(&Self) -> Result<Self, E>) -> Result<(Self, Vec<Change<K, V>>), E> {
        let delta = change(self)?;
        let changes = self.merge(&delta);
        Ok((delta, changes))
    }

    /// Returns the delta that forgets `replica` and all earlier incarnations of its node: all they contributed goes, and
    /// whatever of theirs comes later is refused.
    ///
    /// To be called only when consensus, or the start of a later incarnation, says that the replica is gone for good.
    #[must_use]
    pub fn forget(&self, replica: ReplicaId) -> Self {
        let mut delta = Self::default();
        delta.context.forget(replica);
        delta
    }

    /// Returns the delta by which `replica` writes `value` under `key` in place of what `superseded` wrote.
    pub(crate) fn written(
        &self,
        replica: ReplicaId,
        key: K,
        value: V,
        superseded: impl IntoIterator<Item = Dot>,
    ) -> Result<Self, MintError> {
        let dot = self.context.next(replica)?;
        let mut delta = Self::erased(superseded);
        delta.context.insert(dot);
        delta.hold(dot, key, value);
        Ok(delta)
    }

    /// Returns the delta that removes what `dots` wrote, and nothing that was written without knowing of it.
    pub(crate) fn erased(dots: impl IntoIterator<Item = Dot>) -> Self {
        let mut delta = Self::default();
        dots.into_iter().for_each(|dot| delta.context.insert(dot));
        delta
    }

    /// The dots under `key` that `replica` wrote.
    pub(crate) fn own_dots(&self, replica: ReplicaId, key: &K) -> impl Iterator<Item = Dot> {
        self.dots_of(key).iter().copied().filter(move |dot| dot.replica == replica)
    }

    fn hold(&mut self, dot: Dot, key: K, value: V) {
        let dots = self.keys.entry(key.clone()).or_default();
        let at = dots.partition_point(|other| *other < dot);
        dots.insert(at, dot);
        self.dots.insert(dot, (key, value));
        self.held = self.held.wrapping_add(dot.hash());
    }

    fn drop_dot(&mut self, dot: Dot) {
        let Some((key, _)) = self.dots.remove(&dot) else { return };
        self.held = self.held.wrapping_sub(dot.hash());
        if let Some(dots) = self.keys.get_mut(&key) {
            dots.retain(|other| *other != dot);
            if dots.is_empty() {
                self.keys.remove(&key);
            }
        }
    }

    /// Checks the whole invariant.
    ///
    /// # Panics
    /// If it is broken.
    pub fn check(&self) {
        let mut held = 0_u64;
        for (dot, (key, _)) in &self.dots {
            assert!(self.context.dots().contains(dot), "{dot:?} is held and unseen, or forgotten");
            assert!(self.dots_of(key).contains(dot), "{dot:?} is missing under its key");
            held = held.wrapping_add(dot.hash());
        }
        assert_eq!(held, self.held, "sum of the hashes of held dots");
        let under_keys: usize = self.keys.values().map(Vec::len).sum();
        assert_eq!(under_keys, self.dots.len(), "dots under keys and dots held");
        assert!(self.keys.values().all(|dots| dots.is_sorted() && !dots.is_empty()), "dots of each key");
    }
}

/// A set of no dots, for merges in which nothing is kept by name alone.
const NOTHING_KEPT: DotSet = DotSet::EMPTY;
