//! Groups of actors on all connected nodes, as OTP's `pg`.
//!
//! A group is a name within a scope; it is there as long as it has members. Any actor may join any group, several times
//! too, and counts as often. Scopes know nothing of each other.
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # use tiebeam_actor::{Actor, Addr, Ctx, ExitReason, Handler, Table};
//! # use tiebeam_cluster::{Cluster, ShareError};
//! # struct Room;
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Say(String);
//! # impl Actor for Room {
//! #     type Args = ();
//! #     async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> { Ok(Self) }
//! #     fn table() -> Table<Self> { Table::new().cast::<Say>(1) }
//! # }
//! # impl Handler<Say> for Room {
//! #     type Reply = ();
//! #     async fn handle(&mut self, _: Say, _: &mut Ctx<Self>) {}
//! # }
//! # fn example(cluster: &Cluster, room: &Addr<Room>) -> Result<(), ShareError> {
//! let lobby = cluster.groups().scope("chat").group::<Room>("lobby");
//! lobby.join(room)?;
//! lobby.broadcast(Say("hello".to_owned()));
//! # Ok(())
//! # }
//! ```
//!
//! **Consistency.** What this node's actors do is seen here at once, and on connected nodes within about 50 ms. Nodes agree
//! once they are connected and nothing changes; until then each sees its own truth. A node that is lost takes its members
//! along at once, here; when it is back so are they. An actor that ends leaves by itself, shortly after its end. A later
//! start of a node begins without members.
//!
//! **Delivery.** [`Group::broadcast`] sends one frame to each node that has members, and each member there gets the message
//! at most once, like any cast. Broadcasts of one sender reach a member in their order, whichever groups they are to; they
//! are not ordered with what the sender sends to that member directly.
//!
//! **Limits.** Names have up to 255 bytes; all groups together have up to 10,000 memberships in each of 64 shards, beyond
//! which [`Group::join`] is refused.
//!
//! Not here: that a group has a certain size, or that somebody is its only member; that needs consensus.
//!
//! Further reading: `pg` of OTP.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, Dest, Handler, Pid, RemoteSignal, Table};
use tiebeam_crdt::ReplicaId;

use crate::node::Node;
use crate::sharing::Frame;
use crate::sharing::plane::{Kind, Plane, ShareError, checked};
use crate::sharing::watch::{Monitoring, ToldOf, Watch, WatchError};

/// The scope of [`Groups::group`].
pub const DEFAULT_SCOPE: &str = "default";

/// All groups that this node sees.
#[derive(Clone)]
pub struct Groups {
    node: Arc<Node>,
}

/// The groups of one scope.
#[derive(Clone)]
pub struct Scope {
    node: Arc<Node>,
    name: String,
}

/// A group of actors of one type. A value: dropping it changes nothing.
///
/// The type is the caller's word. To a member that is of another type, messages are lost as they are with any address of a
/// wrong type.
pub struct Group<A: Actor> {
    node: Arc<Node>,
    scope: String,
    name: String,
    actor: PhantomData<fn() -> A>,
}

/// Where a broadcast went. That it went there doesn't say that it was handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// How many members of this node got it into their mailbox.
    pub here: usize,
    /// How many members of this node had no room for it, or were gone or of another type.
    pub missed_here: usize,
    /// How many other nodes it was sent to, one frame each.
    pub nodes: usize,
    /// To how many other nodes it could not be sent: the members' table doesn't hold the message, it is too large, or their
    /// connection was just lost.
    pub missed_nodes: usize,
}

/// A change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// An actor joined, or its node is there again.
    Joined {
        /// The scope.
        scope: String,
        /// The group.
        group: String,
        /// The actor.
        member: Pid,
        /// How many times, since it was told last.
        times: u32,
    },
    /// An actor left, ended, or its node was lost.
    Left {
        /// The scope.
        scope: String,
        /// The group.
        group: String,
        /// The actor.
        member: Pid,
        /// How many times, since it was told last.
        times: u32,
    },
}

/// Hands out the changes of a group or scope: first a join for each present member, then each change once.
///
/// A reader that is slow gets changes of the same member as one; whoever came and went meanwhile isn't told, whoever went
/// and is back is told as left and joined.
pub struct GroupEvents {
    watch: Watch<GroupsKind>,
}

