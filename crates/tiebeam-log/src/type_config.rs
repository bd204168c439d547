//! The openraft types of every group: one configuration for all, since all groups move bytes.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A command as it stands in a log entry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a state machine answered to a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reply(pub(crate) Bytes);

/// A member as Raft knows it: its id alone. Addresses change with restarts and belong to gossip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member;

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("member")
    }
}

openraft::declare_raft_types!(
    pub(crate) RaftTypes:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Member,
);

pub(crate) type Entry = openraft::type_config::alias::EntryOf<RaftTypes>;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<RaftTypes>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<RaftTypes>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<RaftTypes>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<RaftTypes>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<RaftTypes, Bytes>;
