//! All replicas of a node, and the door through which other nodes reach them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_storage::{SnapshotStore, Wal};
use tiebeam_wire::{GroupId, NodeId, Role};

use crate::StateMachine;
use crate::config::GroupConfig;
use crate::group::Parts;
use crate::group::{Core, Group};
use crate::network::{Kind, open_envelope};
use crate::transport::{Asker, Channel, Transport};

/// Most groups that a node holds.
pub const GROUPS_MAX: usize = 256;

/// Why a replica can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The node holds [`GROUPS_MAX`] groups already.
    #[error("group {0} refused: this node holds {GROUPS_MAX} groups, the most it may")]
    TooMany(GroupId),
    /// The group is open already.
    #[error("group {0} is open already")]
    Open(GroupId),
    /// This node is not among the members.
    #[error("group {group} has members {members:?}, this node is not among them")]
    NotMember {
        /// The group.
        group: GroupId,
        /// Who is.
        members: Vec<NodeId>,
    },
    /// The configuration contradicts itself.
    #[error("configuration of group {group} is not valid: {reason}")]
    Config {
        /// The group.
        group: GroupId,
        /// What contradicts what.
        reason: String,
    },
    /// The snapshot can't be read.
    #[error("snapshot of group {group} can't be read")]
    Snapshot {
        /// The group.
        group: GroupId,
        /// What was wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// Raft refused its log.
    #[error("log of group {group} can't be opened: {reason}")]
    Raft {
        /// The group.
        group: GroupId,
        /// Raft's words.
        reason: String,
    },
}

/// How a replica stands, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// Its voters.
    pub members: Vec<NodeId>,
    /// The newest term that this replica knows.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// How many entries were applied here.
    pub applied: u64,
    /// Why the replica is stopped for good, if it is.
    pub stopped: Option<String>,
}

/// The replicas of a node. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    wal: Arc<Wal>,
    snapshots: SnapshotStore,
    transport: Arc<dyn Transport>,
    open: RwLock<BTreeMap<GroupId, Arc<dyn Replica>>>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

/// A replica of any state machine.
trait Replica: Send + Sync {
    fn serve_raft(self: Arc<Self>, kind: Kind, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
    fn serve_group(self: Arc<Self>, kind: Kind, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
    fn status(&self) -> GroupStatus;
    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

impl<S: StateMachine> Replica for Core<S> {
    fn serve_raft(self: Arc<Self>, kind: Kind, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async move { Self::serve_raft(&self, kind, &body).await }.boxed()
    }

    fn serve_group(self: Arc<Self>, kind: Kind, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async move { Self::serve_group(&self, kind, body).await }.boxed()
    }

    fn status(&self) -> GroupStatus {
        Self::status(self)
    }

    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move { Self::stop(&self).await }.boxed()
    }
}

impl Groups {
    /// Opens the door: from now on requests of other nodes for groups of this node are answered.
    pub fn start(node: NodeId, wal: Arc<Wal>, snapshots: SnapshotStore, transport: Arc<dyn Transport>) -> Self {
        let inner = Arc::new(Inner {
            node,
            wal,
            snapshots,
            transport: Arc::clone(&transport),
            open: RwLock::new(BTreeMap::new()),
        });
        for channel in [Channel::Raft, Channel::Group] {
            let weak = Arc::downgrade(&inner);
            let handler = move |asker: Asker, body: Bytes| match weak.upgrade() {
                Some(inner) => inner.serve(channel, asker, body),
                None => futures::future::ready(Err("node is stopping".to_owned())).boxed(),
            };
            transport.serve(channel, Arc::new(handler));
        }
        Self { inner }
    }

    /// Opens this node's replica of `group`, from its log if there is one, else as a new one among `members`.
    ///
    /// All members must be given the same list, in the same order. `new_state` makes the empty state; it is called
    /// again if the replica has to be rebuilt.
    ///
    /// # Errors
    /// See [`OpenError`]; the node's other groups go on.
    pub async fn open<S: StateMachine>(
        &self,
        group: GroupId,
        members: &[NodeId],
        config: GroupConfig,
        new_state: impl Fn() -> S + Send + Sync + 'static,
    ) -> Result<Group<S>, OpenError> {
        let inner = &self.inner;
        if !members.contains(&inner.node) {
            return Err(OpenError::NotMember { group, members: members.to_vec() });
        }
        {
            let open = inner.open.read().unwrap_or_else(PoisonError::into_inner);
            if open.contains_key(&group) {
                return Err(OpenError::Open(group));
            }
            if open.len() >= GROUPS_MAX {
                return Err(OpenError::TooMany(group));
            }
        }
        let parts = Parts {
            node: inner.node,
            members: members.to_vec(),
            config,
            wal: Arc::clone(&inner.wal),
            snapshots: inner.snapshots.clone(),
            transport: Arc::clone(&inner.transport),
            new_state: Box::new(new_state),
        };
        let core = Core::open(group, parts).await?;
        let mut open = inner.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(group, Arc::clone(&core) as Arc<dyn Replica>);
        Ok(Group::new(core))
    }

    /// Stops all replicas; requests for them are refused from now on. What they hold stays on disk.
    pub async fn stop(&self) {
        let open = std::mem::take(&mut *self.inner.open.write().unwrap_or_else(PoisonError::into_inner));
        futures::future::join_all(open.into_values().map(Replica::stop)).await;
    }

    /// How the node's replicas stand, in order of group.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        let open = self.inner.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().map(|replica| replica.status()).collect()
    }
}

impl Inner {
    fn serve(&self, channel: Channel, asker: Asker, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        // The transport checks the same by the stream's kind; a vote is worth a second look.
        if channel == Channel::Raft && asker.role != Role::Core {
            tracing::warn!(node = %asker.node, role = %asker.role, "raft request refused: only core nodes vote");
            let text = format!("node {} has role {}; only core nodes take part in raft", asker.node, asker.role);
            return futures::future::ready(Err(text)).boxed();
        }
        let Some((group, kind, body)) = open_envelope(body) else {
            return futures::future::ready(Err("request has no valid envelope".to_owned())).boxed();
        };
        let replica = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned();
        let Some(replica) = replica else {
            return futures::future::ready(Err(format!("group {group} is not open on node {}", self.node))).boxed();
        };
        match channel {
            Channel::Raft => replica.serve_raft(kind, body),
            Channel::Group => replica.serve_group(kind, body),
        }
    }
}
