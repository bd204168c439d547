//! The bytes of a fetch between nodes. A reply's batches follow its head unencoded: they come from the log and go to
//! the reader as they are.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tiebeam_wire::codec::{self, DecodeError};
use tiebeam_wire::{GroupId, NodeId};

use crate::Offset;

const VERSION: u8 = 1;

/// Asks a node for records of a partition of which it holds a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The partition's group.
    pub group: GroupId,
    /// The first offset of interest.
    pub offset: Offset,
    /// About how many bytes to send at most; at least one batch comes if there is any.
    pub bytes_max: u32,
    /// How long to wait if there is no record yet.
    pub wait_ms: u32,
}

/// Answers a [`FetchRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchReply {
    /// What there is.
    Batches {
        /// The offset that the replica's next record will get.
        end: Offset,
        /// Who leads the partition, as far as the replica knows.
        leader: Option<NodeId>,
        /// Whole batches one behind the other, from the one that holds the offset on; empty if nothing came in time.
        bytes: Bytes,
    },
    /// The node holds no replica of the group.
    NotHere,
    /// The replica can't be read.
    Failed(String),
}

#[derive(Serialize, Deserialize)]
enum Head {
    Batches { end: Offset, leader: Option<NodeId> },
    NotHere,
    Failed(String),
}

impl FetchRequest {
    pub(super) const fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms as u64)
    }

    /// The request as it is sent.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(VERSION, self).into()
    }

    /// Reads what [`FetchRequest::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no request of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(VERSION, bytes)
    }
}

impl FetchReply {
    /// The reply as it is sent: `[length of the head u32 le][head][batches]`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (head, batches) = match self {
            Self::Batches { end, leader, bytes } => (Head::Batches { end: *end, leader: *leader }, &bytes[..]),
            Self::NotHere => (Head::NotHere, &[][..]),
            Self::Failed(reason) => (Head::Failed(reason.clone()), &[][..]),
        };
        let head = codec::encode(VERSION, &head);
        let mut bytes = BytesMut::with_capacity(4 + head.len() + batches.len());
        bytes.put_u32_le(head.len() as u32);
        bytes.put_slice(&head);
        bytes.put_slice(batches);
        bytes.freeze()
    }

    /// Reads what [`FetchReply::encode`] wrote. The batches are not looked at.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no reply of this version.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let length = bytes.try_get_u32_le().map_err(|_| DecodeError::Empty)? as usize;
        if length > bytes.len() {
            return Err(DecodeError::Empty);
        }
        let head = bytes.split_to(length);
        match codec::decode(VERSION, &head)? {
            Head::Batches { end, leader } => Ok(Self::Batches { end, leader, bytes }),
            _ if !bytes.is_empty() => Err(DecodeError::Trailing { left: bytes.len() }),
            Head::NotHere => Ok(Self::NotHere),
            Head::Failed(reason) => Ok(Self::Failed(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_golden() {
        let offset = Offset::ZERO.advance(300);
        let request = FetchRequest { group: GroupId(7), offset, bytes_max: 9, wait_ms: 5 };
        assert_eq!(request.encode()[..], [1, 7, 251, 44, 1, 9, 5]);
        let reply = FetchReply::Batches { end: offset, leader: Some(NodeId(3)), bytes: Bytes::from_static(b"b") };
        assert_eq!(reply.encode()[..], [7, 0, 0, 0, 1, 0, 251, 44, 1, 1, 3, b'b']);
    }

    #[test]
    fn replies_come_back() {
        let bytes = Bytes::from_static(b"batches");
        let batches = FetchReply::Batches { end: Offset::ZERO, leader: None, bytes };
        for reply in [batches, FetchReply::NotHere, FetchReply::Failed("disk".to_owned())] {
            assert_eq!(FetchReply::decode(reply.encode()).unwrap(), reply);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = FetchRequest::decode(&bytes);
            let _ = FetchReply::decode(bytes.into());
        }
    }
}
