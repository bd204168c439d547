use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tiebeam_resilience::Backoff;
use tiebeam_wire::{GroupId, NodeId};

use super::{FETCH_WAIT_MAX, FetchReply, FetchRequest, FetchTransport};
use crate::Offset;
use crate::batch::RecordBatch;
use crate::catalog::PartitionMeta;

/// What a replica may take for its answer beyond the time that it was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const PAUSE: Backoff = Backoff { first: Duration::from_millis(20), max: Duration::from_millis(500) };

/// Records that could not be fetched from any replica in time. Trying again can help.
#[derive(Debug, thiserror::Error)]
#[error("records of group {group} from offset {offset} on can't be fetched; last: {last}")]
pub struct FetchFailed {
    /// The partition's group.
    pub group: GroupId,
    /// The offset that was asked for.
    pub offset: Offset,
    /// What the last attempt ended with.
    pub last: String,
}

/// Reads one partition from any node. Asks the leader if it knows it, and the next replica when one is away.
pub struct FetchClient {
    transport: Arc<dyn FetchTransport>,
    partition: PartitionMeta,
    from: Option<NodeId>,
    bytes_max: u32,
}

impl fmt::Debug for FetchClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchClient")
            .field("partition", &self.partition)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl FetchClient {
    /// Makes a reader of `partition` that asks for about `bytes_max` bytes at a time.
    pub fn new(transport: Arc<dyn FetchTransport>, partition: PartitionMeta, bytes_max: u32) -> Self {
        let from = partition.replicas.first().copied();
        Self { transport, partition, from, bytes_max }
    }

    /// Fetches batches from the one that holds `offset` on; waits for a record at most for `wait`, and returns none if
    /// none came. Every batch is checked.
    ///
    /// # Errors
    /// [`FetchFailed`] after each replica was asked twice and none answered.
    pub async fn fetch(&mut self, offset: Offset, wait: Duration) -> Result<Vec<RecordBatch>, FetchFailed> {
        let wait = wait.min(FETCH_WAIT_MAX);
        let attempts = 2 * self.partition.replicas.len();
        let mut last = "partition has no replicas".to_owned();
        for attempt in 0..attempts as u32 {
            let Some(from) = self.from else { break };
            match self.attempt(from, offset, wait).await {
                Ok(batches) => return Ok(batches),
                Err(error) => {
                    tracing::debug!(group = %self.partition.group, node = %from, error, "fetch failed, asking on");
                    last = error;
                }
            }
            self.from = self.after(from);
            tiebeam_world::sleep(PAUSE.delay(attempt, tiebeam_world::random())).await;
        }
        Err(FetchFailed { group: self.partition.group, offset, last })
    }

    async fn attempt(&mut self, from: NodeId, offset: Offset, wait: Duration) -> Result<Vec<RecordBatch>, String> {
        let group = self.partition.group;
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let request = FetchRequest { group, offset, bytes_max: self.bytes_max, wait_ms };
        let answer = self.transport.fetch(from, request.encode(), wait + ANSWER_TIMEOUT).await?;
        match FetchReply::decode(answer).map_err(|e| format!("{from} gave an unreadable answer: {e}"))? {
            FetchReply::NotHere => Err(format!("{from} holds no replica of group {group}")),
            FetchReply::Failed(reason) => Err(format!("{from}: {reason}")),
            FetchReply::Batches { leader, bytes, .. } => {
                let batches = split(bytes, offset).map_err(|e| format!("{from}: {e}"))?;
                // The leader has what its followers don't have yet.
                self.from = leader.filter(|leader| self.partition.replicas.contains(leader)).or(self.from);
                Ok(batches)
            }
        }
    }

    fn after(&self, node: NodeId) -> Option<NodeId> {
        let replicas = &self.partition.replicas;
        let at = replicas.iter().position(|r| *r == node).map_or(0, |at| at + 1);
        replicas.get(at % replicas.len().max(1)).copied()
    }
}

/// Takes the batches apart, and makes sure that they begin at `offset` and leave nothing out.
fn split(mut bytes: Bytes, offset: Offset) -> Result<Vec<RecordBatch>, String> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = RecordBatch::take_first(&mut bytes).map_err(|e| e.to_string())? {
        let follows = match batches.last() {
            None => batch.base_offset() <= offset && offset < batch.end_offset(),
            Some(before) => batch.base_offset() == before.end_offset(),
        };
        if !follows {
            return Err(format!("batch at {} where {offset} or its successor was expected", batch.base_offset()));
        }
        batches.push(batch);
    }
    Ok(batches)
}
