//! What is seen of a kind of shared things, and what each watcher was told of it. Pure.
//!
//! Nothing queues for a watcher but the names of what changed, each once. It is told the difference between what it knows
//! and what is, so what is kept for one that never looks is bounded by what was and is seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

/// Names what is watched as a whole: a group, a topic.
pub(crate) trait Topic: Ord + Clone + Send + 'static {}
impl<T: Ord + Clone + Send + 'static> Topic for T {}

/// A change of one entry: one of the two is there, or both and they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told<T, K, V> {
    pub(crate) topic: T,
    pub(crate) key: K,
    pub(crate) before: Option<V>,
    pub(crate) after: Option<V>,
}

/// Says what a watcher wants to hear of.
pub(crate) type Interest<T> = Box<dyn Fn(&T) -> bool + Send>;

/// Entries under topics, and who watches them.
pub(crate) struct Board<T, K, V> {
    topics: BTreeMap<T, BTreeMap<K, Seen<V>>>,
    watchers: BTreeMap<u64, Watcher<T, K, V>>,
    /// Numbers appearances and watchers.
    serial: u64,
}

#[derive(Clone, Debug)]
struct Seen<V> {
    value: V,
    /// Which appearance this is: an entry that went and came back is another one.
    since: u64,
}

struct Watcher<T, K, V> {
    interest: Interest<T>,
    told: BTreeMap<(T, K), Seen<V>>,
    /// What differs from what was told, in the order in which it began to.
    changed: BTreeMap<u64, (T, K)>,
    places: BTreeMap<(T, K), u64>,
    wake: Arc<Notify>,
}

impl<T, K, V> Default for Board<T, K, V> {
    fn default() -> Self {
        Self { topics: BTreeMap::new(), watchers: BTreeMap::new(), serial: 0 }
    }
}

impl<T: Topic, K: Topic, V: Clone + PartialEq> Board<T, K, V> {
    /// Shows another value of an entry, or none.
    pub(crate) fn set(&mut self, topic: &T, key: &K, value: Option<V>) {
        self.serial += 1;
        let serial = self.serial;
        match value {
            Some(value) => {
                let entries = self.topics.entry(topic.clone()).or_default();
                let since = entries.get(key).map_or(serial, |seen| seen.since);
                entries.insert(key.clone(), Seen { value, since });
            }
            None => {
                if let Some(entries) = self.topics.get_mut(topic) {
                    entries.remove(key);
                    if entries.is_empty() {
                        self.topics.remove(topic);
                    }
                }
            }
        }
        let is_seen = self.seen(topic, key).is_some();
        for watcher in self.watchers.values_mut().filter(|watcher| (watcher.interest)(topic)) {
            watcher.note(serial, (topic.clone(), key.clone()), is_seen);
        }
    }

    /// Begins to tell a watcher what it is interested in: first what is seen now.
    pub(crate) fn watch(&mut self, interest: Interest<T>, wake: Arc<Notify>) -> u64 {
        self.serial += 1;
        let id = self.serial;
        let mut watcher =
            Watcher { interest, told: BTreeMap::new(), changed: BTreeMap::new(), places: BTreeMap::new(), wake };
        for (topic, entries) in &self.topics {
            if !(watcher.interest)(topic) {
                continue;
            }
            for key in entries.keys() {
                self.serial += 1;
                watcher.note(self.serial, (topic.clone(), key.clone()), true);
            }
        }
        self.watchers.insert(id, watcher);
        id
    }

    pub(crate) fn unwatch(&mut self, id: u64) {
        self.watchers.remove(&id);
    }

    /// Returns what to tell a watcher next; nothing if it knows all that is.
    pub(crate) fn next(&mut self, id: u64) -> Option<Told<T, K, V>> {
        let watcher = self.watchers.get_mut(&id)?;
        while let Some((_, at)) = watcher.changed.first_key_value() {
            let at = at.clone();
            let seen = self.topics.get(&at.0).and_then(|entries| entries.get(&at.1));
            let told = watcher.told.remove(&at);
            let (before, after) = match (told, seen) {
                // It went and came back while nobody looked: both are told, one after the other.
                (Some(told), Some(seen)) if told.since != seen.since => (Some(told.value), None),
                (told, seen) => {
                    watcher.settle(&at);
                    if let Some(seen) = seen {
                        watcher.told.insert(at.clone(), seen.clone());
                    }
                    (told.map(|told| told.value), seen.map(|seen| seen.value.clone()))
                }
            };
            if before != after {
                return Some(Told { topic: at.0, key: at.1, before, after });
            }
        }
        None
    }

    /// Returns the entries of a topic in the order of their keys.
    pub(crate) fn entries(&self, topic: &T) -> impl Iterator<Item = (&K, &V)> {
        self.topics.get(topic).into_iter().flatten().map(|(key, seen)| (key, &seen.value))
    }

    /// Returns what is seen of an entry.
    pub(crate) fn seen(&self, topic: &T, key: &K) -> Option<&V> {
        self.topics.get(topic)?.get(key).map(|seen| &seen.value)
    }

