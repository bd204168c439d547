use serde::{Deserialize, Serialize};

use crate::{DotStore, MintError, ReplicaId, Stamp, Value};

/// A value with the moment at which it was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped<V> {
    /// When it was put, by the clock of who put it.
    pub stamp: Stamp,
    /// The value.
    pub value: V,
}

impl<V: Clone + PartialEq> Value for Stamped<V> {
    type Rank = Stamp;

    fn rank(&self) -> Stamp {
        self.stamp
    }
}

/// A map in which a put wins over a removal that didn't know of it, and over every put that it did know of.
///
/// Of puts that didn't know of each other all are kept until the next one, and the latest stamp is read; of equal stamps,
/// that of the higher replica. So a clock that runs ahead wins such a meeting, and loses to whoever has seen its value.
///
/// Who overwrites takes over: what was there is removed, and doesn't come back when its successor is hidden or forgotten.
///
/// ```
/// use tiebeam_crdt::{LwwMap, ReplicaId, Stamp};
/// use tiebeam_wire::{Incarnation, NodeId};
///
/// let (here, there) = (ReplicaId::new(NodeId(1), Incarnation(1)), ReplicaId::new(NodeId(2), Incarnation(1)));
/// let at = |wall_ms| Stamp { wall_ms, logical: 0 };
/// let (mut a, mut b) = (LwwMap::new(), LwwMap::new());
/// let (first, _) = a.update(|map| map.put(here, at(10), "load", 3))?;
/// let (second, _) = b.update(|map| map.put(there, at(12), "load", 5))?;
/// a.merge(&second);
/// b.merge(&first);
/// assert_eq!((&a.get(&"load").unwrap().value, a == b), (&5, true));
/// # Ok::<(), tiebeam_crdt::MintError>(())
/// ```
pub type LwwMap<K, V> = DotStore<K, Stamped<V>>;

impl<K: Ord + Clone, V: Clone + PartialEq> DotStore<K, Stamped<V>> {
    /// Returns the delta by which `replica` puts `value` under `key`, in place of all values seen there.
    ///
    /// # Errors
    /// As [`CausalContext::next`](crate::CausalContext::next).
    pub fn put(&self, replica: ReplicaId, stamp: Stamp, key: K, value: V) -> Result<Self, MintError> {
        let seen = self.dots_of(&key).to_vec();
        self.written(replica, key, Stamped { stamp, value }, seen)
    }

    /// Returns the delta by which `replica` puts `value` under `key`, in place of what it put there itself. What others put
    /// stays beside it and is read again when this goes: for values that only their own replica may take away.
    ///
    /// # Errors
    /// As [`CausalContext::next`](crate::CausalContext::next).
    pub fn put_beside(&self, replica: ReplicaId, stamp: Stamp, key: K, value: V) -> Result<Self, MintError> {
        let own: Vec<_> = self.own_dots(replica, &key).collect();
        self.written(replica, key, Stamped { stamp, value }, own)
    }

    /// Returns the delta that removes all values seen under `key`; it changes nothing if there are none.
    #[must_use]
    pub fn remove(&self, key: &K) -> Self {
        Self::erased(self.dots_of(key).iter().copied())
    }

    /// Returns the delta that removes what `replica` itself put under `key`.
    #[must_use]
    pub fn withdraw(&self, replica: ReplicaId, key: &K) -> Self {
        Self::erased(self.own_dots(replica, key))
    }
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::{Incarnation, NodeId};

    use super::*;
    use crate::Live;

    /// A put that took over what it only stands beside would leave nothing when its own replica is lost.
    #[test]
    fn value_put_beside_another_leaves_it_and_is_withdrawn_alone() {
        let [one, two] = [1, 2].map(|node| ReplicaId::new(NodeId(node), Incarnation(1)));
        let at = |wall_ms| Stamp { wall_ms, logical: 0 };
        let mut map = LwwMap::new();
        map.update(|map| map.put_beside(one, at(1), "name", 'a')).unwrap();
        map.update(|map| map.put_beside(two, at(2), "name", 'b')).unwrap();
        map.update(|map| map.put_beside(two, at(3), "name", 'c')).unwrap();
        assert_eq!((map.held_len(), map.get(&"name").unwrap().value), (2, 'c'));
        assert_eq!(map.get_seen(&"name", &Live::only([one])).unwrap().value, 'a');
        map.merge(&map.withdraw(two, &"name"));
        assert_eq!(map.get(&"name").unwrap().value, 'a');
        map.check();
    }
}