/// Why an actor did not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// It was no member, or is of another node.
    #[error("{pid} is no member of group {group:?} by way of this node")]
    NotMember {
        /// The actor.
        pid: Pid,
        /// The group.
        group: String,
    },
    /// As with any change.
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl Groups {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Names a scope; there is nothing to start.
    #[must_use]
    pub fn scope(&self, name: impl Into<String>) -> Scope {
        Scope { node: Arc::clone(&self.node), name: name.into() }
    }

    /// Names a group of [`DEFAULT_SCOPE`].
    #[must_use]
    pub fn group<A: Actor>(&self, name: impl Into<String>) -> Group<A> {
        self.scope(DEFAULT_SCOPE).group(name)
    }
}

impl Scope {
    /// Names a group of this scope.
    #[must_use]
    pub fn group<A: Actor>(&self, name: impl Into<String>) -> Group<A> {
        Group { node: Arc::clone(&self.node), scope: self.name.clone(), name: name.into(), actor: PhantomData }
    }

    /// Lists the groups that have members, in order.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let of_scope = |topic: &&(String, String)| topic.0 == self.name;
        let groups = |core: &mut crate::sharing::plane::Core<GroupsKind>| {
            core.board.topics().filter(of_scope).map(|(_, group)| group.clone()).collect()
        };
        self.node.sharing.groups.read(groups)
    }

    /// Hands out the changes of all groups of this scope.
    ///
    /// # Errors
    /// [`WatchError::TooMany`] beyond 4,096 monitors and streams of groups on this node.
    pub fn events(&self) -> Result<GroupEvents, WatchError> {
        let name = self.name.clone();
        Ok(GroupEvents { watch: Watch::new(&self.node, Box::new(move |topic: &(String, String)| topic.0 == name))? })
    }

    /// Tells an actor of this node the changes of all groups of this scope, as messages, until it ends. While its mailbox is
    /// full changes wait, and become fewer as [`GroupEvents`] says.
    ///
    /// # Errors
    /// As [`Scope::events`].
    pub fn monitor<B: Handler<GroupEvent, Reply = ()>>(&self, watcher: &Addr<B>) -> Result<Monitoring, WatchError> {
        Ok(self.events()?.watch.tell(watcher, event))
    }
}

impl<A: Actor> Group<A> {
    /// Adds an actor of this node; one that is a member already counts once more.
    ///
    /// # Errors
    /// Each [`ShareError`] says why; then nothing was changed.
    pub fn join(&self, member: &Addr<A>) -> Result<(), ShareError> {
        let (pid, key) = (member.pid(), self.key(member.pid()));
        checked("scope", &self.scope)?;
        checked("group", &self.name)?;
        if !self.node.system.is_alive(pid) {
            return Err(ShareError::NoProc { pid });
        }
        self.node.sharing.groups.change(&self.node, pid, &key, |core| {
            let times = core.board.seen(&self.topic(), &pid).copied().unwrap_or(0);
            Ok(Some(times.saturating_add(1)))
        })
    }

    /// Takes an actor of this node out, once.
    ///
    /// # Errors
    /// [`LeaveError::NotMember`] if it isn't in.
    pub fn leave(&self, member: &Addr<A>) -> Result<(), LeaveError> {
        let (pid, key) = (member.pid(), self.key(member.pid()));
        self.node.sharing.groups.change(&self.node, pid, &key, |core| {
            let times = core.board.seen(&self.topic(), &pid).filter(|_| core.owner(&key).is_some());
            match times {
                Some(times) => Ok(Some(times - 1).filter(|times| *times > 0)),
                None => Err(LeaveError::NotMember { pid, group: self.name.clone() }),
            }
        })
    }

    /// Lists the members in order of their pids, each as often as it joined.
    #[must_use]
    pub fn members(&self) -> Vec<Addr<A>> {
        self.repeated(|_| true)
    }

    /// Lists the members on this node, as [`Group::members`] does.
    #[must_use]
    pub fn local_members(&self) -> Vec<Addr<A>> {
        let me = self.node.me.node;
        self.repeated(|pid| pid.node == me)
    }

    /// Sends a message to every member, once each however often it joined; never waits.
    ///
    /// It is encoded once and sent as one frame to each other node with members, whose own members get it; members of this
    /// node get clones. A member whose mailbox is full misses it.
    pub fn broadcast<M>(&self, message: M) -> Broadcast
    where
        A: Handler<M>,
        M: Clone + Send + 'static,
    {
        let (me, system) = (self.node.me.node, &self.node.system);
        let pids = self.pids();
        let mut sent = Broadcast::default();
        let nodes: BTreeSet<ReplicaId> = pids
            .iter()
            .filter(|(pid, _)| pid.node != me)
            .map(|(pid, _)| ReplicaId::new(pid.node, pid.incarnation))
            .collect();
        if !nodes.is_empty() {
            sent.nodes = Table::<A>::encode(&message).map_or(0, |(tag, body)| {
                let (scope, group) = self.topic();
                let frame = Frame::Broadcast { from: system.sender(), scope, group, tag, body: body.into() };
                self.node.share_message(nodes.iter().copied(), system.sender(), &frame)
            });
            sent.missed_nodes = nodes.len() - sent.nodes;
        }
        for (pid, _) in pids.iter().filter(|(pid, _)| pid.node == me) {
            match system.addr::<A>(*pid).try_cast(message.clone()) {
                Ok(()) => sent.here += 1,
                Err(_) => sent.missed_here += 1,
            }
        }
        sent
    }