    /// Returns the topics with entries, in order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &T> {
        self.topics.keys()
    }

    /// Grows with each change of what is seen.
    pub(crate) const fn serial(&self) -> u64 {
        self.serial
    }

    /// Returns how many watch.
    pub(crate) fn watchers_len(&self) -> usize {
        self.watchers.len()
    }
}

impl<T: Topic, K: Topic, V> Watcher<T, K, V> {
    /// Notes that an entry may differ from what was told.
    fn note(&mut self, serial: u64, at: (T, K), is_seen: bool) {
        if !is_seen && !self.told.contains_key(&at) {
            // Came and went: nothing is left to tell, and ever new names must not pile up.
            self.settle(&at);
        } else if !self.places.contains_key(&at) {
            self.places.insert(at.clone(), serial);
            self.changed.insert(serial, at);
            self.wake.notify_one();
        }
    }

    fn settle(&mut self, at: &(T, K)) {
        if let Some(place) = self.places.remove(at) {
            self.changed.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Letters = Board<u8, u8, u8>;

    fn watch(board: &mut Letters, topics: impl Fn(&u8) -> bool + Send + 'static) -> u64 {
        board.watch(Box::new(topics), Arc::default())
    }

    /// Tells all that is left, as `topic key before after`.
    fn tell(board: &mut Letters, id: u64) -> Vec<String> {
        let show = |value: Option<u8>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        std::iter::from_fn(|| board.next(id))
            .map(|told| format!("{} {} {} {}", told.topic, told.key, show(told.before), show(told.after)))
            .collect()
    }

    #[test]
    fn what_is_there_is_told_first_and_then_each_change_in_its_order() {
        let mut board = Letters::default();
        board.set(&1, &7, Some(0));
        board.set(&2, &7, Some(0));
        let (one, all) = (watch(&mut board, |topic| *topic == 1), watch(&mut board, |_| true));
        assert_eq!(tell(&mut board, one), ["1 7 - 0"]);
        assert_eq!(tell(&mut board, all), ["1 7 - 0", "2 7 - 0"]);
        board.set(&2, &9, Some(1));
        board.set(&1, &8, Some(0));
        board.set(&1, &7, None);
        assert_eq!(tell(&mut board, one), ["1 8 - 0", "1 7 0 -"]);
        assert_eq!(tell(&mut board, all), ["2 9 - 1", "1 8 - 0", "1 7 0 -"]);
        assert_eq!(tell(&mut board, all), [""; 0]);
    }

    /// What a watcher knew across a loss is void, so it must hear of the loss also if it slept through it.
    #[test]
    fn entry_that_went_and_came_back_unseen_is_told_as_both() {
        let mut board = Letters::default();
        board.set(&1, &7, Some(3));
        let id = watch(&mut board, |_| true);
        assert_eq!(tell(&mut board, id), ["1 7 - 3"]);
        board.set(&1, &7, None);
        board.set(&1, &7, Some(3));
        assert_eq!(tell(&mut board, id), ["1 7 3 -", "1 7 - 3"]);
    }

    /// Ever new names under a watcher that never looks must not pile up.
    #[test]
    fn what_came_and_went_untold_leaves_nothing() {
        let mut board = Letters::default();
        let id = watch(&mut board, |_| true);
        for key in 0..=255 {
            board.set(&1, &key, Some(0));
            board.set(&1, &key, None);
        }
        assert_eq!((board.watchers[&id].changed.len(), board.watchers[&id].places.len()), (0, 0));
        board.unwatch(id);
        assert_eq!((board.next(id), board.topics().count()), (None, 0));
    }

    proptest! {
        /// Whatever is told, and whenever, adds up to what is; and nothing comes twice or goes unheard of.
        #[test]
        fn told_changes_add_up_to_what_is_seen(
            steps in prop::collection::vec((0..2_u8, 0..3_u8, prop::option::of(0..3_u8), any::<bool>()), 1..80)
        ) {
            let mut board = Letters::default();
            let id = watch(&mut board, |_| true);
            let mut known = BTreeMap::new();
            for (topic, key, value, looks) in steps {
                board.set(&topic, &key, value);
                if looks && let Some(told) = board.next(id) {
                    prop_assert_eq!(known.get(&(told.topic, told.key)), told.before.as_ref());
                    match told.after {
                        Some(after) => known.insert((told.topic, told.key), after),
                        None => known.remove(&(told.topic, told.key)),
                    };
                }
            }
            while let Some(told) = board.next(id) {
                prop_assert_eq!(known.get(&(told.topic, told.key)), told.before.as_ref());
                match told.after {
                    Some(after) => known.insert((told.topic, told.key), after),
                    None => known.remove(&(told.topic, told.key)),
                };
            }
            let seen: BTreeMap<_, _> = board.topics.iter()
                .flat_map(|(topic, entries)| entries.iter().map(|(key, seen)| ((*topic, *key), seen.value))).collect();
            prop_assert_eq!(known, seen);
        }
    }
}
