use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_log::{RestoreError, StateMachine};

use crate::txn::{Op, Pair, Query, QueryReply, Revision, Txn, TxnReply, decode, encode};

/// Most pairs in the answer to one list query.
const LIST_MAX: u32 = 1_000;

/// All keys of a store, as a function of the transactions applied to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvState {
    revision: Revision,
    keys: BTreeMap<String, Held>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    value: Bytes,
    revision: Revision,
}

impl KvState {
    /// Does `txn`, or says why not.
    pub fn commit(&mut self, txn: &Txn) -> TxnReply {
        if let Err(error) = txn.validate() {
            return TxnReply::Invalid(error.to_string());
        }
        let found = |key: &str| self.keys.get(key).map_or_else(Revision::default, |held| held.revision);
        if txn.compare.iter().any(|c| found(&c.key) != c.revision) {
            return TxnReply::Conflict(txn.compare.iter().filter_map(|c| self.get(&c.key)).collect());
        }
        self.revision.0 += 1;
        for op in &txn.then {
            match op {
                Op::Put { key, value } => {
                    self.keys.insert(key.clone(), Held { value: value.clone(), revision: self.revision });
                }
                Op::Delete { key } => drop(self.keys.remove(key)),
            }
        }
        TxnReply::Done(self.revision)
    }

    /// Returns the pair of `key`, if there is one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Pair> {
        let held = self.keys.get(key)?;
        Some(Pair { key: key.to_owned(), value: held.value.clone(), revision: held.revision })
    }

    /// Returns the pairs whose keys begin with `prefix`, in order of key.
    pub fn list<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = Pair> + 'a {
        let from = self.keys.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, held)| Pair {
            key: key.clone(),
            value: held.value.clone(),
            revision: held.revision,
        })
    }

    /// The revision of the last change.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }
}

impl StateMachine for KvState {
    fn apply(&mut self, _: u64, command: &Bytes) -> Bytes {
        let reply = match decode::<Txn>(command) {
            Ok(txn) => self.commit(&txn),
            Err(error) => TxnReply::Invalid(error.to_string()),
        };
        encode(&reply)
    }

    fn query(&self, request: &[u8]) -> Bytes {
        let pairs = match decode::<Query>(request) {
            Ok(Query::Get(key)) => self.get(&key).into_iter().collect(),
            Ok(Query::List { prefix, after, limit }) => {
                let limit = limit.min(LIST_MAX) as usize;
                self.list(&prefix).filter(|pair| pair.key > after).take(limit).collect()
            }
            // An empty answer can't be decoded by the caller, which is how it learns that it was not understood.
            Err(_) => return Bytes::new(),
        };
        encode(&QueryReply { revision: self.revision, pairs })
    }

    fn snapshot(&self) -> Vec<u8> {
        encode(self).to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = decode(snapshot)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::txn::Compare;

    fn put(key: &str, value: &str) -> Txn {
        let then = vec![Op::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }];
        Txn { compare: Vec::new(), then }
    }

    /// Would fail if a comparison were skipped, or if half a transaction were done.
    #[test]
    fn failed_comparison_changes_nothing() {
        let mut state = KvState::default();
        assert_eq!(state.commit(&put("a", "1")), TxnReply::Done(Revision(1)));
        let before = state.clone();
        let mut txn = put("b", "2");
        txn.compare.push(Compare { key: "a".to_owned(), revision: Revision(0) });
        let TxnReply::Conflict(pairs) = state.commit(&txn) else { panic!("comparison held") };
        assert_eq!(pairs[0].revision, Revision(1));
        assert_eq!(state, before);
    }

    #[test]
    fn compared_transaction_acts_once_when_proposed_twice() {
        let mut state = KvState::default();
        let txn = Txn::put_if("leader", Revision(0), "n1");
        assert_eq!(state.commit(&txn), TxnReply::Done(Revision(1)));
        assert!(matches!(state.commit(&txn), TxnReply::Conflict(_)));
        assert_eq!(state.revision(), Revision(1));
    }

    #[test]
    fn command_that_is_garbage_is_answered_and_changes_nothing() {
        let mut state = KvState::default();
        let reply = state.apply(0, &Bytes::from_static(b"\x01\xff\xff\xff"));
        assert!(matches!(decode(&reply).unwrap(), TxnReply::Invalid(_)));
        assert_eq!(state, KvState::default());
    }

    #[test]
    fn bytes_of_a_transaction_are_golden() {
        let bytes = encode(&Txn::put_if("k", Revision(7), "v"));
        assert_eq!(bytes[..], [1, 1, 1, b'k', 7, 1, 0, 1, b'k', 1, b'v']);
    }

    #[test]
    fn list_is_ordered_and_stops_at_the_prefix() {
        let mut state = KvState::default();
        for key in ["b/2", "a/1", "b/1", "c"] {
            state.commit(&put(key, key));
        }
        let keys: Vec<String> = state.list("b/").map(|pair| pair.key).collect();
        assert_eq!(keys, ["b/1", "b/2"]);
    }

    fn ops() -> impl Strategy<Value = Vec<(u8, Option<u8>, Option<u64>)>> {
        prop::collection::vec((0_u8..4, prop::option::of(any::<u8>()), prop::option::of(0_u64..6)), 0..40)
    }

    proptest! {
        /// Against a naive model that knows only values and the number of changes.
        #[test]
        fn behaves_as_a_map_with_versions(ops in ops()) {
            let mut state = KvState::default();
            let mut model: HashMap<String, (u8, u64)> = HashMap::new();
            let mut revision = 0;
            for (key, value, expected) in ops {
                let key = format!("k{key}");
                let compare = expected.map(|r| Compare { key: key.clone(), revision: Revision(r) }).into_iter().collect();
                let then = vec![match value {
                    Some(v) => Op::Put { key: key.clone(), value: vec![v].into() },
                    None => Op::Delete { key: key.clone() },
                }];
                let done = matches!(state.commit(&Txn { compare, then }), TxnReply::Done(_));
                let holds = expected.is_none_or(|r| model.get(&key).map_or(0, |m| m.1) == r);
                prop_assert_eq!(done, holds);
                if holds {
                    revision += 1;
                    match value {
                        Some(v) => drop(model.insert(key, (v, revision))),
                        None => drop(model.remove(&key)),
                    }
                }
            }
            prop_assert_eq!(state.list("").count(), model.len());
            for (key, (value, revision)) in model {
                let pair = state.get(&key).unwrap();
                prop_assert_eq!((pair.value[0], pair.revision.0), (value, revision));
            }
            let mut restored = KvState::default();
            restored.restore(&state.snapshot()).unwrap();
            prop_assert_eq!(restored, state);
        }
    }
}
