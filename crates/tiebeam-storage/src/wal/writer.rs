mod checkpoint;
mod segment;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tiebeam_wire::GroupId;

use super::group::Group;
use super::queue::{Change, Write};
use super::recovery::Loaded;
use super::segments::Location;
use super::{OpenError, Shared, StateSlot, WriteError};
use crate::disk::Disk;
use crate::format::{BatchBuilder, Kind};
pub(crate) use checkpoint::{GroupCheckpoint, decode_segments};
pub(crate) use segment::{Segment, start_segment};

/// Steps that the cache's order of age remembers; beyond that the oldest entries leave memory early.
const CACHE_STEPS_MAX: usize = 1 << 16;
/// A buffer larger than this many full batches is given back after use.
const BUFFER_BATCHES_MAX: usize = 2;

/// Starts the writer thread on what recovery found.
pub(crate) fn start(
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    loaded: Loaded,
) -> Result<JoinHandle<()>, OpenError> {
    let mut live = loaded.live;
    let mut groups = BTreeMap::new();
    for (id, group) in loaded.groups {
        for location in &group.located {
            *live.entry(location.segment).or_default() += 1;
        }
        groups.insert(id, GroupCheckpoint { purged: group.purged, last: group.last, slots: group.slots.clone() });
        shared.groups().insert(id, Arc::new(Group::recovered(id, group)));
    }
    let mut writer = Writer {
        disk,
        dir: dir.clone(),
        current: loaded.current,
        next_batch: loaded.next_batch,
        dead: live.iter().filter(|(_, needed)| **needed == 0).map(|(seq, _)| *seq).collect(),
        live,
        groups,
        ages: VecDeque::new(),
        buffer: Vec::new(),
        shared: Arc::clone(&shared),
    };
    let run = move || {
        shared.queue.writer_is_here();
        if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
            tracing::error!(dir = %writer.dir.display(), "write-ahead log stopped for good: its writer panicked");
            answer_all(shared.queue.fail(WriteError::Panicked), &Err(WriteError::Panicked));
        }
    };
    // A thread of its own: a sync takes milliseconds and must not hold a task's worker.
    let spawned = std::thread::Builder::new().name("wal-writer".to_owned()).spawn(run);
    spawned.map_err(|source| OpenError::Io { operation: "start the writer thread", path: dir, source })
}

/// Owns the segment that is written, and the disk's view of all groups.
struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    current: Segment,
    next_batch: u64,
    /// For each segment that exists: how many entries it holds that some group needs.
    live: BTreeMap<u64, u64>,
    /// Segments that no group needs; the current one among them is spared.
    dead: BTreeSet<u64>,
    /// What a checkpoint would say now.
    groups: BTreeMap<GroupId, GroupCheckpoint>,
    /// In the order in which they reached the disk: a group, and the index up to which its entries are that old.
    ages: VecDeque<(Arc<Group>, u64)>,
    buffer: Vec<u8>,
}

impl Writer {
    fn run(&mut self) {
        while let Some(batch) = self.shared.queue.take() {
            let result = self.write(&batch).map(|locations| self.follow(&batch, locations));
            if self.stop_on_error(&result) {
                return answer_all(batch, &result);
            }
            answer_all(batch, &result);
            self.evict();
            let dropped = self.drop_segments();
            if self.stop_on_error(&dropped) {
                return;
            }
        }
        if self.shared.queue.failure().is_none() {
            let closed = self.write_records(0, |records| {
                records.push(Kind::Closed, GroupId(0), 0, b"");
            });
            self.stop_on_error(&closed);
        }
    }

    /// Fails the whole log if `result` is an error: what the disk holds now is unknown, so nothing may follow.
    fn stop_on_error(&self, result: &Result<(), WriteError>) -> bool {
        let Err(error) = result else { return false };
        tracing::error!(error = %Chain(error), "write-ahead log stopped for good");
        answer_all(self.shared.queue.fail(error.clone()), result);
        true
    }

