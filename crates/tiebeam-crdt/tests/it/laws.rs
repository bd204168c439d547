//! The laws of a lattice, for every type, on states that random histories reach.

use proptest::prelude::*;
use tiebeam_crdt::{Change, DotStore, Live};

use crate::subjects::{Counts, Flags, Grows, Maps, Sets, Subject, replica};

const REPLICAS: u64 = 4;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Mutate {
        at: u64,
        kind: u8,
        pick: u8,
    },
    /// The whole state of one goes to another.
    Merge {
        from: u64,
        to: u64,
    },
    /// An earlier delta arrives.
    Deliver {
        delta: usize,
        to: u64,
    },
    Forget {
        at: u64,
        who: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..REPLICAS;
    let step = prop_oneof![
        12 => (at(), any::<u8>(), any::<u8>()).prop_map(|(at, kind, pick)| Step::Mutate { at, kind, pick }),
        3 => (at(), at()).prop_map(|(from, to)| Step::Merge { from, to }),
        6 => (any::<usize>(), at()).prop_map(|(delta, to)| Step::Deliver { delta, to }),
        // Node 0 is never forgotten, so that somebody can always write.
        1 => (at(), 1..REPLICAS).prop_map(|(at, who)| Step::Forget { at, who }),
    ];
    prop::collection::vec(step, 1..40)
}

type Store<S> = DotStore<<S as Subject>::K, <S as Subject>::V>;

/// Plays a history; returns the states it ends in, and all deltas on the way.
fn play<S: Subject>(steps: &[Step]) -> (Vec<Store<S>>, Vec<Store<S>>) {
    let mut states: Vec<Store<S>> = (0..REPLICAS).map(|_| DotStore::new()).collect();
    let mut deltas: Vec<Store<S>> = Vec::new();
    for step in steps {
        let (at, delta) = match step {
            Step::Mutate { at, kind, pick } => {
                let delta = S::mutate(&states[*at as usize], replica(*at), *kind, *pick);
                deltas.push(delta.clone());
                (*at, delta)
            }
            Step::Merge { from, to } => (*to, states[*from as usize].clone()),
            Step::Deliver { .. } if deltas.is_empty() => continue,
            Step::Deliver { delta, to } => (*to, deltas[delta % deltas.len()].clone()),
            Step::Forget { at, who } => {
                let delta = states[*at as usize].forget(replica(*who));
                deltas.push(delta.clone());
                (*at, delta)
            }
        };
        states[at as usize].merge(&delta);
        states[at as usize].check();
    }
    (states, deltas)
}

