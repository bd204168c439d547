//! Reads the records of a partition: on a node that holds a replica from its log, on any other by asking.
//!
//! Every replica serves what it has applied. What is applied is committed, so a reader of a follower sees the same
//! records as one of the leader, only later. Batches are never cut: the one that holds the asked offset comes whole, and
//! comes first even if it is larger than what was asked for.

mod client;
mod protocol;
mod server;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tiebeam_log::{CommandsError, Group};
use tiebeam_wire::GroupId;

pub use self::client::{FetchClient, FetchFailed};
pub use self::protocol::{FetchReply, FetchRequest};
pub use self::server::{FetchServer, FetchTransport};
use crate::Offset;
use crate::batch::{BatchError, RecordBatch, place};
use crate::partition::{Partition, Place, appended_batch};

/// The most bytes of one fetch, larger wishes are lowered; a single batch is at most half of it.
pub const FETCH_BYTES_MAX: usize = 2 * crate::batch::BATCH_BYTES_MAX;

/// The most batches of one fetch, so that small ones don't make the look-up long.
pub const FETCH_BATCHES_MAX: usize = 4_096;

/// The longest that a fetch waits for a record; longer wishes are lowered.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(30);

/// Why records can't be read from a replica.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The log could not be read, or no longer holds the offset.
    #[error("records from offset {offset} on can't be read")]
    Log {
        /// The offset that was asked for.
        offset: Offset,
        /// What the log said.
        #[source]
        source: CommandsError,
    },
    /// The log holds something else where the index says that the batch lies.
    #[error("entry {index} of group {group} is not the batch that is indexed at offset {offset}")]
    Astray {
        /// The partition's group.
        group: GroupId,
        /// The Raft index.
        index: u64,
        /// Which batch should lie there.
        offset: Offset,
    },
    /// A batch that was valid when it was appended is no longer.
    #[error("batch at offset {offset} of group {group} is damaged")]
    Damaged {
        /// The partition's group.
        group: GroupId,
        /// Where the batch lies.
        offset: Offset,
        /// What is wrong with it.
        #[source]
        source: BatchError,
    },
    /// The runtime lost the read.
    #[error("read was given up: {0}")]
    Aborted(tiebeam_world::TaskError),
}

/// Batches as they lie in the log, each with its place.
type Found = Vec<(Place, Bytes)>;

/// Waits until `group` holds the record at `offset` here, at most for `wait`; returns the end offset by then.
pub async fn wait_past(group: &Group<Partition>, offset: Offset, wait: Duration) -> Offset {
    let grown = async {
        loop {
            // Before the end is read: a batch applied in between makes the next wait return at once.
            let applied = group.applied();
            if group.read(Partition::end) > offset {
                return;
            }
            group.applied_past(applied).await;
        }
    };
    // Either way the answer is the end as it is then.
    let _ = tiebeam_world::timeout(wait.min(FETCH_WAIT_MAX), grown).await;
    group.read(Partition::end)
}

/// Reads whole batches of `group` on this node, from the one that holds `offset` on: at least one if there is any, at
/// most about `bytes_max` bytes. Each is checked again and carries its offsets.
///
/// # Errors
/// [`FetchError`]; all but [`FetchError::Log`] with a disk that recovers are final.
pub async fn read_batches(
    group: &Group<Partition>,
    offset: Offset,
    bytes_max: usize,
) -> Result<Vec<RecordBatch>, FetchError> {
    let group = group.clone();
    blocking(move || {
        let decode = |(place, bytes): (Place, Bytes)| match RecordBatch::decode(bytes) {
            Ok(batch) => Ok(batch.at(place.base_offset)),
            Err(source) => Err(FetchError::Damaged { group: group.id(), offset: place.base_offset, source }),
        };
        find(&group, offset, bytes_max)?.into_iter().map(decode).collect()
    })
    .await
}

/// As [`read_batches`], but gives the bytes of the batches one behind the other, as they go over a wire. They are not
/// checked here: the checksum that the producer made is for the reader.
pub(crate) async fn read_bytes(
    group: &Group<Partition>,
    offset: Offset,
    bytes_max: usize,
) -> Result<Bytes, FetchError> {
    let group = group.clone();
    blocking(move || {
        let found = find(&group, offset, bytes_max)?;
        let mut bytes = BytesMut::with_capacity(found.iter().map(|(_, batch)| batch.len()).sum());
        for (at, batch) in found {
            let start = bytes.len();
            bytes.extend_from_slice(&batch);
            place(&mut bytes[start..], at.base_offset);
        }
        Ok(bytes.freeze())
    })
    .await
}

/// A read may wait for the disk, so it must not hold up a thread that drives tasks.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    tiebeam_world::blocking(read).await.map_err(FetchError::Aborted)?
}

fn find(group: &Group<Partition>, offset: Offset, bytes_max: usize) -> Result<Found, FetchError> {
    let bytes_max = bytes_max.min(FETCH_BYTES_MAX);
    let places = group.read(|partition| partition.places(offset, FETCH_BATCHES_MAX));
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let commands = group.commands(first.index, bytes_max).map_err(|source| FetchError::Log { offset, source })?;
    let mut places = places.into_iter().peekable();
    let (mut found, mut size) = (Vec::new(), 0);
    // Between the batches lie commits, and repetitions that were not kept: the index names neither.
    for (index, command) in commands.items {
        let Some(place) = places.next_if(|place| place.index == index) else { continue };
        let astray = FetchError::Astray { group: group.id(), index, offset: place.base_offset };
        let batch = appended_batch(&command).filter(|b| b.len() >= crate::batch::BATCH_HEADER_BYTES).ok_or(astray)?;
        size += batch.len();
        if size > bytes_max && !found.is_empty() {
            return Ok(found);
        }
        found.push((place, batch));
    }
    // The log was read up to `next`: a place before that which was not met there is not where the index says.
    match places.peek() {
        Some(lost) if lost.index < commands.next => {
            Err(FetchError::Astray { group: group.id(), index: lost.index, offset: lost.base_offset })
        }
        _ => Ok(found),
    }
}