    /// Writes and syncs one batch; returns where its entries lie, in order.
    fn write(&mut self, batch: &[Write]) -> Result<Vec<Location>, WriteError> {
        let bytes = batch.iter().map(|write| write.bytes).sum();
        let mut locations = Vec::new();
        self.write_records(bytes, |records| {
            for write in batch {
                push(records, write, &mut locations);
            }
        })?;
        for location in &mut locations {
            location.segment = self.current.seq;
        }
        Ok(locations)
    }

    /// Writes and syncs the records that `fill` adds, in the segment that has room for `bytes`. The log's own short
    /// records say 0 and never begin a segment.
    fn write_records(&mut self, bytes: u64, fill: impl FnOnce(&mut BatchBuilder)) -> Result<(), WriteError> {
        let is_full = self.current.len + bytes > self.shared.config.segment_bytes_max && !self.current.is_fresh();
        if is_full && bytes > 0 {
            self.roll()?;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut records = BatchBuilder::new(self.current.seq, self.current.len, self.next_batch, buffer);
        fill(&mut records);
        let bytes = records.finish();
        if bytes.is_empty() {
            return Ok(());
        }
        let path = self.shared.files.path(self.current.seq);
        self.current.file.write_at(&bytes, self.current.len).map_err(|e| write_error("write", &path, e))?;
        self.current.file.sync_data().map_err(|e| write_error("sync", &path, e))?;
        self.current.len += bytes.len() as u64;
        self.next_batch += 1;
        if bytes.capacity() <= self.shared.config.batch_bytes_max.saturating_mul(BUFFER_BATCHES_MAX) {
            self.buffer = bytes;
        }
        Ok(())
    }

    /// Seals the current segment and starts the next one with a checkpoint.
    fn roll(&mut self) -> Result<(), WriteError> {
        let seq = self.current.seq + 1;
        let path = self.shared.files.path(seq);
        let sealed: Vec<u64> = self.live.keys().copied().collect();
        let start = (seq, self.next_batch, self.current.len);
        self.current = start_segment(&*self.disk, &self.dir, start, &sealed, &self.groups)
            .map_err(|(operation, source)| write_error(operation, &path, source))?;
        self.next_batch += 1;
        self.live.insert(seq, 0);
        self.dead.insert(seq);
        tracing::debug!(segment = seq, "began a segment");
        Ok(())
    }

    /// Brings the disk's view of all groups to where the batch left it.
    fn follow(&mut self, batch: &[Write], locations: Vec<Location>) {
        let mut locations = locations.into_iter();
        for write in batch {
            let id = write.group.id;
            if matches!(write.change, Change::Barrier) {
                continue;
            }
            let checkpoint = self.groups.entry(id).or_default();
            let mut state = write.group.lock();
            let last = state.located_last();
            match &write.change {
                Change::Barrier => {}
                Change::Append(entries) => {
                    state.located.extend(locations.by_ref().take(entries.len()));
                    *self.live.entry(self.current.seq).or_default() += entries.len() as u64;
                    self.dead.remove(&self.current.seq);
                    checkpoint.last = last + entries.len() as u64;
                    self.ages.push_back((Arc::clone(&write.group), checkpoint.last));
                }
                Change::State(slot, value) => checkpoint.put(*slot, value.clone()),
                Change::Truncate { after } => {
                    let keep = usize::try_from(after - state.located_purged).expect("fits, as the deque does");
                    bury((&mut self.live, &mut self.dead), state.located.drain(keep..));
                    checkpoint.last = *after;
                    state.cuts_pending -= 1;
                    self.ages.push_back((Arc::clone(&write.group), u64::MAX));
                }
                Change::Purge { upto, value } => {
                    let gone =
                        usize::try_from(*upto.min(&last) - state.located_purged).expect("fits, as the deque does");
                    bury((&mut self.live, &mut self.dead), state.located.drain(..gone));
                    state.located_purged = *upto;
                    checkpoint.purged = *upto;
                    checkpoint.last = last.max(*upto);
                    checkpoint.put(StateSlot::Purged, value.clone());
                    state.cuts_pending -= 1;
                    self.ages.push_back((Arc::clone(&write.group), u64::MAX));
                }
                Change::Remove => {
                    bury((&mut self.live, &mut self.dead), state.located.drain(..));
                    state.located_purged = 0;
                    state.cuts_pending -= 1;
                    drop(state);
                    self.groups.remove(&id);
                }
            }
        }
    }

    /// Drops the oldest entries from memory until the rest fits the limit.
    fn evict(&mut self) {
        let limit = self.shared.config.cache_bytes_max as u64;
        while self.shared.cached_bytes.load(Ordering::Relaxed) > limit || self.ages.len() > CACHE_STEPS_MAX {
            let Some((group, upto)) = self.ages.pop_front() else { return };
            let freed = group.lock().evict_located(upto);
            self.shared.cached_bytes.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    /// Removes the sealed segments that no group needs. A record says so first: a file that is missing without one is
    /// damage.
    fn drop_segments(&mut self) -> Result<(), WriteError> {
        let segments: Vec<u64> = self.dead.iter().copied().filter(|seq| *seq != self.current.seq).collect();
        if segments.is_empty() {
            return Ok(());
        }
        self.write_records(0, |records| {
            for seq in &segments {
                records.push(Kind::SegmentDropped, GroupId(0), *seq, b"");
            }
        })?;
        for seq in segments {
            let path = self.shared.files.path(seq);
            self.disk.remove(&path).map_err(|source| write_error("remove", &path, source))?;
            self.shared.files.forget(seq);
            self.live.remove(&seq);
            self.dead.remove(&seq);
            tracing::debug!(segment = seq, "removed a segment that no group needs");
        }
        Ok(())
    }
}

fn push(records: &mut BatchBuilder, write: &Write, locations: &mut Vec<Location>) {
    let group = write.group.id;
    match &write.change {
        Change::Barrier => {}
        Change::Append(entries) => {
            for entry in entries {
                let offset = records.push(Kind::Entry, group, entry.index, &entry.payload);
                locations.push(Location {
                    segment: 0,
                    offset: u32::try_from(offset).expect("a segment and a write are at most 1 GiB each"),
                    length: u32::try_from(entry.payload.len()).expect("a write is at most 1 GiB"),
                });
            }
        }
        Change::State(slot, value) => _ = records.push(Kind::State, group, u64::from(slot.number()), value),
        Change::Truncate { after } => _ = records.push(Kind::Truncate, group, *after, b""),
        Change::Purge { upto, value } => _ = records.push(Kind::Purge, group, *upto, value),
        Change::Remove => _ = records.push(Kind::Remove, group, 0, b""),
    }
}

/// Takes entries that nobody needs any more off the counts of their segments.
fn bury((live, dead): (&mut BTreeMap<u64, u64>, &mut BTreeSet<u64>), gone: impl Iterator<Item = Location>) {
    for location in gone {
        let count = live.get_mut(&location.segment).expect("a segment with entries that are needed is never dropped");
        *count -= 1;
        if *count == 0 {
            dead.insert(location.segment);
        }
    }
}

fn answer_all(writes: Vec<Write>, result: &Result<(), WriteError>) {
    for write in writes {
        let (group, done) = (write.group.id, write.done);
        // One caller's panic must not keep the others from their answers, nor stop the log.
        if catch_unwind(AssertUnwindSafe(|| done(result.clone()))).is_err() {
            tracing::error!(%group, "callback of a write panicked");
        }
    }
}

fn write_error(operation: &'static str, path: &Path, source: io::Error) -> WriteError {
    let (path, source) = (path.to_owned(), Arc::new(source));
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::DiskFull { operation, path, source },
        _ => WriteError::Failed { operation, path, source },
    }
}

/// Prints an error and its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