fn merged<K: Ord + Clone, V: tiebeam_crdt::Value>(a: &DotStore<K, V>, b: &DotStore<K, V>) -> DotStore<K, V> {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

/// Would break: merging that prefers one side, that counts twice, or an order that isn't the merge's own.
fn lattice<S: Subject>(steps: &[Step]) -> Result<(), TestCaseError> {
    let (states, deltas) = play::<S>(steps);
    let all: Vec<&Store<S>> = states.iter().chain(deltas.iter().take(4)).collect();
    for a in &all {
        prop_assert_eq!(&merged(a, a), *a, "idempotent");
        prop_assert!(a.leq(a));
        for b in &all {
            let both = merged(a, b);
            both.check();
            prop_assert_eq!(&both, &merged(b, a), "commutative");
            prop_assert!(a.leq(&both) && b.leq(&both), "upper bound");
            prop_assert_eq!(a.leq(b), both == **b, "leq is the order of merge");
            prop_assert_eq!(a.digest() == b.digest(), a == b, "digests tell states apart");
            for c in all.iter().take(3) {
                prop_assert_eq!(merged(&both, c), merged(a, &merged(b, c)), "associative");
            }
        }
    }
    Ok(())
}

/// Would break: a delta that carries too little (an effect is missing) or too much (it removes what it never saw).
fn deltas_equal_states<S: Subject>(steps: &[Step], order: &[usize]) -> Result<(), TestCaseError> {
    let (states, deltas) = play::<S>(steps);
    let whole = states.iter().fold(DotStore::new(), |all, state| merged(&all, state));
    let mut from_deltas: Store<S> = DotStore::new();
    if !deltas.is_empty() {
        // Any order, some twice, a few whole states between, and then the rest.
        for pick in order {
            from_deltas.merge(&deltas[pick % deltas.len()]);
            if pick % 7 == 0 {
                from_deltas.merge(&states[pick % states.len()]);
            }
        }
    }
    deltas.iter().rev().for_each(|delta| drop(from_deltas.merge(delta)));
    prop_assert_eq!(&from_deltas, &whole);
    // Deltas joined before they are sent do the same as one by one.
    let joined = deltas.iter().fold(DotStore::new(), |all, delta| merged(&all, delta));
    prop_assert_eq!(&merged(&DotStore::new(), &joined), &whole);
    Ok(())
}

/// Would break: watchers that miss a change, or hear of one that isn't.
fn changes_are_the_difference<S: Subject>(steps: &[Step], seen: &[u64]) -> Result<(), TestCaseError> {
    let (states, _) = play::<S>(steps);
    let live = Live::only(seen.iter().map(|node| replica(*node)));
    let read = |state: &Store<S>, live: &Live| -> Vec<(S::K, S::V)> {
        state.iter_seen(live).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    for (a, b) in states.iter().zip(&states[1..]) {
        let mut state = a.clone();
        let changes = state.merge_seen(b, &live);
        prop_assert_eq!(changed(read(a, &live), &changes), read(&state, &live));
        for node in 0..REPLICAS {
            let (up, down) = (live.with(replica(node)), live.without(replica(node)));
            let changes = a.changes_when_up(replica(node), &live);
            prop_assert_eq!(changed(read(a, &live), &changes), read(a, &up));
            let changes = a.changes_when_down(replica(node), &live);
            prop_assert_eq!(changed(read(a, &live), &changes), read(a, &down));
        }
    }
    Ok(())
}

/// Applies changes to what was read, and checks that each says the truth about what was there.
fn changed<K: Ord + Clone + std::fmt::Debug, V: Clone + PartialEq + std::fmt::Debug>(
    read: Vec<(K, V)>,
    changes: &[Change<K, V>],
) -> Vec<(K, V)> {
    let mut read: std::collections::BTreeMap<K, V> = read.into_iter().collect();
    assert!(changes.is_sorted_by(|a, b| a.key < b.key), "in order of keys, each once");
    for change in changes {
        assert_ne!(change.before, change.after);
        let before = match &change.after {
            Some(after) => read.insert(change.key.clone(), after.clone()),
            None => read.remove(&change.key),
        };
        assert_eq!(before, change.before);
    }
    read.into_iter().collect()
}

/// Would break: an answer that is less than a merge, or that does harm when its parts are lost, doubled or reordered.
fn pieces_equal_the_merge<S: Subject>(steps: &[Step], dots_max: usize, order: &[usize]) -> Result<(), TestCaseError> {
    let (states, _) = play::<S>(steps);
    for (a, b) in states.iter().zip(&states[1..]) {
        let (mut pieces, mut after) = (Vec::new(), None);
        loop {
            let piece = a.piece(b.context(), after, dots_max);
            after = piece.next;
            pieces.push(piece);
            if after.is_none() {
                break;
            }
            prop_assert!(pieces.len() <= a.held_len() + 1, "each piece speaks of at least one dot");
        }
        let whole = merged(b, a);
        let mut state = b.clone();
        for pick in order {
            let piece = &pieces[pick % pieces.len()];
            prop_assert!(state.merge_piece(piece, &Live::Everyone).is_ok());
            state.check();
            prop_assert!(state.leq(&whole), "a part does no more than the whole");
        }
        for piece in pieces.iter().rev() {
            prop_assert!(state.merge_piece(piece, &Live::Everyone).is_ok());
        }
        prop_assert_eq!(&state, &whole);
    }
    Ok(())
}

macro_rules! for_each_type {
    ($($name:ident: $subject:ty),*) => {$(
        mod $name {
            use super::*;

            proptest! {
                #[test]
                fn merge_is_a_lattice(steps in steps()) {
                    lattice::<$subject>(&steps)?;
                }

                #[test]
                fn deltas_in_any_order_equal_states(
                    steps in steps(),
                    order in prop::collection::vec(any::<usize>(), 0..40),
                ) {
                    deltas_equal_states::<$subject>(&steps, &order)?;
                }

                #[test]
                fn changes_are_what_watchers_see(
                    steps in steps(),
                    seen in prop::collection::vec(0..REPLICAS, 0..3),
                ) {
                    changes_are_the_difference::<$subject>(&steps, &seen)?;
                }

                #[test]
                fn pieces_in_any_order_equal_the_merge(
                    steps in steps(),
                    dots_max in 1..4_usize,
                    order in prop::collection::vec(any::<usize>(), 0..8),
                ) {
                    pieces_equal_the_merge::<$subject>(&steps, dots_max, &order)?;
                }
            }
        }
    )*};
}

for_each_type! { aw_set: Sets, lww_map: Maps, g_counter: Grows, pn_counter: Counts, ew_flag: Flags }