    /// Hands out the changes of this group.
    ///
    /// # Errors
    /// [`WatchError::TooMany`] beyond 4,096 monitors and streams of groups on this node.
    pub fn events(&self) -> Result<GroupEvents, WatchError> {
        let topic = self.topic();
        Ok(GroupEvents { watch: Watch::new(&self.node, Box::new(move |other: &(String, String)| *other == topic))? })
    }

    /// Tells an actor of this node the changes of this group, as [`Scope::monitor`] does.
    ///
    /// # Errors
    /// As [`Group::events`].
    pub fn monitor<B: Handler<GroupEvent, Reply = ()>>(&self, watcher: &Addr<B>) -> Result<Monitoring, WatchError> {
        Ok(self.events()?.watch.tell(watcher, event))
    }

    /// Returns the group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn topic(&self) -> (String, String) {
        (self.scope.clone(), self.name.clone())
    }

    fn key(&self, member: Pid) -> Membership {
        Membership { scope: self.scope.clone(), group: self.name.clone(), member }
    }

    fn pids(&self) -> Vec<(Pid, u32)> {
        members(&self.node, &self.topic())
    }

    fn repeated(&self, is_wanted: impl Fn(&Pid) -> bool) -> Vec<Addr<A>> {
        let pids = self.pids().into_iter().filter(|(pid, _)| is_wanted(pid));
        pids.flat_map(|(pid, times)| (0..times).map(move |_| pid)).map(|pid| self.node.system.addr(pid)).collect()
    }
}

impl GroupEvents {
    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<GroupEvent> {
        self.watch.next().await.map(event)
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("node", &self.node.me.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?})", self.name)
    }
}

impl<A: Actor> fmt::Debug for Group<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({:?} of {:?})", self.name, self.scope)
    }
}

impl fmt::Debug for GroupEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupEvents").finish_non_exhaustive()
    }
}

impl<A: Actor> Clone for Group<A> {
    fn clone(&self) -> Self {
        Self { node: Arc::clone(&self.node), scope: self.scope.clone(), name: self.name.clone(), actor: PhantomData }
    }
}

/// One actor in one group; the order of fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) scope: String,
    pub(crate) group: String,
    pub(crate) member: Pid,
}

/// Memberships, and how often each.
pub(crate) struct GroupsKind;

impl Kind for GroupsKind {
    type Key = Membership;
    type Value = u32;
    type Topic = (String, String);
    type Entry = Pid;

    const LANE: u8 = 0;
    const NAME: &'static str = "groups";

    fn place(key: &Membership) -> ((String, String), Pid) {
        ((key.scope.clone(), key.group.clone()), key.member)
    }

    fn holder(key: &Membership, _: &u32) -> Pid {
        key.member
    }

    fn plane(node: &Node) -> &Plane<Self> {
        &node.sharing.groups
    }
}

/// Lists who is in a group and how often.
pub(crate) fn members(node: &Node, topic: &(String, String)) -> Vec<(Pid, u32)> {
    node.sharing.groups.read(|core| core.board.entries(topic).map(|(pid, times)| (*pid, *times)).collect())
}

/// Gives a message of another node to this node's members of a group.
pub(crate) fn deliver(node: &Node, from: Pid, topic: (String, String), tag: u32, body: &Bytes) {
    for (pid, _) in members(node, &topic).into_iter().filter(|(pid, _)| pid.node == node.me.node) {
        let (to, body) = (Dest::Pid(pid), body.clone());
        node.system.deliver(from.node, RemoteSignal::Message { from, to, tag, body, reply: None, deadline_ms: 0 });
    }
}

fn event(told: ToldOf<GroupsKind>) -> GroupEvent {
    let ((scope, group), member) = (told.topic, told.key);
    let (before, after) = (told.before.unwrap_or(0), told.after.unwrap_or(0));
    if after > before {
        GroupEvent::Joined { scope, group, member, times: after - before }
    } else {
        GroupEvent::Left { scope, group, member, times: before - after }
    }
}
