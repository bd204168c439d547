//! The entries of a registry. Pure.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Key, Value};
use crate::Pid;

pub(super) struct Table<K, V> {
    /// By key, then by number.
    entries: BTreeMap<K, BTreeMap<u64, (Pid, V)>>,
    held: BTreeMap<Pid, BTreeSet<(K, u64)>>,
    /// Numbers the entries in the order of their registration.
    made: u64,
    len: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), held: BTreeMap::new(), made: 0, len: 0 }
    }
}

impl<K: Key, V: Value> Table<K, V> {
    pub(super) fn insert(&mut self, pid: Pid, key: K, value: V) {
        self.made += 1;
        self.len += 1;
        self.held.entry(pid).or_default().insert((key.clone(), self.made));
        self.entries.entry(key).or_default().insert(self.made, (pid, value));
    }

    /// Drops the entries of `pid` under `key`; says whether there were any.
    pub(super) fn remove(&mut self, pid: Pid, key: &K) -> bool {
        let numbers = self.numbers(pid, key);
        for number in &numbers {
            self.drop_entry(key, *number);
        }
        if let Some(held) = self.held.get_mut(&pid) {
            held.retain(|(other, _)| other != key);
            if held.is_empty() {
                self.held.remove(&pid);
            }
        }
        !numbers.is_empty()
    }

    /// Drops all entries of `pid`.
    pub(super) fn forget(&mut self, pid: Pid) {
        for (key, number) in self.held.remove(&pid).unwrap_or_default() {
            self.drop_entry(&key, number);
        }
    }

    /// Replaces the value of `pid` under `key`; says whether there was one.
    pub(super) fn update(&mut self, pid: Pid, key: &K, value: &V) -> bool {
        let numbers = self.numbers(pid, key);
        let mut entries = self.entries.get_mut(key);
        for number in &numbers {
            let entry = entries.as_mut().and_then(|entries| entries.get_mut(number));
            entry.expect("what is held is entered").1 = value.clone();
        }
        !numbers.is_empty()
    }

    /// Lists what is under a key, the oldest first.
    pub(super) fn under<Q: Ord + ?Sized>(&self, key: &Q) -> impl Iterator<Item = &(Pid, V)>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).into_iter().flat_map(BTreeMap::values)
    }

    /// Lists the keys of a process, each once.
    pub(super) fn keys(&self, pid: Pid) -> Vec<K> {
        let mut keys: Vec<_> = self.held.get(&pid).into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.dedup();
        keys
    }

    pub(super) fn holds(&self, pid: Pid) -> bool {
        self.held.contains_key(&pid)
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    fn numbers(&self, pid: Pid, key: &K) -> Vec<u64> {
        let Some(held) = self.held.get(&pid) else { return Vec::new() };
        held.range((key.clone(), 0)..=(key.clone(), u64::MAX)).map(|(_, number)| *number).collect()
    }

    fn drop_entry(&mut self, key: &K, number: u64) {
        let entries = self.entries.get_mut(key).expect("what is held is entered");
        entries.remove(&number).expect("what is held is entered");
        self.len -= 1;
        if entries.is_empty() {
            self.entries.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tiebeam_wire::{Incarnation, NodeId};

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u8),
        Remove(u64, u8),
        Update(u64, u8),
        Forget(u64),
    }

    fn pid(serial: u64) -> Pid {
        Pid { node: NodeId(1), incarnation: Incarnation(1), serial }
    }

    fn step() -> impl Strategy<Value = Step> {
        let (pid, key) = (1..5_u64, 0..4_u8);
        prop_oneof![
            4 => (pid.clone(), key.clone()).prop_map(|(pid, key)| Step::Insert(pid, key)),
            2 => (pid.clone(), key.clone()).prop_map(|(pid, key)| Step::Remove(pid, key)),
            1 => (pid.clone(), key).prop_map(|(pid, key)| Step::Update(pid, key)),
            1 => pid.prop_map(Step::Forget),
        ]
    }

    proptest! {
        /// The model is one list. Fails if an entry outlives its process, goes with another's, or changes its place.
        #[test]
        fn table_holds_what_the_naive_model_holds(steps in prop::collection::vec(step(), 0..60)) {
            let (mut table, mut model) = (Table::default(), Vec::<(u64, u8, usize)>::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(who, key) => {
                        table.insert(pid(who), key, number);
                        model.push((who, key, number));
                    }
                    Step::Remove(who, key) => {
                        let before = model.len();
                        model.retain(|entry| (entry.0, entry.1) != (who, key));
                        prop_assert_eq!(table.remove(pid(who), &key), model.len() < before);
                    }
                    Step::Update(who, key) => {
                        let mut entries: Vec<_> = model.iter_mut().filter(|e| (e.0, e.1) == (who, key)).collect();
                        entries.iter_mut().for_each(|entry| entry.2 = number);
                        prop_assert_eq!(table.update(pid(who), &key, &number), !entries.is_empty());
                    }
                    Step::Forget(who) => {
                        table.forget(pid(who));
                        model.retain(|entry| entry.0 != who);
                    }
                }
                prop_assert_eq!(table.len(), model.len() as u64);
                for key in 0..4 {
                    let expected = model.iter().filter(|e| e.1 == key).map(|e| (pid(e.0), e.2));
                    prop_assert_eq!(table.under(&key).copied().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                }
                for who in 1..5 {
                    let keys: BTreeSet<_> = model.iter().filter(|e| e.0 == who).map(|e| e.1).collect();
                    prop_assert_eq!(table.holds(pid(who)), !keys.is_empty());
                    prop_assert_eq!(table.keys(pid(who)), keys.into_iter().collect::<Vec<_>>());
                }
            }
        }
    }
}
