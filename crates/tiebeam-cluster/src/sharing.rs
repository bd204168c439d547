//! What nodes share without agreeing: process groups, convergent names and presence, and what is told to many at once.
//!
//! One [`Plane`] per kind, each a replicator of `tiebeam-crdt` with what is seen of it. All of it travels on eight lanes of
//! [`Service::SHARE`](tiebeam_net::Service::SHARE): one for each kind, the others for messages to groups and topics, by
//! sender. A frame of a replicator has at most 256 KiB, one of the others at most what a frame may have.
//!
//! Sessions feed it: a node is up before the first frame of its connection is served, and down before anybody is told.
//! So what a lost node contributed is unseen at once, and seen again as soon as it is back. A later start of a node
//! forgets what earlier ones left.

pub(crate) mod board;
#[cfg(test)]
mod golden;
pub(crate) mod plane;
pub(crate) mod watch;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_actor::Pid;
use tiebeam_crdt::ReplicaId;
use tiebeam_crdt::replicator::Event;
use tiebeam_wire::{Incarnation, NodeId, Role, codec};
use tokio::runtime::Handle;

use self::plane::{Kind as _, Plane};
use crate::PeerIdentity;
use crate::groups::GroupsKind;
use crate::names::{Conflicts, NamesKind};
use crate::node::Node;
use crate::presence::PresenceKind;
use crate::pubsub::Topics;
use crate::rpc::Functions;
use crate::services::{Roster, ServicesKind};
use crate::tasks::TaskHost;

/// How many lanes there are to each node.
pub(crate) const LANES: u8 = 8;
/// The version byte of a [`Frame`].
pub(crate) const FRAME_VERSION: u8 = 1;
/// Lanes below this one belong to a kind each.
const FIRST_FREE_LANE: u8 = 5;

/// All that a node shares.
pub(crate) struct Sharing {
    pub(crate) groups: Plane<GroupsKind>,
    pub(crate) names: Plane<NamesKind>,
    pub(crate) presence: Plane<PresenceKind>,
    pub(crate) services: Plane<ServicesKind>,
    pub(crate) roster: Roster,
    pub(crate) on_conflict: Conflicts,
    pub(crate) topics: Topics,
    pub(crate) functions: Functions,
    pub(crate) tasks: TaskHost,
    runtime: Handle,
}

/// A message to many of a node at once; the order of variants and fields is the format.
#[derive(Serialize, Deserialize)]
pub(crate) enum Frame {
    /// To all members of a group on the node, as an actor's table encodes it.
    Broadcast { from: Pid, scope: String, group: String, tag: u32, body: Bytes },
    /// To all subscribers of a topic on the node.
    Publish { from: Pid, topic: String, body: Bytes },
    /// A core node tells an edge which voters it reaches, and whether that is a majority.
    VotersReached { from: Pid, is_majority: bool, reached: Vec<NodeId> },
}

impl Sharing {
    /// Must be made where the node's tasks run.
    pub(crate) fn new(node: NodeId, incarnation: Incarnation) -> Self {
        let me = ReplicaId::new(node, incarnation);
        Self {
            groups: Plane::new(me),
            names: Plane::new(me),
            presence: Plane::new(me),
            services: Plane::new(me),
            roster: Roster::default(),
            on_conflict: Conflicts::default(),
            topics: Topics::default(),
            functions: Functions::default(),
            tasks: TaskHost::default(),
            runtime: Handle::current(),
        }
    }

