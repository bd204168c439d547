use tiebeam_wire::codec::DecodeError;

#[cfg(doc)]
use super::Config;
use super::ShardId;
use crate::{KeptError, MintError, ReplicaId};

/// Why an event was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// Outputs wait to be taken; the event is to be handed in again after that.
    #[error("{waiting} outputs wait to be taken, the limit is {outputs_max}")]
    Undrained {
        /// How many wait.
        waiting: usize,
        /// [`Config::outputs_max`].
        outputs_max: usize,
    },
    /// There are as many peers as there may be.
    #[error("{peer} would be one peer more than the limit of {peers_max}")]
    Peers {
        /// Who came up.
        peer: ReplicaId,
        /// [`Config::peers_max`].
        peers_max: usize,
    },
    /// A later incarnation of the node is up.
    #[error("{replica} is over, {latest} is up")]
    Stale {
        /// Who came up.
        replica: ReplicaId,
        /// Who is up instead.
        latest: ReplicaId,
    },
    /// The replica was forgotten, or is this one.
    #[error("{replica} was forgotten or is this node's own, and is no peer")]
    NoPeer {
        /// Who.
        replica: ReplicaId,
    },
    /// The sender is not up. What it says will be asked for when it is.
    #[error("{from} is not up, its message is refused")]
    Unknown {
        /// Who sent.
        from: ReplicaId,
    },
    /// The bytes are no message.
    #[error("message of {from} is refused")]
    Decode {
        /// Who sent.
        from: ReplicaId,
        /// What is wrong with them.
        source: DecodeError,
    },
    /// The sender has another number of shards: the two are configured differently, and can't exchange.
    #[error("{from} names {found} shards, here are {shards}")]
    Shards {
        /// Who sent.
        from: ReplicaId,
        /// How many shards it has, at least.
        found: usize,
        /// [`Config::shards`].
        shards: usize,
    },
    /// An answer was made for somebody who has seen more.
    #[error("answer of {from} is refused")]
    Kept {
        /// Who sent.
        from: ReplicaId,
        /// Why.
        source: KeptError,
    },
    /// This replica was expelled.
    #[error("this replica was expelled")]
    Expelled,
}

/// Why a shard was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// This replica must not write any more.
    #[error("this replica was expelled")]
    Expelled,
    /// The mutator refused.
    #[error("shard can't be changed")]
    Mint(#[from] MintError),
    /// There is no such shard.
    #[error("shard {shard} does not exist, there are {shards}")]
    Shard {
        /// The shard that was named.
        shard: ShardId,
        /// [`Config::shards`].
        shards: usize,
    },
    /// The shard holds as many values as may be added here. What peers added is taken in all the same.
    #[error("shard {shard} is full, the limit is {shard_entries_max} values")]
    Full {
        /// The shard.
        shard: ShardId,
        /// [`Config::shard_entries_max`].
        shard_entries_max: usize,
    },
    /// The delta is larger than may be sent.
    #[error("delta has {size} bytes, more than the limit of {delta_bytes_max}")]
    TooLarge {
        /// Size of the delta in bytes.
        size: usize,
        /// [`Config::delta_bytes_max`].
        delta_bytes_max: usize,
    },
    /// Outputs wait to be taken; try again after that.
    #[error("{waiting} outputs wait to be taken, the limit is {outputs_max}")]
    Undrained {
        /// How many wait.
        waiting: usize,
        /// [`Config::outputs_max`].
        outputs_max: usize,
    },
}
