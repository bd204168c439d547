//! The kernel beside models that keep all of history: slow, and plain enough to be believed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tiebeam_crdt::{AwSet, Dot, DotStore, Live, LwwMap, PnCounter, ReplicaId, Value};

use crate::subjects::{replica, stamp};

const REPLICAS: u64 = 3;
const KEYS: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Write { key: u8, stamp: u64 },
    Remove { key: u8 },
    Withdraw { key: u8 },
    Forget { who: u64 },
}

#[derive(Clone, Debug)]
enum Step {
    Local {
        at: u64,
        op: Op,
    },
    /// A past event alone arrives: its delta.
    Event {
        event: usize,
        to: u64,
    },
    /// All that one knows arrives: its state.
    State {
        from: u64,
        to: u64,
    },
}

/// What happened somewhere, and the writes it took away: of those that were there, not of those that were gone before.
#[derive(Clone, Debug)]
struct Event {
    by: u64,
    op: Op,
    removed: Vec<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..REPLICAS;
    let op = prop_oneof![
        8 => (0..KEYS, 0..4_u64).prop_map(|(key, stamp)| Op::Write { key, stamp }),
        4 => (0..KEYS).prop_map(|key| Op::Remove { key }),
        2 => (0..KEYS).prop_map(|key| Op::Withdraw { key }),
        1 => (1..REPLICAS).prop_map(|who| Op::Forget { who }),
    ];
    let step = prop_oneof![
        6 => (at(), op).prop_map(|(at, op)| Step::Local { at, op }),
        4 => (any::<usize>(), at()).prop_map(|(event, to)| Step::Event { event, to }),
        2 => (at(), at()).prop_map(|(from, to)| Step::State { from, to }),
    ];
    prop::collection::vec(step, 1..50)
}

/// All events, and which of them each replica knows.
struct History {
    events: Vec<Event>,
    known: Vec<BTreeSet<usize>>,
}

impl History {
    fn forgotten(&self, known: &BTreeSet<usize>) -> BTreeSet<u64> {
        let forget = |event: &usize| if let Op::Forget { who } = self.events[*event].op { Some(who) } else { None };
        known.iter().filter_map(forget).collect()
    }

    /// The writes under `key` that nothing known takes away.
    fn left(&self, known: &BTreeSet<usize>, key: u8) -> Vec<usize> {
        let forgotten = self.forgotten(known);
        let written = |event: &&usize| matches!(self.events[**event].op, Op::Write { key: of, .. } if of == key);
        let alive = |event: &&usize| {
            let write = &self.events[**event];
            let gone = known.iter().any(|other| self.events[*other].removed.contains(event));
            !gone && !forgotten.contains(&write.by)
        };
        known.iter().filter(written).filter(alive).copied().collect()
    }
}

