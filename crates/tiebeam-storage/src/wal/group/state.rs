use std::collections::VecDeque;

use bytes::Bytes;
use tiebeam_wire::GroupId;

use crate::wal::segments::Location;
use crate::wal::{Entry, Slots, StateSlot, WriteError};

/// What an entry costs in memory beside its payload.
const CACHED_ENTRY_BYTES: u64 = size_of::<Bytes>() as u64;

/// Two views of one log. *Memory* (purged, last, slots, recent) changes when a caller writes; *disk* (the located
/// entries) follows when the writer has synced, in the same order. An entry leaves `recent` only when the disk's view has
/// this very version of it, so that a reader can never meet an entry of the same index that was cut off meanwhile.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    /// Whether anything was written since the group was begun or removed.
    pub(crate) exists: bool,
    pub(crate) purged: u64,
    pub(crate) last: u64,
    pub(crate) slots: Slots,
    /// The payloads of the last entries, in order; the newest is that of `last`.
    recent: VecDeque<Bytes>,
    /// The index below `located`: what the disk's view has purged.
    pub(crate) located_purged: u64,
    /// Where the entries above `located_purged` lie on disk.
    pub(crate) located: VecDeque<Location>,
    /// Cuts that memory has seen and the disk's view has not. While there are any, equal indexes may mean two entries.
    pub(crate) cuts_pending: u32,
}

/// Where to find an entry.
#[derive(Debug)]
pub(crate) enum Found {
    Memory(Bytes),
    Disk(Location),
}

impl GroupState {
    /// A log of which everything is on disk and nothing in memory.
    pub(crate) fn recovered(purged: u64, last: u64, slots: Slots, located: VecDeque<Location>) -> Self {
        Self { exists: true, purged, last, slots, located_purged: purged, located, ..Self::default() }
    }

    /// Appends to memory and returns the bytes that the cache grew by.
    pub(crate) fn append(&mut self, group: GroupId, entries: &[Entry]) -> Result<u64, WriteError> {
        for (expected, entry) in (self.last + 1..).zip(entries) {
            if entry.index != expected {
                return Err(WriteError::NotConsecutive { group, expected, found: entry.index });
            }
        }
        self.exists |= !entries.is_empty();
        self.last += entries.len() as u64;
        self.recent.extend(entries.iter().map(|entry| entry.payload.clone()));
        Ok(entries.iter().map(|entry| cost(&entry.payload)).sum())
    }

    pub(crate) fn put(&mut self, slot: StateSlot, value: Bytes) {
        self.exists = true;
        self.slots[usize::from(slot.number())] = Some(value);
    }

    /// Keeps the entries up to `after` in memory; returns the bytes that the cache shrank by.
    pub(crate) fn truncate(&mut self, after: u64) -> u64 {
        assert!(self.purged <= after, "purged {} > kept {after}", self.purged);
        assert!(after <= self.last, "kept {after} > last {}", self.last);
        let gone = (self.last - after).min(self.recent.len() as u64);
        let keep = self.recent.len() - usize::try_from(gone).expect("at most the length of a deque");
        self.last = after;
        self.recent.drain(keep..).map(|payload| cost(&payload)).sum()
    }

    /// Drops the entries up to `upto` from memory; returns the bytes that the cache shrank by.
    pub(crate) fn purge(&mut self, upto: u64) -> u64 {
        assert!(self.purged < upto, "purged {} >= new {upto}", self.purged);
        let freed = self.evict(upto);
        self.purged = upto;
        self.last = self.last.max(upto);
        freed
    }

    /// Back to an empty group in memory; returns the bytes that the cache shrank by.
    pub(crate) fn remove(&mut self) -> u64 {
        self.exists = false;
        self.slots = Slots::default();
        let freed = self.evict(u64::MAX);
        (self.purged, self.last) = (0, 0);
        freed
    }

    /// Drops payloads up to `upto` that the disk has; returns the bytes that the cache shrank by.
    pub(crate) fn evict_located(&mut self, upto: u64) -> u64 {
        match self.cuts_pending {
            0 => self.evict(upto.min(self.located_last())),
            _ => 0,
        }
    }

    /// Finds an entry above the purged index, up to the last.
    pub(crate) fn find(&self, index: u64) -> Found {
        assert!(self.purged < index, "purged {} >= wanted {index}", self.purged);
        assert!(index <= self.last, "wanted {index} > last {}", self.last);
        let place = |base: u64| usize::try_from(index - base - 1).expect("fits, as the deque does");
        let recent_from = self.last - self.recent.len() as u64;
        if index > recent_from {
            return Found::Memory(self.recent[place(recent_from)].clone());
        }
        Found::Disk(self.located[place(self.located_purged)])
    }

    pub(crate) fn located_last(&self) -> u64 {
        self.located_purged + self.located.len() as u64
    }

    fn evict(&mut self, upto: u64) -> u64 {
        let recent_from = self.last - self.recent.len() as u64;
        let gone = upto.saturating_sub(recent_from).min(self.recent.len() as u64);
        self.recent.drain(..usize::try_from(gone).expect("fits, as the deque does")).map(|payload| cost(&payload)).sum()
    }
}

fn cost(payload: &Bytes) -> u64 {
    payload.len() as u64 + CACHED_ENTRY_BYTES
}
