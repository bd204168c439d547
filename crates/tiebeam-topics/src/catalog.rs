//! Which topics there are, and which groups hold their partitions. Whoever composes a node says where that is written.

use std::error::Error;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_log::Route;
use tiebeam_wire::codec::{self, DecodeError};
use tiebeam_wire::{GroupId, NodeId};

/// Version of [`TopicMeta`] as bytes.
const VERSION: u8 = 1;

/// The most partitions of a topic; more are refused when it is read back.
pub const PARTITIONS_MAX: usize = 1_024;

/// A topic and where its partitions lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicMeta {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its partitions in order of number; at least one, at most [`PARTITIONS_MAX`]. Never fewer or in another order
    /// than before, since keys are spread by number.
    pub partitions: Vec<PartitionMeta>,
}

/// Where a partition lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionMeta {
    /// The replicated log that is the partition.
    pub group: GroupId,
    /// The nodes that hold a replica of it.
    pub replicas: Vec<NodeId>,
}

impl TopicMeta {
    /// The topic as bytes for a catalog.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        codec::encode(VERSION, self).into()
    }

    /// Reads what [`TopicMeta::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no topic of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(VERSION, bytes)
    }
}

impl PartitionMeta {
    /// The partition as a client of logs wants it.
    #[must_use]
    pub fn route(&self) -> Route {
        Route { group: self.group, replicas: self.replicas.clone() }
    }
}

/// Knows the topics of a cluster.
pub trait Catalog: Send + Sync + 'static {
    /// Looks up the topic `name`; `None` if there is none.
    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<TopicMeta>, CatalogError>>;
}

/// A catalog that could not be read. Trying again can help.
#[derive(Debug, thiserror::Error)]
#[error("catalog of topics can't be read")]
pub struct CatalogError(#[source] pub Box<dyn Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use super::*;

    /// Lies in the key store: a change here needs a new version.
    #[test]
    fn topic_bytes_are_golden() {
        let partition = PartitionMeta { group: GroupId(7), replicas: vec![NodeId(1), NodeId(2)] };
        let topic = TopicMeta { name: "tie".to_owned(), partitions: vec![partition] };
        assert_eq!(topic.encode()[..], [1, 3, b't', b'i', b'e', 1, 7, 2, 1, 2]);
        assert_eq!(TopicMeta::decode(&topic.encode()).unwrap(), topic);
    }
}
