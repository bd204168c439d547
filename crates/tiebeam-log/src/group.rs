//! One replica of one replicated log, and the handle to it.

mod replica;
mod serve;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::ReadPolicy;
use tiebeam_wire::{GroupId, NodeId};

pub(crate) use self::replica::{Core, Parts};
pub(crate) use self::serve::GroupReply;
use crate::StateMachine;

/// Most bytes of entries that are read at once to answer [`Group::commands`].
const COMMANDS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A handle to this node's replica of a group. Cheap to clone; dropping it stops nothing.
pub struct Group<S: StateMachine> {
    core: Arc<Core<S>>,
}

impl<S: StateMachine> Clone for Group<S> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<S: StateMachine> fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("id", &self.core.id).finish_non_exhaustive()
    }
}

/// Why a command was not, or not knowingly, committed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This replica doesn't lead. The command was not taken; ask `leader`, if known.
    #[error("group {group} is led by {leader:?}, not by this node")]
    NotLeader {
        /// The group.
        group: GroupId,
        /// Who leads it as far as this replica knows.
        leader: Option<NodeId>,
    },
    /// The replica is stopped or restarting. The command may be committed or not.
    #[error("group {group} is stopped on this node: {reason}")]
    Stopped {
        /// The group.
        group: GroupId,
        /// What stopped it.
        reason: String,
    },
}

/// Says that this replica leads in a term; ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(pub u64);

/// Commands read back from the log.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// Raft index and command, in order; indexes may jump over entries that are Raft's own.
    pub items: Vec<(u64, Bytes)>,
    /// Where to read on.
    pub next: u64,
}

/// Why commands can't be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandsError {
    /// Entries before `first` were purged.
    #[error("group {group} has entries from {first} on, {asked} was asked for")]
    Purged {
        /// The group.
        group: GroupId,
        /// The first index that is still there.
        first: u64,
        /// The index that was asked for.
        asked: u64,
    },
    /// The log could not be read.
    #[error("log of group {group} can't be read")]
    Io {
        /// The group.
        group: GroupId,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
}

impl<S: StateMachine> Group<S> {
    pub(crate) const fn new(core: Arc<Core<S>>) -> Self {
        Self { core }
    }

    /// Commits `command` and returns what the state machine answered.
    ///
    /// Commands of one caller that are awaited one after the other are applied in that order. Dropping the future does
    /// not undo the proposal: it may still commit. There is no time limit here; without a quorum this waits until one
    /// is back or the leader changes.
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`]: nothing was done. [`ProposeError::Stopped`]: the outcome is unknown.
    pub async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        self.core.propose(command).await
    }

    /// Reads the applied state of this replica, which may lag behind the leader's. Keep `read` short: it holds up apply.
    pub fn read<R>(&self, read: impl FnOnce(&S) -> R) -> R {
        read(&self.core.shared.read())
    }

    /// Waits until everything that was committed when this was called is applied here, and makes sure that this replica
    /// leads at that time (Raft thesis 6.4: read index, confirmed by a quorum).
    ///
    /// # Errors
    /// As [`Group::propose`]; nothing is ever changed.
    pub async fn linearize(&self) -> Result<(), ProposeError> {
        self.core.linearize(ReadPolicy::ReadIndex).await
    }

    /// Waits until this replica leads and has applied everything that earlier leaders committed; returns its term.
    pub async fn led(&self) -> Term {
        self.core.led().await
    }

    /// Waits until this replica no longer leads in `term`.
    pub async fn deposed(&self, term: Term) {
        self.core.deposed(term).await;
    }

    /// Who leads the group as far as this replica knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.core.leadership().leader
    }

    /// How many entries were applied here: the Raft index of the last one plus one.
    #[must_use]
    pub fn applied(&self) -> u64 {
        *self.core.shared.applied().borrow()
    }

    /// Waits until more than `count` entries were applied here; returns how many there are then.
    pub fn applied_past(&self, count: u64) -> impl Future<Output = u64> + Send + use<S> {
        let mut applied = self.core.shared.applied();
        async move {
            if let Ok(now) = applied.wait_for(|now| *now > count).await.map(|now| *now) {
                return now;
            }
            // The group is gone for good; a waiter must not spin on it.
            std::future::pending().await
        }
    }

    /// Reads back applied commands from Raft index `from` on: at least one if there is any, at most about `bytes_max`
    /// (capped at 8 MiB) bytes of entries.
    ///
    /// # Errors
    /// [`CommandsError::Purged`] if `from` is gone; [`CommandsError::Io`] if the disk failed or an entry is corrupt.
    pub fn commands(&self, from: u64, bytes_max: usize) -> Result<Commands, CommandsError> {
        let group = self.core.id;
        let store = self.core.store();
        if from < store.first() {
            return Err(CommandsError::Purged { group, first: store.first(), asked: from });
        }
        let entries = store
            .read(from, self.applied(), bytes_max.min(COMMANDS_BYTES_MAX))
            .map_err(|source| CommandsError::Io { group, source })?;
        let next = entries.last().map_or(from, |e| e.log_id.index() + 1);
        let items = entries.into_iter().filter_map(|e| match e.payload {
            EntryPayload::Normal(command) => Some((e.log_id.index(), command.0)),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        });
        Ok(Commands { items: items.collect(), next })
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.core.id
    }
}

/// How long a replica that wants to serve a linearizable read waits for its quorum before it tries again.
pub(crate) const LINEARIZE_TIMEOUT: Duration = Duration::from_secs(2);
