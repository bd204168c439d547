//! The seam to the file system: everything that storage does to a disk goes through [`Disk`], so that a test can cut the
//! power, flip a bit or fill the disk at any moment. [`RealDisk`] is the real one, [`crate::fault::MemDisk`] the one for
//! tests.

mod real;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;

/// Creates, opens, names and removes files. All calls block until they are done; all may come from several threads.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes sure that directory `path` exists, with all above it.
    ///
    /// # Errors
    /// As the system reports them.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates the empty file `path`, or empties it if it exists. Its name is durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the system reports them.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens the file `path` for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none; others as the system reports them.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Names the file `from` `to`, in place of any file of that name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the system reports them.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file `path`; who has it open can still read it. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the system reports them.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns the names of the files in directory `path`, in ascending order.
    ///
    /// # Errors
    /// As the system reports them.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in directory `path` durable.
    ///
    /// # Errors
    /// As the system reports them; which names are durable is unknown then.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Locks the file `path`, which is created if need be, against all other processes until the lock is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody else holds it; others as the system reports them.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file with positioned reads and writes.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`; the file grows if need be. Durable only after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// As the system reports them; any part of `bytes` may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before; others as the system reports them.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Makes all earlier writes and truncations of this file durable.
    ///
    /// # Errors
    /// As the system reports them. What is durable is unknown then, and trying again would lie: Linux marks the pages
    /// clean at the first failure and the second call succeeds without having written them.
    fn sync_data(&self) -> io::Result<()>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// As the system reports them.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) the file to `len` bytes. Durable only after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// As the system reports them.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Says whether the file holds no byte.
    ///
    /// # Errors
    /// As for [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A held lock; released when dropped, or when the process ends in whichever way.
pub trait DiskLock: Debug + Send + Sync + 'static {}
