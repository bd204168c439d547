//! What nodes share without agreeing: process groups, convergent names and presence, and what is told to many at once.
//!
//! One [`Plane`] per kind, each a replicator of `tiebeam-crdt` with what is seen of it. All of it travels on nine lanes of
//! [`Service::SHARE`](tiebeam_net::Service::SHARE): one for each kind, the others for messages to groups and topics, by
//! sender. A frame of a replicator has at most 256 KiB, one of the others at most what a frame may have.
//!
//! Sessions feed it: a node is up before the first frame of its connection is served, and down before anybody is told.
//! So what a lost node contributed is unseen at once, and seen again as soon as it is back. A later start of a node
//! forgets what earlier ones left.
//!
//! A node that isn't connected, and is there in the eyes of cores ([`reach`](crate::reach)), is seen as well: what it
//! contributed comes by way of cores, as do its messages to many ([`passing`]).

pub(crate) mod board;
#[cfg(test)]
mod golden;
pub(crate) mod passing;
pub(crate) mod plane;
pub(crate) mod watch;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_actor::Pid;
use tiebeam_crdt::ReplicaId;
use tiebeam_crdt::replicator::{Config, Event};
use tiebeam_wire::{Incarnation, NodeId, Role, codec};
use tokio::runtime::Handle;

use self::passing::Passing;
use self::plane::{Kind as _, Plane};
use crate::PeerIdentity;
use crate::groups::GroupsKind;
use crate::mesh::session::Session;
use crate::names::{Conflicts, NamesKind};
use crate::node::{Node, Shown};
use crate::presence::PresenceKind;
use crate::pubsub::Topics;
use crate::reach::{self, ReachKind};
use crate::rpc::Functions;
use crate::said::SaidKind;
use crate::services::{Roster, ServicesKind};
use crate::tasks::TaskHost;

/// How many lanes there are to each node.
pub(crate) const LANES: u8 = 9;
/// The version byte of a [`Frame`].
pub(crate) const FRAME_VERSION: u8 = 1;
/// The first of the lanes of messages to many; all others belong to a kind each.
const FIRST_MESSAGE_LANE: u8 = 5;
/// How many lanes messages to many have.
const MESSAGE_LANES: u8 = 3;

/// All that a node shares.
pub(crate) struct Sharing {
    pub(crate) groups: Plane<GroupsKind>,
    pub(crate) names: Plane<NamesKind>,
    pub(crate) presence: Plane<PresenceKind>,
    pub(crate) services: Plane<ServicesKind>,
    pub(crate) said: Plane<SaidKind>,
    pub(crate) roster: Roster,
    pub(crate) reach: Plane<ReachKind>,
    pub(crate) passing: Passing,
    pub(crate) on_conflict: Conflicts,
    pub(crate) topics: Topics,
    pub(crate) functions: Functions,
    pub(crate) tasks: TaskHost,
    runtime: Handle,
}

/// With how many nodes a node compares what it holds, each time that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compares {
    /// As replicators usually do.
    WithSome,
    /// For an edge that keeps to cores: all of them hold all there is, and each of many edges asks them.
    WithOne,
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
    /// To a core: one of the above is to go on to each of these, by an edge's count on the lane.
    Pass { to: Vec<ReplicaId>, number: u64, message: Bytes },
    /// Of a core: one of the above, which an edge had it pass on.
    Passed { from: ReplicaId, number: u64, message: Bytes },
}

impl Sharing {
    /// Must be made where the node's tasks run.
    pub(crate) fn new(me: ReplicaId, compares: Compares) -> Self {
        let usual = Config::default();
        let config = match compares {
            Compares::WithSome => usual,
            Compares::WithOne => Config { digest_peers_max: 1, ..usual },
        };
        Self {
            groups: Plane::new(me, config),
            names: Plane::new(me, config),
            presence: Plane::new(me, config),
            services: Plane::new(me, config),
            said: Plane::new(me, config),
            roster: Roster::default(),
            reach: Plane::new(me, config),
            passing: Passing::default(),
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
        self.said.handle(node, event.clone());
        self.reach.handle(node, event.clone());
    }

    /// A node is shown in another way than before: a connection is up of which nothing was served yet, or gone of which
    /// nothing is served any more; or cores see it or don't.
    pub(crate) fn show(&self, node: &Node, of: NodeId, before: Option<Shown>, now: Option<Shown>) {
        let start = |shown| match shown {
            Shown::Peer(incarnation) | Shown::Seen(incarnation) => ReplicaId::new(of, incarnation),
        };
        if before.map(start) != now.map(start) {
            self.passing.forget(of);
        }
        match (before, now) {
            (_, Some(now @ Shown::Peer(_))) => {
                events_of(start(now), Event::Up).for_each(|event| self.tell(node, &event));
            }
            (_, Some(now @ Shown::Seen(_))) => {
                events_of(start(now), Event::Seen).for_each(|event| self.tell(node, &event));
            }
            (Some(before), None) => self.tell(node, &Event::Down(start(before))),
            (None, None) => {}
        }
        if let Some(by) = self.passing.choose(node) {
            self.tell(node, &Event::PassedOnBy(by));
        }
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
            SaidKind::LANE => self.said.handle(node, Event::Received { from: peer, bytes }),
            ReachKind::LANE => self.reach.handle(node, Event::Received { from: peer, bytes }),
            _ => return self.message(node, from, lane, &bytes),
        }
        Ok(())
    }

