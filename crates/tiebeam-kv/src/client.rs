use std::time::Duration;

use bytes::Bytes;
use tiebeam_log::{Client, ClientError, Route};
use tiebeam_wire::codec::DecodeError;

use crate::txn::{InvalidTxn, Op, Pair, Query, QueryReply, Revision, Txn, TxnReply, decode, encode};

/// How long an operation tries to reach the store before it fails. Longer than a failover takes.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How many pairs one list request asks for.
const LIST_PAGE: u32 = 500;

/// Why an operation on keys failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// The store could not be reached in time. A transaction may still happen.
    #[error("key store can't be reached")]
    Unreachable(#[from] ClientError),
    /// The transaction is over a limit; nothing was done.
    #[error("transaction is not valid")]
    Invalid(#[from] InvalidTxn),
    /// The store refused the transaction; nothing was done.
    #[error("key store refused the transaction: {0}")]
    Refused(String),
    /// The store's answer can't be read.
    #[error("answer of the key store can't be decoded")]
    Answer(#[from] DecodeError),
}

/// A handle to the cluster's keys, from any node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kv {
    client: Client,
    route: Route,
}

impl Kv {
    /// Makes a handle to the store that the group of `route` holds.
    #[must_use]
    pub const fn new(client: Client, route: Route) -> Self {
        Self { client, route }
    }

    /// Does `txn` all at once, or nothing of it.
    ///
    /// # Errors
    /// [`KvError`]; after [`KvError::Unreachable`] the outcome is unknown.
    pub async fn txn(&self, txn: &Txn) -> Result<TxnReply, KvError> {
        txn.validate()?;
        let reply = self.client.propose(&self.route, encode(txn), TIMEOUT).await?;
        match decode(&reply)? {
            TxnReply::Invalid(reason) => Err(KvError::Refused(reason)),
            reply => Ok(reply),
        }
    }

    /// Sets `key`, whether it was there or not; returns the revision of the change.
    ///
    /// # Errors
    /// As [`Kv::txn`].
    pub async fn put(&self, key: &str, value: impl Into<Bytes> + Send) -> Result<Revision, KvError> {
        let then = vec![Op::Put { key: key.to_owned(), value: value.into() }];
        match self.txn(&Txn { compare: Vec::new(), then }).await? {
            TxnReply::Done(revision) => Ok(revision),
            other => Err(KvError::Refused(format!("{other:?}"))),
        }
    }

    /// Returns the pair of `key`, if there is one; linearizable.
    ///
    /// # Errors
    /// [`KvError`]; nothing changes in any case.
    pub async fn get(&self, key: &str) -> Result<Option<Pair>, KvError> {
        Ok(self.query(&Query::Get(key.to_owned())).await?.pairs.pop())
    }

    /// Returns all pairs whose keys begin with `prefix`, in order of key. Read in pages: pairs that change in the
    /// meantime are seen once, in their old or new form.
    ///
    /// # Errors
    /// [`KvError`]; nothing changes in any case.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Pair>, KvError> {
        let mut pairs: Vec<Pair> = Vec::new();
        loop {
            let after = pairs.last().map_or_else(String::new, |pair| pair.key.clone());
            let page = self.query(&Query::List { prefix: prefix.to_owned(), after, limit: LIST_PAGE }).await?.pairs;
            let last = page.len() < LIST_PAGE as usize;
            pairs.extend(page);
            if last {
                return Ok(pairs);
            }
        }
    }

    async fn query(&self, query: &Query) -> Result<QueryReply, KvError> {
        let answer = self.client.query(&self.route, &encode(query), TIMEOUT).await?;
        Ok(decode(&answer)?)
    }
}
