use super::{DotStore, Value};
use crate::replica::mix;
use crate::{CausalContext, Dot, Live};

impl<K: Ord + Clone, V: Value> DotStore<K, V> {
    /// Returns what is read under `key`: of several values that didn't know of each other, the highest in rank.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.get_seen(key, &Live::Everyone)
    }

    /// As [`DotStore::get`], for those who see `live` alone.
    #[must_use]
    pub fn get_seen(&self, key: &K, live: &Live) -> Option<&V> {
        self.highest(self.dots_of(key), live)
    }

    /// Returns keys and what is read there, in order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.iter_seen(&Live::Everyone)
    }

    /// As [`DotStore::iter`], for those who see `live` alone.
    pub fn iter_seen<'a>(&'a self, live: &'a Live) -> impl Iterator<Item = (&'a K, &'a V)> {
        self.keys.iter().filter_map(move |(key, dots)| Some((key, self.highest(dots, live)?)))
    }

    /// Returns every value held with its dot and key, in order of dots.
    pub fn entries(&self) -> impl Iterator<Item = (Dot, &K, &V)> {
        self.dots.iter().map(|(dot, (key, value))| (*dot, key, value))
    }

    /// Returns the dots of the values under `key`, sorted; empty if there are none.
    #[must_use]
    pub fn dots_of(&self, key: &K) -> &[Dot] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns how many keys have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns how many values are held: more than keys, where several replicas wrote one.
    #[must_use]
    pub fn held_len(&self) -> usize {
        self.dots.len()
    }

    /// Whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether merging it changes nothing anywhere: it holds nothing and has seen nothing.
    #[must_use]
    pub fn is_bottom(&self) -> bool {
        self.context.is_empty()
    }

    /// Whether merging this into `other` would change nothing: all it has seen was seen there, and nothing that was
    /// removed here is held there.
    #[must_use]
    pub fn leq(&self, other: &Self) -> bool {
        let removed_here = |dot: &Dot| self.context.contains(dot) && !self.dots.contains_key(dot);
        other.context.covers(&self.context) && !other.dots.keys().any(removed_here)
    }

    /// Returns what was seen.
    #[must_use]
    pub const fn context(&self) -> &CausalContext {
        &self.context
    }

    /// Folds the state into 64 bits: equal states have equal ones on every node, and different states different ones, but
    /// for one chance in 2^64.
    ///
    /// The held dots are in it beside the context, because the context alone doesn't tell states apart: a removal makes no
    /// dot, and of a forgotten replica's removals some came in time at one node and too late at another.
    #[must_use]
    pub fn digest(&self) -> u64 {
        mix(self.context.hash() ^ mix(self.held))
    }

    fn highest(&self, dots: &[Dot], live: &Live) -> Option<&V> {
        let seen = dots.iter().filter(|dot| live.contains(dot.replica));
        let values = seen.filter_map(|dot| Some((dot, &self.dots.get(dot)?.1)));
        // The later of equals is taken, and dots are sorted.
        values.max_by_key(|(_, value)| value.rank()).map(|(_, value)| value)
    }
}