    fn message(&self, node: &Node, peer: &PeerIdentity, lane: u8, bytes: &[u8]) -> Result<(), String> {
        if !(FIRST_MESSAGE_LANE..FIRST_MESSAGE_LANE + MESSAGE_LANES).contains(&lane) {
            return Err(format!("message comes on lane {lane}, which is for nothing"));
        }
        match codec::decode::<Frame>(FRAME_VERSION, bytes).map_err(|error| error.to_string())? {
            Frame::Pass { to, number, message } => self.passing.pass_on(node, peer, lane, (&to, number, message)),
            Frame::Passed { from, number, message } => {
                if let Some(frame) = self.passing.hear(node, peer, lane, (from, number, &message))? {
                    self.deliver(node, frame);
                }
                Ok(())
            }
            Frame::Broadcast { from, .. } | Frame::Publish { from, .. } | Frame::VotersReached { from, .. }
                if (from.node, from.incarnation) != (peer.node, peer.incarnation) =>
            {
                Err(format!("message names a sender {from} of another node"))
            }
            Frame::VotersReached { is_majority, reached, .. } if peer.role == Role::Core => {
                node.standing.hear(peer.node, is_majority, reached);
                Ok(())
            }
            // Edges hold no vote and have no word.
            Frame::VotersReached { .. } => Err("an edge says which voters it reaches".to_owned()),
            frame => {
                self.deliver(node, frame);
                Ok(())
            }
        }
    }

    fn deliver(&self, node: &Node, frame: Frame) {
        match frame {
            Frame::Broadcast { from, scope, group, tag, body } => {
                crate::groups::deliver(node, from, (scope, group), tag, &body);
            }
            Frame::Publish { topic, body, .. } => self.topics.deliver(&topic, &body),
            // Nothing is passed on in turn, and a core has its word itself.
            Frame::Pass { .. } | Frame::Passed { .. } | Frame::VotersReached { .. } => {}
        }
    }
}

impl Node {
    /// Queues a frame for one start of a node on a lane of what is shared; says whether it was taken.
    pub(crate) fn share(&self, to: ReplicaId, lane: u8, frame: Bytes) -> bool {
        let sessions = self.sessions();
        let is_for = |session: &&Arc<Session>| {
            session.peer.incarnation() == to.incarnation && (lane != ReachKind::LANE || session.knows_reach)
        };
        let session = sessions.get(&to.node).filter(is_for);
        session.is_some_and(|session| session.sharing[usize::from(lane)].send(frame).is_ok())
    }

    /// Queues a message to many for each of some nodes, encoded once; returns how many took it.
    pub(crate) fn share_message(&self, to: impl Iterator<Item = ReplicaId>, from: Pid, frame: &Frame) -> usize {
        let bytes = Bytes::from(codec::encode(FRAME_VERSION, frame));
        let lane = lane_of(from);
        let (apart, near): (Vec<ReplicaId>, Vec<ReplicaId>) = {
            let view = self.view();
            let is_apart = |to: &ReplicaId| view.present(to.node).is_some_and(|m| m.incarnation == to.incarnation);
            to.partition(is_apart)
        };
        let sent = near.into_iter().filter(|to| self.share(*to, lane, bytes.clone())).count();
        if apart.is_empty() { sent } else { sent + self.sharing.passing.send(self, apart, lane, &bytes) }
    }
}

/// What it means that a start of a node is there: those before it are over for good.
fn events_of(up: ReplicaId, there: fn(ReplicaId) -> Event) -> impl Iterator<Item = Event> {
    // The first start of a node has none before it.
    let earlier = up.incarnation.0.checked_sub(1).filter(|earlier| *earlier > 0);
    let forget = earlier.map(|earlier| Event::Forget(ReplicaId::new(up.node, Incarnation(earlier))));
    forget.into_iter().chain([there(up)])
}

/// All that one sender tells many keeps to one lane, so each of the many hears it in order.
fn lane_of(sender: Pid) -> u8 {
    let lanes = u64::from(MESSAGE_LANES);
    FIRST_MESSAGE_LANE + u8::try_from(sender.serial % lanes).expect("a remainder is below its divisor")
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
        sharing.spawn("cluster.said", plane::run::<SaidKind>(Arc::clone(node))).into_guard(),
        sharing.spawn("cluster.reach", plane::run::<ReachKind>(Arc::clone(node))).into_guard(),
        sharing.spawn("cluster.reach", reach::watch(Arc::clone(node))).into_guard(),
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