/// Plays `steps` on stores and on the model side by side. `mutate` makes the delta of an operation; `removes` says whether
/// the operation of one replica takes away a write that is there.
fn play<K: Ord + Clone, V: Value>(
    steps: &[Step],
    mutate: impl Fn(&DotStore<K, V>, ReplicaId, Op) -> DotStore<K, V>,
    removes: impl Fn(u64, Op, &Event) -> bool,
    mut compare: impl FnMut(&History, &BTreeSet<usize>, &DotStore<K, V>) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut stores: Vec<DotStore<K, V>> = (0..REPLICAS).map(|_| DotStore::new()).collect();
    let mut deltas = Vec::new();
    let mut history = History { events: Vec::new(), known: vec![BTreeSet::new(); REPLICAS as usize] };
    for step in steps {
        let to = match step {
            Step::Local { at, op } => {
                let store = &stores[*at as usize];
                // Who was forgotten can't write, and a write that never was is no event.
                let refused = store.context().is_forgotten(replica(*at)) && matches!(op, Op::Write { .. });
                if refused {
                    continue;
                }
                deltas.push(mutate(store, replica(*at), *op));
                let there = (0..KEYS).flat_map(|key| history.left(&history.known[*at as usize], key));
                let removed = there.filter(|event| removes(*at, *op, &history.events[*event])).collect();
                history.events.push(Event { by: *at, op: *op, removed });
                history.known[*at as usize].insert(history.events.len() - 1);
                stores[*at as usize].merge(&deltas[deltas.len() - 1]);
                *at
            }
            Step::Event { .. } if deltas.is_empty() => continue,
            Step::Event { event, to } => {
                let event = event % deltas.len();
                history.known[*to as usize].insert(event);
                stores[*to as usize].merge(&deltas[event]);
                *to
            }
            Step::State { from, to } => {
                let known = history.known[*from as usize].clone();
                history.known[*to as usize].extend(known);
                let state = stores[*from as usize].clone();
                stores[*to as usize].merge(&state);
                *to
            }
        };
        compare(&history, &history.known[to as usize], &stores[to as usize])?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Would break: an add that loses to a removal that never saw it, or survives one that did.
    #[test]
    fn set_holds_the_adds_that_no_removal_knew(steps in steps()) {
        let mutate = |set: &AwSet<u8>, me, op| match op {
            Op::Write { key, .. } => set.add(me, key).unwrap(),
            Op::Remove { key } => set.remove(&key),
            Op::Withdraw { key } => set.withdraw(me, &key),
            Op::Forget { who } => set.forget(replica(who)),
        };
        let removes = |by: u64, op: Op, write: &Event| match (op, write.op) {
            (Op::Remove { key }, Op::Write { key: of, .. }) => key == of,
            (Op::Withdraw { key } | Op::Write { key, .. }, Op::Write { key: of, .. }) => key == of && by == write.by,
            _ => false,
        };
        play(&steps, mutate, removes, |history, known, set| {
            for key in 0..KEYS {
                let left = history.left(known, key);
                prop_assert_eq!(set.contains(&key), !left.is_empty());
                // Each replica's contribution is its own.
                for node in 0..REPLICAS {
                    let seen = set.get_seen(&key, &Live::only([replica(node)])).is_some();
                    prop_assert_eq!(seen, left.iter().any(|event| history.events[*event].by == node));
                }
            }
            Ok(())
        })?;
    }

    /// Would break: a map that reads another value on another replica, or one that a put had replaced knowingly.
    #[test]
    fn map_reads_the_latest_of_the_puts_that_none_knew(steps in steps()) {
        let mutate = |map: &LwwMap<u8, u64>, me, op| match op {
            Op::Write { key, stamp: at } => map.put(me, stamp(at), key, at).unwrap(),
            Op::Remove { key } => map.remove(&key),
            Op::Withdraw { key } => map.withdraw(me, &key),
            Op::Forget { who } => map.forget(replica(who)),
        };
        let removes = |by: u64, op: Op, write: &Event| match (op, write.op) {
            (Op::Remove { key } | Op::Write { key, .. }, Op::Write { key: of, .. }) => key == of,
            (Op::Withdraw { key }, Op::Write { key: of, .. }) => key == of && by == write.by,
            _ => false,
        };
        play(&steps, mutate, removes, |history, known, map| {
            for key in 0..KEYS {
                let left = history.left(known, key);
                let rank = |event: &usize| {
                    let Event { by, op: Op::Write { stamp, .. }, .. } = &history.events[*event] else { unreachable!() };
                    (*stamp, replica(*by))
                };
                let expected = left.iter().map(rank).max();
                let read = map.get(&key).map(|read| read.value);
                prop_assert_eq!(read, expected.map(|(stamp, _)| stamp));
            }
            Ok(())
        })?;
    }

    /// Would break: counts that are lost, or counted twice.
    #[test]
    fn counter_sums_what_each_replica_last_told(steps in steps()) {
        let by = |key: u8, stamp: u64| i64::from(key) * 10 - i64::try_from(stamp).unwrap() * 7;
        let mutate = |counter: &PnCounter, me, op| match op {
            Op::Write { key, stamp } => counter.count(me, by(key, stamp)).unwrap(),
            Op::Forget { who } => counter.forget(replica(who)),
            _ => PnCounter::new(),
        };
        play(&steps, mutate, |_, _, _| false, |history, known, counter| {
            let forgotten = history.forgotten(known);
            // The last event of a replica carries all it counted before.
            let mut last: BTreeMap<u64, usize> = BTreeMap::new();
            for event in known.iter().filter(|event| matches!(history.events[**event].op, Op::Write { .. })) {
                last.insert(history.events[*event].by, *event);
            }
            let mut total = 0_i128;
            for (node, last) in last.into_iter().filter(|(node, _)| !forgotten.contains(node)) {
                for event in &history.events[..=last] {
                    if let (true, Op::Write { key, stamp }) = (event.by == node, event.op) {
                        total += i128::from(by(key, stamp));
                    }
                }
            }
            prop_assert_eq!(counter.total(), total);
            Ok(())
        })?;
    }

    /// Would break: a name for two writes; whoever saw one would never take in the other.
    #[test]
    fn dots_are_never_minted_twice(steps in steps()) {
        let mut minted: BTreeSet<Dot> = BTreeSet::new();
        let minted = std::cell::RefCell::new(&mut minted);
        let mutate = |set: &AwSet<u8>, me, op| match op {
            Op::Write { key, .. } => {
                let delta = set.add(me, key).unwrap();
                let dot = delta.entries().next().unwrap().0;
                assert!(minted.borrow_mut().insert(dot), "{dot:?} names two writes");
                delta
            }
            Op::Remove { key } | Op::Withdraw { key } => set.remove(&key),
            Op::Forget { who } => set.forget(replica(who)),
        };
        play(&steps, mutate, |_, _, _| false, |_, _, set| { set.check(); Ok(()) })?;
    }
}
