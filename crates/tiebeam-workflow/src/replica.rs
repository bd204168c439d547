//! What an engine needs of a replicated log, so that its tests can do without one.

use bytes::Bytes;
use tiebeam_log::{Group, Term};

use crate::partition::Partition;
use crate::proposer::Lost;

/// This node's replica of a partition. Cheap to clone.
pub(crate) trait Replica: Clone + Send + Sync + 'static {
    /// Commits a command; the error leaves open whether it was committed.
    fn propose(&self, command: Bytes) -> impl Future<Output = Result<Bytes, Lost>> + Send;

    /// Reads the applied state.
    fn read<T>(&self, read: impl FnOnce(&Partition) -> T) -> T;

    /// Waits until this replica leads and has applied everything of earlier terms; returns the term.
    fn led(&self) -> impl Future<Output = u64> + Send;

    /// Waits until this replica doesn't lead in `term` any more.
    fn deposed(&self, term: u64) -> impl Future<Output = ()> + Send;

    /// Waits until more than `count` entries are applied.
    fn applied_past(&self, count: u64) -> impl Future<Output = u64> + Send;
}

impl Replica for Group<Partition> {
    async fn propose(&self, command: Bytes) -> Result<Bytes, Lost> {
        Self::propose(self, command).await.map_err(|e| Lost(e.to_string()))
    }

    fn read<T>(&self, read: impl FnOnce(&Partition) -> T) -> T {
        Self::read(self, read)
    }

    async fn led(&self) -> u64 {
        Self::led(self).await.0
    }

    async fn deposed(&self, term: u64) {
        Self::deposed(self, Term(term)).await;
    }

    async fn applied_past(&self, count: u64) -> u64 {
        Self::applied_past(self, count).await
    }
}
