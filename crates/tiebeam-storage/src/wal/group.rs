mod read;
mod state;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tiebeam_wire::GroupId;

use super::queue::{Change, Write};
use super::{Entry, ReadError, Shared, StateSlot, WRITE_BYTES_MAX, WriteError};
use crate::format::RECORD_HEADER_BYTES;
pub(crate) use state::GroupState;

/// A group's log in memory.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    state: Mutex<GroupState>,
}

impl Group {
    pub(crate) fn empty(id: GroupId) -> Self {
        Self::recovered(id, GroupState::default())
    }

    pub(crate) fn recovered(id: GroupId, state: GroupState) -> Self {
        Self { id, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().expect("no code panics while it holds a group")
    }
}

/// The log of one group within the node's [`super::Wal`]. Cheap to clone; all clones are the same log.
///
/// A write takes effect in memory when its method returns: it can be read at once, and the order of writes to a group is
/// the order of the calls. It is durable when `done` is called with `Ok`. `done` runs on the writer thread, for the
/// writes of a group in the order of the calls: it must be quick, must not wait, and had best send a message. If a method
/// returns an error its `done` is never called; otherwise it is called exactly once.
///
/// A write waits for room when [`super::Config::queue_writes_max`] writes wait, which is the back-pressure of the disk.
#[derive(Clone)]
pub struct GroupLog {
    group: Arc<Group>,
    shared: Arc<Shared>,
}

impl GroupLog {
    pub(crate) const fn new(group: Arc<Group>, shared: Arc<Shared>) -> Self {
        Self { group, shared }
    }

    /// Appends `entries`, which follow the last index and each other. All of them become durable, or none. An empty list
    /// changes nothing and is done when all earlier writes are.
    ///
    /// # Errors
    /// [`WriteError::NotConsecutive`] and [`WriteError::TooLarge`] leave the log as it was; any other is final.
    pub fn append(
        &self,
        entries: Vec<Entry>,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<(), WriteError> {
        let bytes = entries.iter().map(|entry| record_bytes(&entry.payload)).sum();
        self.write(bytes, done, |state| {
            let added = state.append(self.group.id, &entries)?;
            self.shared.cached_bytes.fetch_add(added, std::sync::atomic::Ordering::Relaxed);
            Ok(if entries.is_empty() { Change::Barrier } else { Change::Append(entries) })
        })
    }

    /// Sets `slot` to `value`. For a lazy slot (see [`StateSlot::is_lazy`]) `done` is called at once on this thread.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] leaves the log as it was; any other is final.
    pub fn put_state(
        &self,
        slot: StateSlot,
        value: Bytes,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<(), WriteError> {
        let bytes = record_bytes(&value);
        let change = |state: &mut GroupState| {
            state.put(slot, value.clone());
            Ok(Change::State(slot, value))
        };
        if !slot.is_lazy() {
            return self.write(bytes, done, change);
        }
        self.write(bytes, |_| (), change)?;
        done(Ok(()));
        Ok(())
    }

    /// Removes all entries after `index`, the last one kept; 0 keeps none. Purged entries stay purged: the log is empty
    /// then and goes on above the purged index.
    ///
    /// # Errors
    /// All are final.
    pub fn truncate_after(
        &self,
        index: u64,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<(), WriteError> {
        self.write(RECORD_HEADER_BYTES as u64, done, |state| {
            let after = index.max(state.purged);
            if after >= state.last {
                return Ok(Change::Barrier);
            }
            self.shrink_cache(state.truncate(after));
            state.cuts_pending += 1;
            Ok(Change::Truncate { after })
        })
    }

    /// Marks all entries up to and with `upto` as not needed and sets [`StateSlot::Purged`] to `value`. `upto` may lie
    /// beyond the last index, as after a snapshot from elsewhere: the log is empty then and goes on at `upto + 1`.
    ///
    /// At or below the purged index it changes nothing. Space is given back when no group needs the segment any more.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`] leaves the log as it was; any other is final.
    pub fn purge(
        &self,
        upto: u64,
        value: Bytes,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<(), WriteError> {
        self.write(record_bytes(&value), done, |state| {
            if upto <= state.purged {
                return Ok(Change::Barrier);
            }
            self.shrink_cache(state.purge(upto));
            state.put(StateSlot::Purged, value.clone());
            state.cuts_pending += 1;
            Ok(Change::Purge { upto, value })
        })
    }

    /// Forgets the group: entries, purged index and state. It may be begun anew.
    ///
    /// # Errors
    /// All are final.
    pub fn remove(&self, done: impl FnOnce(Result<(), WriteError>) + Send + 'static) -> Result<(), WriteError> {
        self.write(RECORD_HEADER_BYTES as u64, done, |state| {
            self.shrink_cache(state.remove());
            state.cuts_pending += 1;
            Ok(Change::Remove)
        })
    }

    /// Returns the group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.group.id
    }

    /// Returns the value of `slot` that was put last, durable or not; `None` if there never was one.
    #[must_use]
    pub fn state(&self, slot: StateSlot) -> Option<Bytes> {
        self.group.lock().slots[usize::from(slot.number())].clone()
    }

    /// Returns the index of the first entry: one above the purged index, whether or not there is such an entry.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.group.lock().purged + 1
    }

    /// Returns the index of the last entry; of an empty log the purged index, 0 if nothing was ever purged.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.group.lock().last
    }

    /// Reads the entries of `range` from its start, until their payloads exceed `bytes_max`: at least one, if there is
    /// one. What lies above the last index is left out. Entries that are not in memory are read from their segment, and
    /// their checksums verified; this blocks.
    ///
    /// # Errors
    /// [`ReadError::Purged`] if the range starts too low; [`ReadError::Corrupt`] names the place; [`ReadError::Io`];
    /// [`ReadError::Stopped`] once a write has failed, since memory may be ahead of the disk.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        read::read(&self.group, &self.shared, range, bytes_max)
    }

    fn write(
        &self,
        bytes: u64,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
        change: impl FnOnce(&mut GroupState) -> Result<Change, WriteError>,
    ) -> Result<(), WriteError> {
        let limit = WRITE_BYTES_MAX as u64;
        if bytes > limit {
            return Err(WriteError::TooLarge { group: self.group.id, bytes, limit });
        }
        self.shared.queue.reserve(bytes)?;
        let mut state = self.group.lock();
        match change(&mut state) {
            Ok(change) => {
                let group = Arc::clone(&self.group);
                self.shared.queue.push(Write { group, change, bytes, done: Box::new(done) })
            }
            Err(error) => {
                drop(state);
                self.shared.queue.release(bytes);
                Err(error)
            }
        }
    }

    fn shrink_cache(&self, bytes: u64) {
        self.shared.cached_bytes.fetch_sub(bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupLog").field("group", &self.group.id).finish_non_exhaustive()
    }
}

fn record_bytes(payload: &Bytes) -> u64 {
    (RECORD_HEADER_BYTES + payload.len()) as u64
}
