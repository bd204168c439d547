//! How states become bytes. The types here are the format: the kernel's own may change, these may not.
//!
//! What was decoded holds the kernel's invariants or is refused; a peer is trusted to be honest, not to be right.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tiebeam_wire::codec::{self, DecodeError};
use tiebeam_wire::{Incarnation, NodeId};

use crate::ranges::Ranges;
use crate::{CausalContext, Dot, DotSet, DotStore, Piece, ReplicaId, Value};

/// The version byte of a state or delta that is encoded by itself.
pub const STORE_VERSION: u8 = 1;

/// What makes bytes no state, though they decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Ranges overlap, touch, are out of order or hold 0, or a replica is there twice.
    #[error("ranges of dots are not in normal form")]
    Ranges,
    /// Dots of a forgotten replica are there.
    #[error("dots of a forgotten replica are in a context")]
    Forgotten,
    /// An entry's dot is not in the context, or there twice.
    #[error("an entry's dot is unseen or there twice")]
    Entry,
}

#[derive(Serialize, Deserialize)]
struct DotsWire(Vec<(ReplicaId, Vec<(u64, u64)>)>);

#[derive(Serialize, Deserialize)]
struct ContextWire {
    seen: DotsWire,
    forgotten: Vec<(NodeId, Incarnation)>,
}

/// Borrows what [`StoreWire`] owns; the bytes are the same.
#[derive(Serialize)]
struct StoreWireRef<'a, K, V> {
    context: &'a CausalContext,
    entries: Vec<(Dot, &'a K, &'a V)>,
}

#[derive(Deserialize)]
struct StoreWire<K, V> {
    context: CausalContext,
    entries: Vec<(Dot, K, V)>,
}

impl From<&DotSet> for DotsWire {
    fn from(dots: &DotSet) -> Self {
        Self(dots.replicas().map(|(replica, ranges)| (replica, ranges.as_slice().to_vec())).collect())
    }
}

impl TryFrom<DotsWire> for DotSet {
    type Error = WireError;

    fn try_from(wire: DotsWire) -> Result<Self, WireError> {
        let mut dots = Self::default();
        for (replica, ranges) in wire.0 {
            let ranges = Ranges::from_sorted(ranges).ok_or(WireError::Ranges)?;
            if !dots.insert_ranges(replica, ranges) {
                return Err(WireError::Ranges);
            }
        }
        Ok(dots)
    }
}

impl TryFrom<ContextWire> for CausalContext {
    type Error = WireError;

    fn try_from(wire: ContextWire) -> Result<Self, WireError> {
        let count = wire.forgotten.len();
        let forgotten: BTreeMap<NodeId, Incarnation> = wire.forgotten.into_iter().collect();
        if forgotten.len() != count {
            return Err(WireError::Forgotten);
        }
        Self::from_parts(wire.seen.try_into()?, forgotten).ok_or(WireError::Forgotten)
    }
}

impl Serialize for DotSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DotsWire::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DotSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DotsWire::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

impl Serialize for CausalContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ContextWire { seen: self.dots().into(), forgotten: self.forgotten().collect() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CausalContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ContextWire::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

impl<K: Ord + Clone + Serialize, V: Value + Serialize> Serialize for DotStore<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StoreWireRef { context: self.context(), entries: self.entries().collect() }.serialize(serializer)
    }
}

impl<'de, K, V> Deserialize<'de> for DotStore<K, V>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Value + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = StoreWire::<K, V>::deserialize(deserializer)?;
        Self::from_parts(wire.context, wire.entries).ok_or_else(|| D::Error::custom(WireError::Entry))
    }
}

impl<K: Ord + Clone + Serialize, V: Value + Serialize> Serialize for Piece<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.delta, &self.kept, self.next).serialize(serializer)
    }
}

impl<'de, K, V> Deserialize<'de> for Piece<K, V>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Value + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (delta, kept, next) = <(DotStore<K, V>, DotSet, Option<Dot>)>::deserialize(deserializer)?;
        Ok(Self { delta, kept, next })
    }
}

impl<K, V> DotStore<K, V>
where
    K: Ord + Clone + Serialize + serde::de::DeserializeOwned,
    V: Value + Serialize + serde::de::DeserializeOwned,
{
    /// Returns the bytes of a state or delta, behind [`STORE_VERSION`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(STORE_VERSION, self)
    }

    /// Reads what [`DotStore::encode`] wrote.
    ///
    /// # Errors
    /// As [`codec::decode`]; bytes that decode and are no state are a [`DecodeError::Body`] with a [`WireError`]'s words.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(STORE_VERSION, bytes)
    }
}
