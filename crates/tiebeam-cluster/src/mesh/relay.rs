//! Cores carry datagrams between two edges that the network keeps apart.
//!
//! The connection is one between the two edges; a core sees what a router sees. A frame is `[node u64][datagram]`: to a core
//! it names whom the datagram is for, from a core whom it is of. What finds no room is lost, as on any way, and QUIC sees to
//! it.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tiebeam_net::{Lane, Service};
use tiebeam_wire::{NodeId, Role};

use crate::PeerIdentity;
use crate::node::Node;

/// The lane of all datagrams.
pub(crate) const LANE: Lane = Lane { service: Service::RELAY, index: 0 };
/// Bytes that may wait for one peer; beyond it datagrams are lost. Small: what waits long was sent again.
const WAITING_BYTES_MAX: usize = 256 * 1024;
const HEAD_BYTES: usize = 8;

/// Sends what is to be carried to a core that reaches its receiver, for ever.
pub(crate) async fn send(node: Arc<Node>) {
    loop {
        let (to, datagram) = node.endpoint.next_relayed().await;
        let Some(core) = node.sharing.passing.core_towards(&node, to) else { continue };
        offer(&node, core.node, to, &datagram);
    }
}

/// Takes in a frame: as a core carries it on, as an edge takes the datagram for its own.
pub(super) fn take_in(node: &Node, peer: &PeerIdentity, mut frame: Bytes) {
    if frame.len() <= HEAD_BYTES || !node.config.relay {
        return;
    }
    let named = NodeId(frame.get_u64());
    match (node.me.role, peer.role) {
        (Role::Core, Role::Edge) => offer(node, named, peer.node, &frame),
        (Role::Edge, Role::Core) => node.endpoint.take_in_relayed(named, frame),
        _ => tracing::debug!(peer = %peer.node, "datagram to be carried is of no edge, dropped"),
    }
}

/// Queues a datagram for a peer, unless there is no room. `named` is the edge at the other end.
fn offer(node: &Node, to: NodeId, named: NodeId, datagram: &[u8]) {
    let session = node.sessions().get(&to).filter(|session| session.knows_reach).cloned();
    if let Some(session) = session {
        let mut frame = BytesMut::with_capacity(HEAD_BYTES + datagram.len());
        frame.put_u64(named.0);
        frame.put_slice(datagram);
        session.relay.offer(frame.freeze(), WAITING_BYTES_MAX);
    }
}
