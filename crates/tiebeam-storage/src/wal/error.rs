use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tiebeam_wire::GroupId;

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else has the directory open.
    #[error("data directory {} is in use by another process", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// A field of the configuration is zero or above its limit.
    #[error("configured {field} is out of range")]
    Config {
        /// The field's name.
        field: &'static str,
    },
    /// The system refused.
    #[error("{operation} failed for {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were durable have changed. Nothing was cut or repaired.
    #[error(
        "{} is corrupt at byte {offset}: {reason}; keep the file for inquiry, take this node out of its groups and let it \
         come back under a new id with an empty directory",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: Corruption,
    },
    /// A segment that is still needed is gone.
    #[error(
        "segment {} is missing; put it back, or take this node out of its groups and let it come back under a new id \
         with an empty directory",
        path.display()
    )]
    MissingSegment {
        /// The file that should be there.
        path: PathBuf,
    },
    /// The segment was written by another version of this program.
    #[error("{} has format version {found}, this program reads version {supported}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it claims.
        found: u32,
        /// The version we know.
        supported: u32,
    },
}

/// What is wrong with a place in a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The first bytes are not a segment header, or its checksum is wrong.
    #[error("no valid segment header")]
    Header,
    /// A record's checksum, length or kind is wrong, and it is not the torn end of the last segment.
    #[error("record can't be verified")]
    Record,
    /// A sealed segment does not end with the end of a batch.
    #[error("sealed segment ends within a batch")]
    Unfinished,
    /// A record belongs to another batch than the one due.
    #[error("record of batch {found} where batch {expected} is due")]
    Batch {
        /// The batch due.
        expected: u64,
        /// The batch found.
        found: u64,
    },
    /// The segment header names another segment.
    #[error("header of segment {found} in the file of segment {expected}")]
    Sequence {
        /// By the file's name.
        expected: u64,
        /// By the header.
        found: u64,
    },
    /// The next segment says that this one has another length.
    #[error("sealed segment holds {found} bytes instead of {expected}")]
    Length {
        /// As the next segment has it.
        expected: u64,
        /// The file's length.
        found: u64,
    },
    /// An entry's index does not follow the one before.
    #[error("entry {found} of group {group} where entry {expected} is due")]
    Index {
        /// Whose entry.
        group: GroupId,
        /// The index due.
        expected: u64,
        /// The index found.
        found: u64,
    },
    /// A checkpoint does not say what the records before it add up to.
    #[error("checkpoint differs from the records before it")]
    Checkpoint,
    /// A valid checksum over something that is not a record of this format.
    #[error("record of an unknown shape")]
    Shape,
    /// An entry that was never purged is in no segment.
    #[error("entry {index} of group {group} is in no segment")]
    Entry {
        /// Whose entry.
        group: GroupId,
        /// The index that is missing.
        index: u64,
    },
}

/// Why a write was refused, or failed. After [`WriteError::Failed`] and [`WriteError::DiskFull`] the log stays stopped;
/// whether the write is on the disk is unknown until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A write or sync failed. Final: nothing was retried and nothing will be.
    #[error("log stopped for good: {operation} failed for {}", path.display())]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk has no room. Final until the log is opened again with room on the disk.
    #[error("log stopped: disk is full, {operation} failed for {}", path.display())]
    DiskFull {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The writer thread panicked. Final.
    #[error("log stopped for good: its writer panicked")]
    Panicked,
    /// The log was closed.
    #[error("log is closed")]
    Closed,
    /// An entry's index does not follow the one before; nothing was written.
    #[error("entry {found} of group {group} where entry {expected} is due")]
    NotConsecutive {
        /// Whose entry.
        group: GroupId,
        /// The index due.
        expected: u64,
        /// The index given.
        found: u64,
    },
    /// The write is larger than [`super::WRITE_BYTES_MAX`]; nothing was written.
    #[error("write of {bytes} bytes to group {group}, the limit is {limit}")]
    TooLarge {
        /// Whose write.
        group: GroupId,
        /// Its size with record headers.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

impl WriteError {
    /// Says whether the log is stopped: no later write can succeed before it is opened again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::NotConsecutive { .. } | Self::TooLarge { .. })
    }
}

/// Why entries can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The range starts at or below the purged index.
    #[error("entry {index} of group {group} was purged, the first is {first}")]
    Purged {
        /// Whose entry.
        group: GroupId,
        /// The index asked for.
        index: u64,
        /// The first index there is, or would be.
        first: u64,
    },
    /// What is on the disk is not what was written.
    #[error("entry {index} of group {group} is corrupt in {} at byte {offset}", path.display())]
    Corrupt {
        /// Whose entry.
        group: GroupId,
        /// Its index.
        index: u64,
        /// The segment.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
    },
    /// The system refused.
    #[error("read failed for {}", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log is stopped; what it holds in memory may not be on disk.
    #[error("log is stopped")]
    Stopped(#[source] WriteError),
}
