//! Reads all segments, verifies every record, and decides whether damage is a torn tail or corruption.
//!
//! A batch is written only after the batch before it was synced. So a valid record of a *later* batch proves that the
//! damaged place was durable once: corruption, and opening fails. Without such proof, in the last segment, it is what a
//! power loss leaves of a batch that nobody was told about: its batch is cut, whole.

mod replay;
mod scan;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tiebeam_wire::GroupId;

use super::group::GroupState;
use super::writer::{Segment, start_segment};
use super::{Corruption, OpenError};
use crate::disk::Disk;
use crate::format::{parse_segment_name, segment_name};
use replay::Replay;
use scan::{Scan, Scanner};

/// What opening found on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments that were read.
    pub segments: u64,
    /// Records in them, those of checkpoints included.
    pub records: u64,
    /// What was cut off the end of the last segment, if a power loss left anything to cut.
    pub torn: Option<Torn>,
}

impl Recovered {
    /// Returns the bytes that were cut.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn.as_ref().map_or(0, |torn| torn.bytes)
    }
}

/// The remains of a batch that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// Where the batch started, in bytes; the segment ends there now. 0 if the whole segment was only half made and is
    /// gone.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
}

/// All that the writer needs to go on.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) groups: BTreeMap<GroupId, GroupState>,
    pub(crate) current: Segment,
    pub(crate) next_batch: u64,
    /// Every segment there is, with a count of 0.
    pub(crate) live: BTreeMap<u64, u64>,
    pub(crate) recovered: Recovered,
}

/// Recovers the log in `dir`; begins one if there is none.
pub(crate) fn recover(dir: &Path, disk: &dyn Disk) -> Result<Loaded, OpenError> {
    let mut recovery = Recovery { dir, disk, replay: Replay::default(), recovered: Recovered::default(), last: None };
    let segments = recovery.list()?;
    for (at, seq) in segments.iter().enumerate() {
        recovery.scan(*seq, at + 1 == segments.len())?;
    }
    recovery.check_segments(&segments)?;
    let groups = recovery.groups()?;
    recovery.clean(&segments)?;
    recovery.finish(groups)
}

struct Recovery<'a> {
    dir: &'a Path,
    disk: &'a dyn Disk,
    replay: Replay,
    recovered: Recovered,
    /// The segment read last.
    last: Option<Segment>,
}

impl Recovery<'_> {
    fn list(&self) -> Result<Vec<u64>, OpenError> {
        let names = self.disk.list(self.dir).map_err(|source| self.io("list", self.dir.to_owned(), source))?;
        Ok(names.iter().filter_map(|name| parse_segment_name(name)).collect())
    }

    fn scan(&mut self, seq: u64, is_last: bool) -> Result<(), OpenError> {
        let path = self.path(seq);
        let file = self.disk.open(&path).map_err(|source| self.io("open", path.clone(), source))?;
        let before = self.last.take().filter(|segment| segment.seq + 1 == seq);
        let scan = Scanner::new(&path, seq, &*file)?.scan(&mut self.replay, before.as_ref(), is_last)?;
        self.recovered.segments += 1;
        match scan {
            Scan::Whole { len, fresh_len, records } => {
                self.recovered.records += records;
                self.last = Some(Segment { seq, file, len, fresh_len });
            }
            Scan::Torn { len, fresh_len, records, bytes } => {
                self.recovered.records += records;
                self.recovered.torn = Some(Torn { path, offset: len, bytes });
                self.last = Some(Segment { seq, file, len, fresh_len });
            }
            Scan::HalfMade { bytes } => {
                self.recovered.segments -= 1;
                self.recovered.torn = Some(Torn { path, offset: 0, bytes });
                self.last = before;
            }
        }
        Ok(())
    }

    /// Compares the files with what the log says of its segments.
    fn check_segments(&self, files: &[u64]) -> Result<(), OpenError> {
        match self.replay.segments.iter().find(|seq| files.binary_search(seq).is_err()) {
            Some(missing) => Err(OpenError::MissingSegment { path: self.path(*missing) }),
            None => Ok(()),
        }
    }

    /// Cuts what is torn and removes what is superfluous. Comes after all checks: what is refused is left as it was. Made
    /// durable by `finish`, before anything is written after it.
    fn clean(&self, files: &[u64]) -> Result<(), OpenError> {
        if let Some(Torn { path, offset, bytes }) = &self.recovered.torn {
            match &self.last {
                Some(last) if *offset > 0 => {
                    last.file.truncate(*offset).map_err(|source| self.io("truncate", path.clone(), source))?;
                }
                _ => self.disk.remove(path).map_err(|source| self.io("remove", path.clone(), source))?,
            }
            tracing::warn!(path = %path.display(), offset, bytes, "cut a torn tail");
        }
        // Their removal was recorded, then the power went before it was durable.
        for superfluous in files.iter().filter(|seq| self.is_superfluous(**seq)) {
            let path = self.path(*superfluous);
            self.disk.remove(&path).map_err(|source| self.io("remove", path, source))?;
        }
        Ok(())
    }

    fn is_superfluous(&self, seq: u64) -> bool {
        !self.replay.segments.contains(&seq) && self.last.as_ref().is_some_and(|last| seq < last.seq)
    }

    fn groups(&self) -> Result<BTreeMap<GroupId, GroupState>, OpenError> {
        self.replay.groups().map_err(|reason| {
            let end = self.last.as_ref().map(|last| (self.path(last.seq), last.len));
            let (path, offset) = end.unwrap_or_else(|| (self.dir.to_owned(), 0));
            OpenError::Corrupt { path, offset, reason }
        })
    }

    fn finish(self, groups: BTreeMap<GroupId, GroupState>) -> Result<Loaded, OpenError> {
        let (dir, disk) = (self.dir, self.disk);
        let mut next_batch = self.replay.next_batch();
        let io = |operation, source| OpenError::Io { operation, path: dir.to_owned(), source };
        let current = match self.last {
            Some(segment) => {
                // A process that was killed leaves bytes that only the page cache has. They are about to be believed,
                // so they must be on the disk first; likewise the names.
                segment.file.sync_data().map_err(|source| io("sync", source))?;
                disk.sync_dir(dir).map_err(|source| io("sync", source))?;
                segment
            }
            None => {
                let segment = start_segment(disk, dir, (1, next_batch, 0), &[], &BTreeMap::new())
                    .map_err(|(operation, source)| io(operation, source))?;
                next_batch += 1;
                segment
            }
        };
        let mut live: BTreeMap<u64, u64> = self.replay.segments.iter().map(|seq| (*seq, 0)).collect();
        live.insert(current.seq, 0);
        Ok(Loaded { groups, current, next_batch, live, recovered: self.recovered })
    }

    fn path(&self, seq: u64) -> PathBuf {
        self.dir.join(segment_name(seq))
    }

    fn io(&self, operation: &'static str, path: PathBuf, source: io::Error) -> OpenError {
        OpenError::Io { operation, path, source }
    }
}
