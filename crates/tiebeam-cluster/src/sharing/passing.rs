//! Messages to many of edges that this one isn't connected to: one frame to a core, which passes it on to each.
//!
//! A connection to each would make of many edges that tell each other things what keeping to cores is to spare. All that an
//! edge passes takes the same core while that is there; if it must take another one, an earlier message may come after a
//! later one, and is dropped then.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use tiebeam_crdt::ReplicaId;
use tiebeam_wire::{NodeId, Role, codec};

use super::{FRAME_VERSION, Frame, MESSAGE_LANES};
use crate::PeerIdentity;
use crate::node::{Node, Shown, lock};

/// What a node remembers of what it passes and what was passed to it.
#[derive(Default)]
pub(crate) struct Passing {
    /// The last number on each lane, held while frames are queued: numbers must leave in their order.
    sent: [Mutex<u64>; MESSAGE_LANES as usize],
    /// The last number of each start of an edge on each lane; of those that are there.
    heard: Mutex<BTreeMap<(ReplicaId, u8), u64>>,
    /// Who passes on what this node changes and says, unless it doesn't reach the receiver.
    by: Mutex<Option<ReplicaId>>,
}

impl Passing {
    /// Sends a message for each of some edges; returns how many of these it was sent for.
    pub(super) fn send(&self, node: &Node, to: Vec<ReplicaId>, lane: u8, message: &Bytes) -> usize {
        let mut by_core: BTreeMap<ReplicaId, Vec<ReplicaId>> = BTreeMap::new();
        for edge in to {
            if let Some(core) = self.core_for(node, edge) {
                by_core.entry(core).or_default().push(edge);
            }
        }
        let mut last = lock(&self.sent[usize::from(lane - super::FIRST_MESSAGE_LANE)]);
        let mut sent = 0;
        for (core, to) in by_core {
            *last += 1;
            let count = to.len();
            let pass = Frame::Pass { to, number: *last, message: message.clone() };
            if node.share(core, lane, codec::encode(FRAME_VERSION, &pass).into()) {
                sent += count;
            }
        }
        sent
    }

    /// Which of the cores that reach an edge passes on what is for it.
    fn core_for(&self, node: &Node, edge: ReplicaId) -> Option<ReplicaId> {
        let cores: Vec<ReplicaId> =
            node.sharing.reach.read(|core| core.board.entries(&edge).map(|(core, _)| *core).collect());
        let usual = *lock(&self.by);
        usual.filter(|core| cores.contains(core)).or_else(|| chosen(node, cores.into_iter()))
    }

    /// Which core reaches an edge that is there, and is to carry what is for it.
    pub(crate) fn core_towards(&self, node: &Node, edge: NodeId) -> Option<ReplicaId> {
        let connected = || node.sessions().get(&edge).map(|session| session.peer.incarnation());
        let start = node.present_start(edge).or_else(connected)?;
        self.core_for(node, ReplicaId::new(edge, start))
    }

    /// Passes on a message of an edge. Only what it says in its own name.
    pub(super) fn pass_on(
        &self,
        node: &Node,
        peer: &PeerIdentity,
        lane: u8,
        (to, number, message): (&[ReplicaId], u64, Bytes),
    ) -> Result<(), String> {
        let from = ReplicaId::new(peer.node, peer.incarnation);
        if to.len() > node.config.members_max {
            return Err(format!(
                "message is for {} nodes, more than the limit of {}",
                to.len(),
                node.config.members_max
            ));
        }
        let frame = codec::decode::<Frame>(FRAME_VERSION, &message).map_err(|error| error.to_string())?;
        sender(&frame).filter(|sender| *sender == from).ok_or("message isn't the peer's own")?;
        let passed = Frame::Passed { from, number, message };
        let bytes = Bytes::from(codec::encode(FRAME_VERSION, &passed));
        for edge in to.iter().filter(|edge| **edge != from) {
            // Who isn't connected any more misses it, as with any lost connection.
            node.share(*edge, lane, bytes.clone());
        }
        Ok(())
    }

    /// Takes in what a core passed on; returns the message if it is to be delivered.
    pub(super) fn hear(
        &self,
        node: &Node,
        peer: &PeerIdentity,
        lane: u8,
        (from, number, message): (ReplicaId, u64, &[u8]),
    ) -> Result<Option<Frame>, String> {
        if peer.role != Role::Core {
            return Err(format!("message is passed on by {}, which is no core", peer.node));
        }
        let frame = codec::decode::<Frame>(FRAME_VERSION, message).map_err(|error| error.to_string())?;
        sender(&frame).filter(|sender| *sender == from).ok_or("message passed on isn't its sender's own")?;
        let shown = lock(&node.shown);
        let is_there =
            |shown: &Shown| matches!(shown, Shown::Peer(start) | Shown::Seen(start) if *start == from.incarnation);
        if !shown.get(&from.node).is_some_and(is_there) {
            return Ok(None);
        }
        let mut heard = lock(&self.heard);
        let last = heard.entry((from, lane)).or_default();
        if number <= *last {
            return Ok(None);
        }
        *last = number;
        Ok(Some(frame))
    }

    /// A node isn't there any more, or in another start.
    pub(super) fn forget(&self, gone: NodeId) {
        lock(&self.heard).retain(|(from, _), _| from.node != gone);
    }

    /// Who passes on what this node changes from now on, if that is another one.
    pub(super) fn choose(&self, node: &Node) -> Option<Option<ReplicaId>> {
        let sessions: Vec<ReplicaId> = {
            let sessions = node.sessions();
            let cores = sessions.values().filter(|session| session.peer.identity().role == Role::Core);
            cores.map(|session| ReplicaId::new(session.peer.node(), session.peer.incarnation())).collect()
        };
        let now = chosen(node, sessions.into_iter()).filter(|_| node.is_apart(Role::Edge));
        let mut by = lock(&self.by);
        (*by != now).then(|| {
            *by = now;
            now
        })
    }
}

/// Chooses among connected cores, each edge in its own order, so that all cores have their share, and none that comes or
/// goes changes more than that.
fn chosen(node: &Node, cores: impl Iterator<Item = ReplicaId>) -> Option<ReplicaId> {
    let sessions = node.sessions();
    let can = |core: &ReplicaId| {
        sessions
            .get(&core.node)
            .is_some_and(|session| session.knows_reach && session.peer.incarnation() == core.incarnation)
    };
    cores.filter(can).max_by_key(|core| mixed(node.me.node, core.node))
}

/// Mixes two numbers; every bit of either changes about half of the result's (SplitMix64's finish).
fn mixed(edge: NodeId, core: NodeId) -> u64 {
    let bits = edge.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ core.0;
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// In whose name a message to many is said; none if it is no such message.
const fn sender(frame: &Frame) -> Option<ReplicaId> {
    match frame {
        Frame::Broadcast { from, .. } | Frame::Publish { from, .. } => {
            Some(ReplicaId::new(from.node, from.incarnation))
        }
        Frame::Pass { .. } | Frame::Passed { .. } | Frame::VotersReached { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one core for all, that one would carry all.
    #[test]
    fn edges_spread_over_cores() {
        let mut counts = [0; 5];
        for edge in (6..506).map(NodeId) {
            let core = (0..5).max_by_key(|core| mixed(edge, NodeId(*core as u64 + 1))).unwrap();
            counts[core] += 1;
        }
        assert!(counts.iter().all(|count| (70..130).contains(count)), "{counts:?}");
    }
}
