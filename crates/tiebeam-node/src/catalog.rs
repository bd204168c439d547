//! The catalogue of topics: keys under `topics/`, each with its partitions' groups and their replicas.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_kv::{Compare, Kv, KvError, KvState, Op, Revision, Txn, TxnReply};
use tiebeam_topics::catalog::{CatalogError, PartitionMeta, TopicMeta};
use tiebeam_wire::codec::{self, DecodeError};
use tiebeam_wire::{GroupId, NodeId};

/// Version of the counter of groups.
const VERSION: u8 = 1;
const PREFIX: &str = "topics/";
/// Holds the next group id that a topic may take.
const NEXT_GROUP: &str = "groups/next";
/// The first group id that topics take; those below are the cluster's own.
const FIRST_GROUP: u64 = 1_000;
/// Longest name of a topic, in bytes (Kafka's limit).
const NAME_BYTES_MAX: usize = 249;
/// Most partitions of a topic.
const PARTITIONS_MAX: u32 = 64;

/// Why a topic was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateTopicError {
    /// The name has other characters than Kafka allows.
    #[error("topic name {0:?} is not valid: 1 to {NAME_BYTES_MAX} letters, digits, dots, hyphens or underscores")]
    Name(String),
    /// Too many partitions, or none.
    #[error("topic {topic} can't have {partitions} partitions: allowed are 1 to {PARTITIONS_MAX}")]
    Partitions {
        /// The topic.
        topic: String,
        /// What was asked for.
        partitions: u32,
    },
    /// More replicas than core nodes.
    #[error("topic {topic} can't have {replication} replicas: the cluster has {cores} core nodes")]
    Replication {
        /// The topic.
        topic: String,
        /// What was asked for.
        replication: usize,
        /// How many there are.
        cores: usize,
    },
    /// There is such a topic, with another shape.
    #[error("topic {topic} exists with {partitions} partitions of {replication} replicas")]
    Exists {
        /// The topic.
        topic: String,
        /// Its partitions.
        partitions: usize,
        /// Its replicas.
        replication: usize,
    },
    /// The catalogue can't be reached; the topic may be created or not.
    #[error("catalogue of topics can't be reached")]
    Kv(#[from] KvError),
    /// An entry can't be read.
    #[error("entry of topic {topic} can't be decoded")]
    Entry {
        /// The topic.
        topic: String,
        /// What was wrong.
        #[source]
        source: DecodeError,
    },
}

/// The cluster's topics, from any node. Cheap to clone; clones share what they looked up.
///
/// What was looked up is kept for ever: a partition's group and replicas never change yet.
#[derive(Clone, Debug)]
pub struct Catalog {
    kv: Kv,
    cores: Arc<[NodeId]>,
    known: Arc<Mutex<HashMap<String, TopicMeta>>>,
}

impl Catalog {
    pub(crate) fn new(kv: Kv, cores: Arc<[NodeId]>) -> Self {
        Self { kv, cores, known: Arc::default() }
    }

    /// Creates `topic`, or finds it if it is there in this shape. Its partitions open on their nodes soon after.
    ///
    /// # Errors
    /// [`CreateTopicError`] says which limit was exceeded, or in what other shape the topic exists.
    pub async fn create(&self, topic: &str, partitions: u32, replication: usize) -> Result<(), CreateTopicError> {
        self.check(topic, partitions, replication)?;
        loop {
            if let Some(found) = self.find(topic).await? {
                let held = found.partitions.first().map_or(0, |p| p.replicas.len());
                if (found.partitions.len(), held) == (partitions as usize, replication) {
                    return Ok(());
                }
                let partitions = found.partitions.len();
                return Err(CreateTopicError::Exists { topic: topic.to_owned(), partitions, replication: held });
            }
            let next = self.kv.get(NEXT_GROUP).await?;
            let (first, revision) = match &next {
                Some(pair) => (decode(topic, &pair.value)?, pair.revision),
                None => (FIRST_GROUP, Revision::default()),
            };
            let txn = self.creation(topic, partitions, replication, first, revision);
            // A conflict means that another creation came between: look again.
            if let TxnReply::Done(_) = self.kv.txn(&txn).await? {
                tracing::info!(topic, partitions, replication, "topic created");
                return Ok(());
            }
        }
    }

    fn check(&self, topic: &str, partitions: u32, replication: usize) -> Result<(), CreateTopicError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if !(1..=NAME_BYTES_MAX).contains(&topic.len()) || !topic.bytes().all(legal) {
            return Err(CreateTopicError::Name(topic.to_owned()));
        }
        let topic = || topic.to_owned();
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(CreateTopicError::Partitions { topic: topic(), partitions });
        }
        let cores = self.cores.len();
        if !(1..=cores).contains(&replication) {
            return Err(CreateTopicError::Replication { topic: topic(), replication, cores });
        }
        Ok(())
    }

    /// Spreads the partitions over the cores, each beginning at another one.
    fn creation(&self, topic: &str, partitions: u32, replication: usize, first: u64, revision: Revision) -> Txn {
        let partition = |n: u32| {
            let group = GroupId(first + u64::from(n));
            let cores = self.cores.iter().copied().cycle().skip(n as usize % self.cores.len());
            PartitionMeta { group, replicas: cores.take(replication).collect() }
        };
        let entry = TopicMeta { name: topic.to_owned(), partitions: (0..partitions).map(partition).collect() };
        let next = first + u64::from(partitions);
        let put = |key: String, value: Bytes| Op::Put { key, value };
        Txn {
            compare: vec![
                Compare { key: key(topic), revision: Revision::default() },
                Compare { key: NEXT_GROUP.to_owned(), revision },
            ],
            then: vec![
                put(key(topic), entry.encode()),
                put(NEXT_GROUP.to_owned(), codec::encode(VERSION, &next).into()),
            ],
        }
    }

    /// Looks up `topic`; none if there is none.
    ///
    /// # Errors
    /// [`CreateTopicError::Kv`] or [`CreateTopicError::Entry`].
    pub async fn find(&self, topic: &str) -> Result<Option<TopicMeta>, CreateTopicError> {
        if let Some(found) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return Ok(Some(found.clone()));
        }
        let Some(pair) = self.kv.get(&key(topic)).await? else { return Ok(None) };
        let entry = TopicMeta::decode(&pair.value)
            .map_err(|source| CreateTopicError::Entry { topic: topic.to_owned(), source })?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned(), entry.clone());
        Ok(Some(entry))
    }
}

impl tiebeam_topics::catalog::Catalog for Catalog {
    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<TopicMeta>, CatalogError>> {
        async move { self.find(name).await.map_err(|error| CatalogError(Box::new(error))) }.boxed()
    }
}

/// All topics in the applied state of a replica of the metadata group, in order of name.
pub(crate) fn topics(state: &KvState) -> Vec<TopicMeta> {
    let entry = |pair: tiebeam_kv::Pair| match TopicMeta::decode(&pair.value) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(key = pair.key, %error, "entry of topic can't be decoded; its partitions stay closed");
            None
        }
    };
    state.list(PREFIX).filter_map(entry).collect()
}

fn key(topic: &str) -> String {
    format!("{PREFIX}{topic}")
}

fn decode<T: serde::de::DeserializeOwned>(topic: &str, bytes: &[u8]) -> Result<T, CreateTopicError> {
    codec::decode(VERSION, bytes).map_err(|source| CreateTopicError::Entry { topic: topic.to_owned(), source })
}
