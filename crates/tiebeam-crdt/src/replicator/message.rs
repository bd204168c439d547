use std::fmt;

use serde::{Deserialize, Serialize};
use tiebeam_wire::checksum;

use crate::{CausalContext, Dot, DotStore, Piece, Value};

/// The version byte before each message.
pub const MESSAGE_VERSION: u8 = 1;

/// Names a part of the state; the first is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u16);

impl ShardId {
    /// Returns the shard of `key` among `shards`: the same on every node and at all times.
    ///
    /// # Panics
    /// If `shards` is 0.
    #[must_use]
    pub fn of(key: &[u8], shards: u16) -> Self {
        let shard = checksum::crc32c(key) % u32::from(shards);
        Self(u16::try_from(shard).expect("a remainder is below its divisor"))
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What travels between two replicators. The order of variants and fields is the format.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Ord + Clone + Serialize, V: Value + Serialize",
    deserialize = "K: Ord + Clone + Deserialize<'de>, V: Value + Deserialize<'de>"
))]
pub(super) enum Message<K, V> {
    /// The sender changed these shards.
    Deltas(Vec<(ShardId, DotStore<K, V>)>),
    /// The digest of each shard of the sender, in order.
    Digest(Vec<u64>),
    /// The sender has seen this of a shard, and wants what it lacks after a dot.
    Ask { shard: ShardId, seen: CausalContext, after: Option<Dot> },
    /// Answers an `Ask` for the same shard after the same dot.
    Fill { shard: ShardId, after: Option<Dot>, piece: Piece<K, V> },
    /// The sender changed these shards, and can't tell all itself.
    Pass(Vec<(ShardId, DotStore<K, V>)>),
}

impl<K, V> Message<K, V> {
    /// How many shards the sender must have, to send this.
    pub(super) fn shards_named(&self) -> usize {
        match self {
            Self::Deltas(deltas) | Self::Pass(deltas) => {
                deltas.iter().map(|(shard, _)| usize::from(shard.0) + 1).max().unwrap_or(0)
            }
            Self::Digest(digests) => digests.len(),
            Self::Ask { shard, .. } | Self::Fill { shard, .. } => usize::from(shard.0) + 1,
        }
    }
}
