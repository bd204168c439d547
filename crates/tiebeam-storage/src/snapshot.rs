//! Snapshots: one file each, written aside and renamed, so that a reader meets a whole one or none.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tiebeam_wire::{GroupId, checksum};

use crate::disk::Disk;
use crate::format::{u32_at, u64_at};

const MAGIC: [u8; 8] = *b"TBSNP\r\n\x1a";
const VERSION: u32 = 1;
/// Magic, version, group, number, length of meta, length of data, checksum of meta and data, checksum of the header.
const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 8 + 4 + 4;
/// Snapshots kept per group. The one before the newest is for people: it is never read in place of a damaged newest one,
/// since the log between the two may be purged.
const KEPT: usize = 2;

/// A snapshot as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What the owner said of it; opaque here.
    pub meta: Bytes,
    /// The state; opaque here.
    pub data: Bytes,
}

/// Why a snapshot can't be saved or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The system refused. After a failed save the newest snapshot is the one before.
    #[error("{operation} failed for {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was saved. No older one is offered instead.
    #[error(
        "snapshot {} of group {group} is corrupt; keep the file for inquiry, take this replica out of the group and let it \
         come back empty",
        path.display()
    )]
    Corrupt {
        /// Whose snapshot.
        group: GroupId,
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version of this program.
    #[error("snapshot {} has format version {found}, this program reads version {supported}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it claims.
        found: u32,
        /// The version we know.
        supported: u32,
    },
}

/// Keeps the snapshots of all groups of a node in the directory `snapshots`. Cheap to clone.
///
/// All methods block. Saves of one group must not overlap; those of several may.
#[derive(Clone)]
pub struct SnapshotStore {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl SnapshotStore {
    /// Opens the store in the data directory `dir`, which [`crate::Wal`] has locked, and clears away half-saved files.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn open(dir: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Result<Self, SnapshotError> {
        let store = Self { dir: dir.as_ref().join("snapshots"), disk };
        store.disk.create_dir(&store.dir).map_err(io_error("create directory", &store.dir))?;
        for name in store.list()?.iter().filter(|name| name.ends_with(".tmp")) {
            let path = store.dir.join(name);
            store.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(store)
    }

    /// Saves a snapshot and keeps the one before it. It is durable when this returns.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]: the newest snapshot is still the one before, or, if the last step failed, either.
    pub fn save(&self, group: GroupId, meta: &[u8], data: &[u8]) -> Result<(), SnapshotError> {
        let saved = self.numbers(group)?;
        let number = saved.last().map_or(1, |last| last + 1);
        let path = self.path(group, number);
        let temporary = path.with_extension("tmp");
        let file = self.disk.create(&temporary).map_err(io_error("create", &temporary))?;
        let mut head = header(group, number, meta, data).to_vec();
        head.extend_from_slice(meta);
        file.write_at(&head, 0).map_err(io_error("write", &temporary))?;
        file.write_at(data, head.len() as u64).map_err(io_error("write", &temporary))?;
        file.sync_data().map_err(io_error("sync", &temporary))?;
        self.disk.rename(&temporary, &path).map_err(io_error("rename", &path))?;
        self.disk.sync_dir(&self.dir).map_err(io_error("sync", &self.dir))?;
        for old in saved.iter().rev().skip(KEPT - 1) {
            let path = self.path(group, *old);
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// Returns the newest snapshot of `group`; `None` if there is none.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`] and [`SnapshotError::Version`] name the file; [`SnapshotError::Io`].
    pub fn latest(&self, group: GroupId) -> Result<Option<Snapshot>, SnapshotError> {
        let Some(number) = self.numbers(group)?.last().copied() else { return Ok(None) };
        let path = self.path(group, number);
        let file = self.disk.open(&path).map_err(io_error("open", &path))?;
        let len = file.len().map_err(io_error("read", &path))?;
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other).map_err(io_error("read", &path))?];
        file.read_at(&mut bytes, 0).map_err(io_error("read", &path))?;
        match decode(group, number, bytes.into()) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(Undecodable::Damaged) => Err(SnapshotError::Corrupt { group, path }),
            Err(Undecodable::Version(found)) => Err(SnapshotError::Version { path, found, supported: VERSION }),
        }
    }

    /// Removes all snapshots of `group`.
    ///
    /// # Errors
    /// [`SnapshotError::Io`]: some may be left.
    pub fn remove(&self, group: GroupId) -> Result<(), SnapshotError> {
        for number in self.numbers(group)? {
            let path = self.path(group, number);
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        self.disk.sync_dir(&self.dir).map_err(io_error("sync", &self.dir))
    }

    /// Returns the numbers of a group's snapshots, ascending.
    fn numbers(&self, group: GroupId) -> Result<Vec<u64>, SnapshotError> {
        let prefix = format!("{:020}-", group.0);
        let number = |name: &String| name.strip_prefix(&prefix)?.strip_suffix(".snap")?.parse().ok();
        // Names are listed in ascending order and have a fixed width.
        Ok(self.list()?.iter().filter_map(number).collect())
    }

    fn list(&self) -> Result<Vec<String>, SnapshotError> {
        self.disk.list(&self.dir).map_err(io_error("list", &self.dir))
    }

    fn path(&self, group: GroupId, number: u64) -> PathBuf {
        self.dir.join(format!("{:020}-{number:020}.snap", group.0))
    }
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

enum Undecodable {
    Damaged,
    Version(u32),
}

fn header(group: GroupId, number: u64, meta: &[u8], data: &[u8]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&group.0.to_le_bytes());
    bytes[20..28].copy_from_slice(&number.to_le_bytes());
    bytes[28..36].copy_from_slice(&(meta.len() as u64).to_le_bytes());
    bytes[36..44].copy_from_slice(&(data.len() as u64).to_le_bytes());
    bytes[44..48].copy_from_slice(&checksum::extend(checksum::crc32c(meta), data).to_le_bytes());
    let crc = checksum::crc32c(&bytes[..48]);
    bytes[48..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(group: GroupId, number: u64, bytes: Bytes) -> Result<Snapshot, Undecodable> {
    let check = |holds: bool| holds.then_some(()).ok_or(Undecodable::Damaged);
    check(bytes.len() >= HEADER_BYTES && bytes[..8] == MAGIC)?;
    check(checksum::crc32c(&bytes[..48]) == u32_at(&bytes, 48))?;
    if u32_at(&bytes, 8) != VERSION {
        return Err(Undecodable::Version(u32_at(&bytes, 8)));
    }
    check(u64_at(&bytes, 12) == group.0 && u64_at(&bytes, 20) == number)?;
    let body = bytes.slice(HEADER_BYTES..);
    let (meta_bytes, data_bytes) = (u64_at(&bytes, 28), u64_at(&bytes, 36));
    check(meta_bytes.checked_add(data_bytes) == Some(body.len() as u64))?;
    check(checksum::crc32c(&body) == u32_at(&bytes, 44))?;
    let meta_end = usize::try_from(meta_bytes).map_err(|_| Undecodable::Damaged)?;
    Ok(Snapshot { meta: body.slice(..meta_end), data: body.slice(meta_end..) })
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { operation, path, source }
}
