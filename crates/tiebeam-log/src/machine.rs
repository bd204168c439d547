//! The state machine of a group as openraft drives it: apply in order, answer, snapshot.

use std::io;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::entry::RaftPayload;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use serde::{Deserialize, Serialize};
use tiebeam_storage::SnapshotStore;
use tiebeam_wire::GroupId;
use tokio::sync::watch;

use crate::StateMachine;
use crate::store::{from_disk, to_disk};
use crate::type_config::{LogId, RaftTypes, Reply, Snapshot, SnapshotMeta, StoredMembership};

/// What the group's handle and its Raft core share: the state, and how far it got.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    state: RwLock<S>,
    /// How many entries were applied: the Raft index of the last one plus one.
    applied: watch::Sender<u64>,
}

impl<S> Shared<S> {
    pub(crate) fn new(state: S) -> Self {
        Self { state: RwLock::new(state), applied: watch::Sender::new(0) }
    }

    // A panic under the lock stops the group (openraft reports it as fatal), so a poisoned state is never served: the
    // group is rebuilt from the log with a new `Shared` state.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, S> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, S> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn replace(&self, state: S) {
        self.applied.send_replace(0);
        *self.write() = state;
    }

    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }
}

#[derive(Debug)]
pub(crate) struct Machine<S> {
    group: GroupId,
    shared: Arc<Shared<S>>,
    snapshots: SnapshotStore,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

/// What stands beside a snapshot's data on disk and on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) last_log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl<S: StateMachine> Machine<S> {
    /// Brings back the newest snapshot; what came after it is applied again from the log.
    pub(crate) fn open(group: GroupId, shared: Arc<Shared<S>>, snapshots: SnapshotStore) -> io::Result<Self> {
        let mut machine =
            Self { group, shared, snapshots, last_applied: None, membership: StoredMembership::default() };
        if let Some(tiebeam_storage::Snapshot { meta, data, .. }) =
            machine.snapshots.latest(group).map_err(io::Error::other)?
        {
            machine.restore(from_disk(&meta)?, &data)?;
        }
        Ok(machine)
    }

    fn restore(&mut self, meta: Meta, data: &[u8]) -> io::Result<()> {
        self.shared.write().restore(data).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.membership;
        self.shared.applied.send_replace(self.last_applied.map_or(0, |id| id.index() + 1));
        Ok(())
    }

    fn meta(&self) -> Meta {
        Meta { last_log_id: self.last_applied, membership: self.membership.clone() }
    }
}

impl<S: StateMachine> RaftStateMachine<RaftTypes> for Machine<S> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<RaftTypes>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let log_id = entry.log_id;
            let reply = match entry.payload {
                EntryPayload::Normal(command) => self.shared.write().apply(log_id.index(), &command.0),
                EntryPayload::Blank => Bytes::new(),
                ref membership @ EntryPayload::Membership(_) => {
                    let membership = membership.get_membership().expect("a membership entry holds a membership");
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    Bytes::new()
                }
            };
            self.last_applied = Some(log_id);
            // Before the answer: whoever hears it may read the state at once.
            self.shared.applied.send_replace(log_id.index() + 1);
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let data = self.shared.read().snapshot().into();
        Builder { group: self.group, snapshots: self.snapshots.clone(), meta: self.meta(), data }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        let meta = Meta { last_log_id: meta.last_log_id, membership: meta.last_membership.clone() };
        save(&self.snapshots, self.group, &meta, data.clone()).await?;
        self.restore(meta, &data)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let latest = self.snapshots.latest(self.group).map_err(io::Error::other)?;
        latest.map(|found| Ok(openraft_snapshot(&from_disk(&found.meta)?, found.data))).transpose()
    }
}

/// A state written down at one moment, on its way to the disk.
#[derive(Debug)]
pub(crate) struct Builder {
    group: GroupId,
    snapshots: SnapshotStore,
    meta: Meta,
    data: Bytes,
}

impl RaftSnapshotBuilder<RaftTypes> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        save(&self.snapshots, self.group, &self.meta, self.data.clone()).await?;
        Ok(openraft_snapshot(&self.meta, self.data.clone()))
    }
}

async fn save(snapshots: &SnapshotStore, group: GroupId, meta: &Meta, data: Bytes) -> io::Result<()> {
    let (snapshots, meta) = (snapshots.clone(), to_disk(meta));
    let saved = tiebeam_world::blocking(move || snapshots.save(group, &meta, &data)).await;
    saved.map_err(io::Error::other)?.map_err(io::Error::other)
}

pub(crate) fn openraft_snapshot(meta: &Meta, data: Bytes) -> Snapshot {
    let meta = SnapshotMeta { last_log_id: meta.last_log_id, last_membership: meta.membership.clone() };
    Snapshot { meta, snapshot: data }
}
