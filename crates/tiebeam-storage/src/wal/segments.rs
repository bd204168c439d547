use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile};
use crate::format::segment_name;

/// Segments that readers keep open at a time; one more closes the oldest.
const FILES_OPEN_MAX: usize = 128;

/// Where the record of an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// Length of the payload in bytes.
    pub(crate) length: u32,
}

/// Opens segments for reading and keeps some of them open.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    open: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

impl OpenFiles {
    pub(crate) fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { dir, disk, open: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) fn get(&self, segment: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.lock().get(&segment) {
            return Ok(Arc::clone(file));
        }
        // Not under the lock: readers of other segments need not wait for this one.
        let file = self.disk.open(&self.path(segment))?;
        let mut open = self.lock();
        open.insert(segment, Arc::clone(&file));
        if open.len() > FILES_OPEN_MAX {
            open.pop_first();
        }
        Ok(file)
    }

    pub(crate) fn forget(&self, segment: u64) {
        self.lock().remove(&segment);
    }

    pub(crate) fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(segment_name(segment))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<dyn DiskFile>>> {
        self.open.lock().expect("no code panics while it holds the table of open segments")
    }
}