    /// Runs `work` where the node's tasks run, whoever asks for it: it ends with the node and not with the asker.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tiebeam_world::Task<T> {
        let _entered = self.runtime.enter();
        tiebeam_world::spawn(name, work)
    }

    /// Takes in an event on all planes.
    fn tell(&self, node: &Node, event: &Event) {
        self.groups.handle(node, event.clone());
        self.names.handle(node, event.clone());
        self.presence.handle(node, event.clone());
        self.services.handle(node, event.clone());
    }

    /// A connection is up, and nothing of it was served yet.
    pub(crate) fn up(&self, node: &Node, peer: NodeId, incarnation: Incarnation) {
        for event in events_of(ReplicaId::new(peer, incarnation)) {
            self.tell(node, &event);
        }
    }

    /// A connection is gone, and nothing of it is served any more.
    pub(crate) fn down(&self, node: &Node, peer: NodeId, incarnation: Incarnation) {
        self.tell(node, &Event::Down(ReplicaId::new(peer, incarnation)));
    }

    /// Takes this node's actors out of everything that others find them by.
    pub(crate) fn drain_out(&self, node: &Node) {
        self.groups.drain_out(node);
        self.names.drain_out(node);
        self.presence.drain_out(node);
        self.services.drain_out(node);
    }

    /// Consensus says that a node never comes back.
    pub(crate) fn forget(&self, node: &Node, gone: NodeId) {
        self.tell(node, &Event::Forget(ReplicaId::new(gone, Incarnation(u64::MAX))));
    }

    /// Takes in a frame; an error says that the connection can't be trusted.
    pub(crate) fn frame(&self, node: &Node, from: &PeerIdentity, lane: u8, bytes: Bytes) -> Result<(), String> {
        let peer = ReplicaId::new(from.node, from.incarnation);
        match lane {
            GroupsKind::LANE => self.groups.handle(node, Event::Received { from: peer, bytes }),
            NamesKind::LANE => self.names.handle(node, Event::Received { from: peer, bytes }),
            PresenceKind::LANE => self.presence.handle(node, Event::Received { from: peer, bytes }),
            ServicesKind::LANE => self.services.handle(node, Event::Received { from: peer, bytes }),
            _ => return self.message(node, from, &bytes),
        }
        Ok(())
    }

    fn message(&self, node: &Node, peer: &PeerIdentity, bytes: &[u8]) -> Result<(), String> {
        let frame = codec::decode::<Frame>(FRAME_VERSION, bytes).map_err(|error| error.to_string())?;
        let (Frame::Broadcast { from, .. } | Frame::Publish { from, .. } | Frame::VotersReached { from, .. }) = &frame;
        if (from.node, from.incarnation) != (peer.node, peer.incarnation) {
            return Err(format!("message names a sender {from} of another node"));
        }
        match frame {
            Frame::Broadcast { from, scope, group, tag, body } => {
                crate::groups::deliver(node, from, (scope, group), tag, &body);
            }
            Frame::Publish { topic, body, .. } => self.topics.deliver(&topic, &body),
            // Edges hold no vote and have no word.
            Frame::VotersReached { is_majority, reached, .. } if peer.role == Role::Core => {
                node.standing.hear(peer.node, is_majority, reached);
            }
            Frame::VotersReached { .. } => return Err("an edge says which voters it reaches".to_owned()),
        }
        Ok(())
    }
}

impl Node {
    /// Queues a frame for one start of a node on a lane of what is shared; says whether it was taken.
    pub(crate) fn share(&self, to: ReplicaId, lane: u8, frame: Bytes) -> bool {
        let sessions = self.sessions();
        let session = sessions.get(&to.node).filter(|session| session.peer.incarnation() == to.incarnation);
        session.is_some_and(|session| session.sharing[usize::from(lane)].send(frame).is_ok())
    }

    /// Queues a message to many for each of some nodes, encoded once; returns how many took it.
    pub(crate) fn share_message(&self, to: impl Iterator<Item = ReplicaId>, from: Pid, frame: &Frame) -> usize {
        let bytes = Bytes::from(codec::encode(FRAME_VERSION, frame));
        let lane = lane_of(from);
        to.filter(|to| self.share(*to, lane, bytes.clone())).count()
    }
}

/// What it means that a start of a node is up: those before it are over for good.
fn events_of(up: ReplicaId) -> impl Iterator<Item = Event> {
    // The first start of a node has none before it.
    let earlier = up.incarnation.0.checked_sub(1).filter(|earlier| *earlier > 0);
    let forget = earlier.map(|earlier| Event::Forget(ReplicaId::new(up.node, Incarnation(earlier))));
    forget.into_iter().chain([Event::Up(up)])
}

/// All that one sender tells many keeps to one lane, so each of the many hears it in order.
fn lane_of(sender: Pid) -> u8 {
    let lanes = u64::from(LANES - FIRST_FREE_LANE);
    FIRST_FREE_LANE + u8::try_from(sender.serial % lanes).expect("a remainder is below its divisor")
}

/// Keeps all planes at work until the node is gone; one task each.
pub(crate) fn start(node: &Arc<Node>) {
    let sharing = &node.sharing;
    let tasks = [
        sharing.spawn("cluster.groups", plane::run::<GroupsKind>(Arc::clone(node))).into_guard(),
        sharing.spawn("cluster.names", plane::run::<NamesKind>(Arc::clone(node))).into_guard(),
        sharing.spawn("cluster.presence", plane::run::<PresenceKind>(Arc::clone(node))).into_guard(),
        sharing.spawn("cluster.services", plane::run::<ServicesKind>(Arc::clone(node))).into_guard(),
        sharing.spawn("cluster.cut_off", crate::services::cut_off::run(Arc::clone(node))).into_guard(),
    ];
    crate::node::lock(&node.tasks).extend(tasks);
}

/// Has `ended` called when an actor of this node has ended; holds nothing but a weak hand on the node.
pub(crate) fn when_ended(
    node: &Arc<Node>,
    pid: Pid,
    ended: impl FnOnce(&Arc<Node>) + Send + 'static,
) -> tiebeam_world::Task<()> {
    let (end, weak) = (node.system.wait(pid), Arc::downgrade(node));
    node.sharing.spawn("cluster.ended", async move {
        end.await;
        if let Some(node) = weak.upgrade() {
            ended(&node);
        }
    })
}
