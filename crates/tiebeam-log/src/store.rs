//! openraft's log, kept in the node's shared write-ahead log.
//!
//! Raft counts its entries from 0, storage from 1 (0 means "none"): [`seat`] translates, here and nowhere else.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_storage::{GroupLog, StateSlot};
use tiebeam_wire::{NodeId, codec};
use tokio::sync::oneshot;

use crate::type_config::{Entry, LogId, RaftTypes, Vote};

/// Version of entries, votes and log ids on disk.
const DISK_VERSION: u8 = 1;

#[derive(Clone, Debug)]
pub(crate) struct Store {
    log: GroupLog,
    append_bytes_max: usize,
}

impl Store {
    pub(crate) const fn new(log: GroupLog, append_bytes_max: usize) -> Self {
        Self { log, append_bytes_max }
    }

    /// Reads entries from Raft index `from` on, below `end`; stops after `bytes_max`, but not before the first entry.
    pub(crate) fn read(&self, from: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let from = seat(from).max(self.log.first_index());
        let end = seat(end).min(self.log.last_index() + 1);
        if from >= end {
            return Ok(Vec::new());
        }
        let entries = self.log.read(from..end, bytes_max).map_err(io::Error::other)?;
        entries.into_iter().map(|e| from_disk(&e.payload)).collect()
    }

    /// The first Raft index that is still there.
    pub(crate) fn first(&self) -> u64 {
        self.log.first_index().saturating_sub(1)
    }

    fn slot<T: DeserializeOwned>(&self, slot: StateSlot) -> io::Result<Option<T>> {
        self.log.state(slot).map(|bytes| from_disk(&bytes)).transpose()
    }

    /// Says whether `node`, whose store this is, led the group in the last term that it knows of. A vote that can't be
    /// read says no: openraft reads it next, and its error is the one that counts.
    pub(crate) fn has_led(&self, node: NodeId) -> bool {
        let vote = self.slot::<Vote>(StateSlot::Vote).ok().flatten();
        vote.is_some_and(|vote| vote.is_committed() && vote.leader_id().node_id == node.0)
    }

    async fn done(rx: oneshot::Receiver<Result<(), tiebeam_storage::WriteError>>) -> io::Result<()> {
        match rx.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("write-ahead log was closed before the write was on disk")),
        }
    }
}

impl RaftLogReader<RaftTypes> for Store {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let from = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(i) => i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX - 1,
        };
        self.read(from, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, self.append_bytes_max)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.slot(StateSlot::Vote)
    }
}

impl RaftLogStorage<RaftTypes> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<RaftTypes>> {
        let last_purged_log_id: Option<LogId> = self.slot(StateSlot::Purged)?;
        let last = self.log.last_index();
        let last_entry = if last < self.log.first_index() { None } else { self.read(last - 1, last, 1)?.pop() };
        let last_log_id = last_entry.map(|e| e.log_id).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        let done = move |r| drop(tx.send(r));
        self.log.put_state(StateSlot::Vote, to_disk(vote), done).map_err(io::Error::other)?;
        Self::done(rx).await
    }

    // Not waited for: a lost one only means that the state machine starts a little behind and catches up.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        self.log.put_state(StateSlot::Committed, to_disk(&committed), |_| ()).map_err(io::Error::other)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.slot(StateSlot::Committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<RaftTypes>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(|e| tiebeam_storage::Entry { index: seat(e.log_id.index()), payload: to_disk(&e) })
            .collect();
        let done = move |result: Result<(), tiebeam_storage::WriteError>| {
            callback.io_completed(result.map_err(io::Error::other));
        };
        self.log.append(entries, done).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let keep = last_log_id.map_or(0, |id| seat(id.index()));
        let (tx, rx) = oneshot::channel();
        self.log.truncate_after(keep, move |r| drop(tx.send(r))).map_err(io::Error::other)?;
        Self::done(rx).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        let done = move |r| drop(tx.send(r));
        self.log.purge(seat(log_id.index()), to_disk(&log_id), done).map_err(io::Error::other)?;
        Self::done(rx).await
    }
}

/// Where storage keeps the entry with this Raft index.
const fn seat(index: u64) -> u64 {
    index.saturating_add(1)
}

pub(crate) fn to_disk<T: Serialize>(value: &T) -> Bytes {
    codec::encode(DISK_VERSION, value).into()
}

pub(crate) fn from_disk<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    codec::decode(DISK_VERSION, bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
