//! Append, sync, read, truncate and recover checksummed segments and snapshots.
//!
//! # The log
//! [`Wal`] is one write-ahead log for all groups of a node; [`GroupLog`] is the handle to one group's part of it. A write
//! takes effect in memory at once and calls back when it is durable. A writer thread takes all writes that wait, of
//! whatever groups, as one *batch*: one write, one `fdatasync`, then the callbacks, while the next batch collects.
//!
//! ```text
//! append ─┐                       ┌─ write ── fdatasync ── callbacks ─┐
//! vote   ─┼─► queue (bounded) ─► batch n                              ├─► batch n+1 ...
//! purge  ─┘                       └───────────────────────────────────┘
//! ```
//!
//! The entries of a group may stay for ever: the log of a topic's partition is its data. [`GroupLog::purge`] marks, and a
//! sealed segment is removed when no group needs an entry in it. Each segment starts with a checkpoint of all groups'
//! bounds and state, so entries are all that keeps a segment.
//!
//! # Invariants
//! - Nothing is acknowledged before it is durable; what is acknowledged is found again, or opening fails.
//! - A batch is on the disk whole or is cut whole. What survives a power loss is a prefix of what was written.
//! - A batch is written only after the one before was synced. A valid record of a later batch therefore proves that damage
//!   before it is corruption, not a torn tail; corruption is named and never repaired here.
//! - A failed write or sync stops the log for good. Nothing is tried again.
//! - Nothing that can't be decoded is skipped. Nothing is altered on a disk that is refused.
//!
//! # What it does not do
//! It knows no Raft: indexes and opaque bytes only. It does not move entries out of old segments, so one entry that is
//! needed keeps its segment. It can't tell a flipped bit in the very last batch before a *crash* from a torn write; after
//! an orderly close it can. It does not notice when whole files vanish from the end.
//!
//! Everything goes through [`disk::Disk`]; [`fault::MemDisk`] is the one that breaks on demand. `docs/protocols/wal.md`
//! gives the bytes and the reasons.

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
