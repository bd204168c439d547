//! Append, sync, read, truncate and recover checksummed segments and snapshots.

pub mod disk;
pub mod fault;
mod format;
mod snapshot;
mod wal;

pub use snapshot::{Snapshot, SnapshotError, SnapshotStore};
pub use wal::{
    Config, Corruption, Entry, GroupLog, OpenError, QUEUE_BATCHES_MAX, ReadError, Recovered, SEGMENT_BYTES_LIMIT,
    StateSlot, Torn, WRITE_BYTES_MAX, Wal, WriteError,
};
