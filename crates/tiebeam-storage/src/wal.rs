//! The write-ahead log that all groups of a node share.

mod error;
mod group;
mod queue;
mod recovery;
mod segments;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use tiebeam_wire::GroupId;

pub use error::{Corruption, OpenError, ReadError, WriteError};
pub use group::GroupLog;
pub use recovery::{Recovered, Torn};

use crate::disk::{Disk, DiskLock};
use group::Group;
use queue::Queue;
use segments::OpenFiles;

/// Where the log lives and what it may use. [`Config::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's data directory. It gets a `lock` file and a `wal` directory.
    pub dir: PathBuf,
    /// A segment that holds this many bytes is sealed and the next one begun. Soft: a batch is never split, so a segment
    /// can be longer by one batch. Default 128 MiB, at most 1 GiB.
    pub segment_bytes_max: u64,
    /// Writes that wait are put into one batch until it holds this many bytes; a single write may be larger.
    /// Default 4 MiB.
    pub batch_bytes_max: usize,
    /// Writes that may wait for the writer; one more makes the caller wait. Default 4,096. What waits is also limited to
    /// [`QUEUE_BATCHES_MAX`] full batches of bytes.
    pub queue_writes_max: usize,
    /// Bytes of entries kept in memory for reading, over all groups. Entries that are not on disk yet are kept in any
    /// case. Default 64 MiB.
    pub cache_bytes_max: usize,
}

impl Config {
    /// Returns the defaults for a log in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes_max: 128 << 20,
            batch_bytes_max: 4 << 20,
            queue_writes_max: 4096,
            cache_bytes_max: 64 << 20,
        }
    }

    fn check(&self) -> Result<(), OpenError> {
        let refuse = |field| Err(OpenError::Config { field });
        match self {
            _ if !(1..=SEGMENT_BYTES_LIMIT).contains(&self.segment_bytes_max) => refuse("segment_bytes_max"),
            _ if !(1..=WRITE_BYTES_MAX).contains(&self.batch_bytes_max) => refuse("batch_bytes_max"),
            _ if self.queue_writes_max == 0 => refuse("queue_writes_max"),
            _ => Ok(()),
        }
    }
}

/// The largest [`Config::segment_bytes_max`]: offsets within a segment must fit 32 bits, a last batch included.
pub const SEGMENT_BYTES_LIMIT: u64 = 1 << 30;
/// The largest single write, in bytes of payload and record headers; a larger one is refused.
pub const WRITE_BYTES_MAX: usize = 1 << 30;
/// Bytes that may wait for the writer, in full batches.
pub const QUEUE_BATCHES_MAX: usize = 16;

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place: consecutive per group, the first is 1 (or one above the purged index).
    pub index: u64,
    /// What it carries; opaque here.
    pub payload: Bytes,
}

/// A small value that a group keeps beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateSlot {
    /// The vote. On disk before `done` is called: a voter that forgets could elect two leaders.
    Vote,
    /// The commit index. Lazy: it reaches the disk together with a later write, never before the writes made before it,
    /// and `done` is called at once. A power loss can bring back an older value.
    Committed,
    /// The value given to [`GroupLog::purge`] last.
    Purged,
}

impl StateSlot {
    pub(crate) const ALL: [Self; 3] = [Self::Vote, Self::Committed, Self::Purged];

    /// Says whether a value may wait in memory for a later write.
    #[must_use]
    pub const fn is_lazy(self) -> bool {
        matches!(self, Self::Committed)
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Vote => 0,
            Self::Committed => 1,
            Self::Purged => 2,
        }
    }

    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| u64::from(slot.number()) == number)
    }
}

/// The values of all slots of one group.
pub(crate) type Slots = [Option<Bytes>; StateSlot::ALL.len()];

/// One write-ahead log for all groups of a node.
///
/// Writes of all groups wait in one queue; a writer thread takes what waits as one batch, writes it, syncs once and calls
/// back. While it does, the next batch collects: there is no timer. A failed write or sync stops the log for good.
///
/// Dropping it writes what waits, marks the log as closed in order and ends the writer thread. [`GroupLog`] handles that
/// outlive it refuse to write.
#[derive(Debug)]
pub struct Wal {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `config.dir`, or creates it: locks the directory, verifies every record, cuts a torn tail.
    ///
    /// Blocks for as long as it takes to read all segments.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if another process has it; [`OpenError::Corrupt`] and [`OpenError::MissingSegment`] name
    /// what is damaged and change nothing on the disk; [`OpenError::Io`] and [`OpenError::Config`] say what failed.
    pub fn open(config: Config, disk: Arc<dyn Disk>) -> Result<(Self, Recovered), OpenError> {
        config.check()?;
        let io = |operation, path: &std::path::Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { operation, path, source }
        };
        disk.create_dir(&config.dir).map_err(io("create directory", &config.dir))?;
        let lock = disk.lock(&config.dir.join("lock")).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked { dir: config.dir.clone() },
            _ => OpenError::Io { operation: "lock", path: config.dir.join("lock"), source },
        })?;
        let wal_dir = config.dir.join("wal");
        disk.create_dir(&wal_dir).map_err(io("create directory", &wal_dir))?;
        let loaded = recovery::recover(&wal_dir, &*disk)?;

        let shared = Arc::new(Shared {
            queue: Queue::new(&config),
            files: OpenFiles::new(wal_dir.clone(), Arc::clone(&disk)),
            groups: Mutex::new(BTreeMap::new()),
            cached_bytes: AtomicU64::new(0),
            _lock: lock,
            config,
        });
        let recovered = loaded.recovered.clone();
        let writer = writer::start(Arc::clone(&shared), disk, wal_dir, loaded)?;
        Ok((Self { shared, writer: Some(writer) }, recovered))
    }

    /// Returns the handle to a group's log, which is empty if nothing was ever written to it. Cheap.
    #[must_use]
    pub fn group(&self, group: GroupId) -> GroupLog {
        let mut groups = self.shared.groups();
        let group = groups.entry(group).or_insert_with(|| Arc::new(Group::empty(group)));
        GroupLog::new(Arc::clone(group), Arc::clone(&self.shared))
    }

    /// Returns the groups that hold anything, in ascending order.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.groups().values().filter(|group| group.lock().exists).map(|group| group.id).collect()
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.shared.queue.close();
        // A callback that holds the last handle drops it on the writer thread, which can't wait for itself.
        if let Some(writer) = self.writer.take().filter(|writer| writer.thread().id() != std::thread::current().id()) {
            // A panic there was reported and has failed the log already.
            drop(writer.join());
        }
    }
}

/// What the handles and the writer thread share.
pub(crate) struct Shared {
    config: Config,
    queue: Queue,
    files: OpenFiles,
    groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    /// Bytes of entries in memory, over all groups.
    cached_bytes: AtomicU64,
    _lock: Box<dyn DiskLock>,
}

impl Shared {
    fn groups(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, Arc<Group>>> {
        self.groups.lock().expect("no code panics while it holds the table of groups")
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("dir", &self.config.dir).finish_non_exhaustive()
    }
}
