//! A disk in memory that breaks on demand, for the tests of this crate and of those above it.
//!
//! [`MemDisk`] knows which bytes and names are durable. [`MemDisk::crash`] gives the disk that a power loss would leave:
//! each write and each change of a name since the last sync is kept, lost, or (a write) torn, as a seed has it. The
//! power can be cut before or after any operation, a write or a sync can fail, a bit can flip, the disk can be full.

mod crash;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile, DiskLock};
use file::{Content, MemFile};

/// A kind of operation that changes something on a disk, or makes it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::create`].
    Create,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::sync_dir`].
    SyncDir,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::truncate`].
    Truncate,
    /// [`DiskFile::sync_data`].
    SyncData,
}

/// When the power goes, relative to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The operation has no effect.
    Before,
    /// The operation has its whole effect; only its caller never hears of it.
    After,
}

/// A file system in memory; clones are the same one. Directories exist as soon as they are named.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<FileId, Content>,
    /// Names as a process sees them.
    names: Names,
    durable_names: Names,
    name_changes: Vec<NameChange>,
    locked: BTreeSet<PathBuf>,
    operations: Vec<Operation>,
    is_off: bool,
    power_cut: Option<(usize, Moment)>,
    /// Operations that fail with an input/output error, by their number.
    failing: BTreeSet<usize>,
    bytes_max: Option<u64>,
}

type FileId = u64;
type Names = BTreeMap<PathBuf, FileId>;

#[derive(Clone, Debug)]
enum NameChange {
    Create(PathBuf, FileId),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path) => path,
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(path, file) => _ = names.insert(path.clone(), *file),
            Self::Remove(path) => _ = names.remove(path),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl MemDisk {
    /// Returns an empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power at operation number `operation` (as in [`MemDisk::operations`]): it and all later calls fail.
    pub fn cut_power_at(&self, operation: usize, moment: Moment) {
        self.lock().power_cut = Some((operation, moment));
    }

    /// Makes operation number `operation` fail. Of a write some bytes are written; of a sync nothing becomes durable and
    /// nothing that was to become durable ever will, though it can be read: as Linux has it.
    pub fn fail_at(&self, operation: usize) {
        self.lock().failing.insert(operation);
    }

    /// Limits what all files may hold, in bytes; a write beyond it fails with [`io::ErrorKind::StorageFull`].
    pub fn limit_bytes(&self, bytes_max: u64) {
        self.lock().bytes_max = Some(bytes_max);
    }

    /// Flips bit `bit` (counted from the file's start) on the platter.
    ///
    /// # Panics
    /// If there is no such file or bit.
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit: usize) {
        self.lock().content(path.as_ref()).expect("the test names a file that exists").flip_bit(bit);
    }

    /// Replaces the file `path` by `bytes`, durably.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut inner = self.lock();
        let id = inner.next_file();
        inner.files.insert(id, Content::durable(bytes.to_vec()));
        inner.names.insert(path.as_ref().to_owned(), id);
        inner.durable_names.insert(path.as_ref().to_owned(), id);
    }

    /// Removes the file `path`, durably, as a careless hand does.
    pub fn lose(&self, path: impl AsRef<Path>) {
        let mut inner = self.lock();
        inner.names.remove(path.as_ref());
        inner.durable_names.remove(path.as_ref());
    }

    /// Returns the bytes of the file `path` as a process sees them; `None` if there is no such file.
    #[must_use]
    pub fn contents(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.lock().content(path.as_ref()).ok().map(|content| content.seen().to_vec())
    }

    /// Returns the paths of all files in ascending order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// Returns all operations so far, in order; their place is their number.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone()
    }

    /// Says whether the power was cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().is_off
    }

    /// Returns the disk that a power loss now would leave, in one of the ways that `seed` chooses from. It is free of
    /// locks and faults. This disk goes on, unaware.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        Self { inner: Arc::new(Mutex::new(crash::crash(&self.lock(), seed))) }
    }

    /// Returns the disk that a killed process leaves: all it ever wrote is there, durable or not. Free of locks and
    /// faults.
    #[must_use]
    pub fn kill(&self) -> Self {
        let inner = self.lock();
        let left = Inner {
            files: inner.files.clone(),
            names: inner.names.clone(),
            durable_names: inner.durable_names.clone(),
            name_changes: inner.name_changes.clone(),
            ..Inner::default()
        };
        Self { inner: Arc::new(Mutex::new(left)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds the disk")
    }
}

impl Inner {
    fn content(&mut self, path: &Path) -> io::Result<&mut Content> {
        let id = self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn next_file(&self) -> FileId {
        self.files.last_key_value().map_or(0, |(id, _)| id + 1)
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("power is off")) } else { Ok(()) }
    }

    /// Counts an operation and does it, unless a fault has it otherwise. `act` is told whether it is to fail.
    fn operate<T>(
        &mut self,
        operation: Operation,
        act: impl FnOnce(&mut Self, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        self.check_power()?;
        let number = self.operations.len();
        self.operations.push(operation);
        if self.power_cut == Some((number, Moment::Before)) {
            self.is_off = true;
            return self.check_power().and(Err(io::ErrorKind::Other.into()));
        }
        let fails = self.failing.contains(&number);
        let result = act(self, fails);
        if self.power_cut == Some((number, Moment::After)) {
            self.is_off = true;
        }
        self.check_power()?;
        if fails { Err(io::Error::other("injected failure")) } else { result }
    }

    fn change_name(&mut self, operation: Operation, change: NameChange) -> io::Result<()> {
        self.operate(operation, |inner, fails| {
            if !fails {
                change.apply(&mut inner.names);
                inner.name_changes.push(change);
            }
            Ok(())
        })
    }
}

impl Disk for MemDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.lock().check_power()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        let id = inner.next_file();
        // The content first: the power may go right after the name is made.
        inner.files.insert(id, Content::default());
        inner.change_name(Operation::Create, NameChange::Create(path.to_owned(), id))?;
        Ok(Arc::new(MemFile::new(self.clone(), id)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.lock();
        inner.check_power()?;
        let id = inner.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile::new(self.clone(), id)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().change_name(Operation::Rename, NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().change_name(Operation::Remove, NameChange::Remove(path.to_owned()))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inner = self.lock();
        inner.check_power()?;
        let here = inner.names.keys().filter(|file| file.parent() == Some(path));
        Ok(here.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.lock().operate(Operation::SyncDir, |inner, fails| {
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                inner.name_changes.drain(..).partition(|change| change.path().parent() == Some(path));
            inner.name_changes = elsewhere;
            if !fails {
                for change in here {
                    change.apply(&mut inner.durable_names);
                }
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut inner = Self::lock(self);
        inner.check_power()?;
        if !inner.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct MemLock {
    disk: MemDisk,
    path: PathBuf,
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        MemDisk::lock(&self.disk).locked.remove(&self.path);
    }
}
