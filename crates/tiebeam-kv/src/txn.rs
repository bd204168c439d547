use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_wire::codec::{self, DecodeError};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Most comparisons, and most operations, in one transaction.
pub const OPS_MAX: usize = 128;

/// Version of commands, queries, replies and snapshots of the key store.
pub(crate) const KV_VERSION: u8 = 1;

/// Counts changes of the store; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// What it holds.
    pub value: Bytes,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// Holds if the key was last changed at this revision; [`Revision`] 0: if there is no such key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// The revision it must have.
    pub revision: Revision,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Sets the key, whether it was there or not.
    Put {
        /// The key.
        key: String,
        /// What it shall hold.
        value: Bytes,
    },
    /// Removes the key; nothing if there is none.
    Delete {
        /// The key.
        key: String,
    },
}

/// Changes that happen all together, or not at all if a comparison fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// Done in order, all at one revision.
    pub then: Vec<Op>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnReply {
    /// Its operations were done at this revision.
    Done(Revision),
    /// A comparison failed, nothing was done. Holds the compared keys that are there.
    Conflict(Vec<Pair>),
    /// It was not valid, nothing was done.
    Invalid(String),
}

/// A transaction over a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTxn {
    /// Too many comparisons or operations.
    #[error("transaction has {0} comparisons or operations, more than the limit of {OPS_MAX}")]
    Ops(usize),
    /// A key is empty or too long.
    #[error("key has {0} bytes, allowed are 1 to {KEY_BYTES_MAX}")]
    Key(usize),
    /// A value is too large.
    #[error("value of key {key:?} has {size} bytes, more than the limit of {VALUE_BYTES_MAX}")]
    Value {
        /// The key.
        key: String,
        /// The value's size in bytes.
        size: usize,
    },
}

impl Txn {
    /// Makes a transaction that puts `value` if `key` was last changed at `revision` (0: is not there).
    #[must_use]
    pub fn put_if(key: impl Into<String>, revision: Revision, value: impl Into<Bytes>) -> Self {
        let key = key.into();
        let compare = vec![Compare { key: key.clone(), revision }];
        Self { compare, then: vec![Op::Put { key, value: value.into() }] }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// [`InvalidTxn`] names the first limit that is exceeded.
    pub fn validate(&self) -> Result<(), InvalidTxn> {
        let ops = self.compare.len().max(self.then.len());
        if ops > OPS_MAX {
            return Err(InvalidTxn::Ops(ops));
        }
        let key_of = |op: &Op| match op {
            Op::Put { key, .. } | Op::Delete { key } => key.len(),
        };
        let keys = self.compare.iter().map(|c| c.key.len()).chain(self.then.iter().map(key_of));
        if let Some(size) = keys.into_iter().find(|size| !(1..=KEY_BYTES_MAX).contains(size)) {
            return Err(InvalidTxn::Key(size));
        }
        for op in &self.then {
            if let Op::Put { key, value } = op
                && value.len() > VALUE_BYTES_MAX
            {
                return Err(InvalidTxn::Value { key: key.clone(), size: value.len() });
            }
        }
        Ok(())
    }
}

/// A read of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Query {
    Get(String),
    List { prefix: String, after: String, limit: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueryReply {
    pub(crate) revision: Revision,
    pub(crate) pairs: Vec<Pair>,
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    codec::encode(KV_VERSION, value).into()
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    codec::decode(KV_VERSION, bytes)
}
