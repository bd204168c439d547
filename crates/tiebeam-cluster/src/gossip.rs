//! Who exists and where: chitchat's gossip, on one lane of every connection.
//!
//! Gossip finds nodes; it doesn't say who is up, which is what connections say. So it may be slow: every message lists all
//! members, and the more there are, the fewer are sent. Edges that keep to cores don't gossip. A node's state is its id,
//! incarnation and address (chitchat's own id) and its name and role, below 100 bytes.
//!
//! chitchat is pinned to 0.11.2: later versions keep their envelope to themselves, so that no other transport than
//! theirs can carry it (upstream 207).

mod inspect;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable, FailureDetectorConfig, NodeState,
    Serializable,
};
use tiebeam_net::{Lane, Service};
use tiebeam_wire::{Incarnation, NodeId, Role};
use tokio::sync::{Mutex, mpsc};

use crate::node::Node;
use crate::{Member, Reach, Said, seed};

/// The lane of all gossip.
pub(crate) const LANE: Lane = Lane { service: Service::GOSSIP, index: 0 };
/// Messages of all peers that may wait for the gossip task; more are dropped and come again.
pub(crate) const MESSAGES_MAX: usize = 1024;
/// Messages with the addresses of their senders.
pub(crate) type Inbox = mpsc::Receiver<(SocketAddr, Bytes)>;

/// How long a dead start is remembered, and for half as long gossiped. Short, since every start of a node that keeps
/// falling over is an entry of its own, and chitchat's digest must never outgrow a datagram, which it doesn't check.
const DEAD_GRACE: Duration = Duration::from_secs(120);

/// Starts to gossip. Seeds are not chitchat's business: it gossips with whoever is connected.
pub(crate) async fn start(node: &Arc<Node>, inbound: Inbox) -> anyhow::Result<ChitchatHandle> {
    let (me, interval) = (&node.me, node.config.gossip_interval);
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(me.node.0.to_string(), me.incarnation.0, me.address),
        cluster_id: node.endpoint.identity().cluster.clone(),
        gossip_interval: interval,
        listen_addr: me.address,
        // Everybody who is to be dialled is a seed, so that gossip starts as soon as the connection is up.
        seed_nodes: seeds(node),
        failure_detector_config: FailureDetectorConfig {
            // Its default of 5 s weighs five samples: a node that dies young would be missed for 20 s.
            initial_interval: interval * 2,
            dead_node_grace_period: DEAD_GRACE,
            ..FailureDetectorConfig::default()
        },
        marked_for_deletion_grace_period: DEAD_GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    let state = vec![("name".to_owned(), me.name.clone()), ("role".to_owned(), me.role.to_string())];
    let transport = LaneTransport { node: Arc::downgrade(node), inbound: Arc::new(Mutex::new(Some(inbound))) };
    chitchat::spawn_chitchat(config, state, &transport).await
}

fn seeds(node: &Node) -> Vec<String> {
    let peers = node.config.peers.iter().map(|(_, address)| *address);
    seed::addresses(&node.config.seeds).chain(peers).map(|address| address.to_string()).collect()
}

/// Begins to gossip with a node that is connected now, and that chitchat can't know: it was found by a name or a file.
pub(crate) fn greet(node: &Node, address: SocketAddr) {
    if seed::lookups(&node.config.seeds).next().is_some()
        && let Some(handle) = crate::node::lock(&node.chitchat).as_ref()
    {
        // It refuses only when it has ended.
        let _ = handle.gossip(address);
    }
}

/// Passes on what gossip tells of nodes, for ever.
pub(crate) async fn watch(
    node: Arc<Node>,
    mut nodes: tokio::sync::watch::Receiver<std::collections::BTreeMap<ChitchatId, NodeState>>,
) {
    while nodes.changed().await.is_ok() {
        let members: Vec<Member> =
            nodes.borrow_and_update().iter().filter_map(|(id, state)| member(id, state)).collect();
        for member in members {
            // What a node says of itself in its handshake is proven; what gossip says of it is not.
            let connected =
                node.sessions().get(&member.node).is_some_and(|s| s.peer.incarnation() >= member.incarnation);
            if member.node != node.me.node && !connected && node.learn(member.clone()) {
                tracing::info!(peer = %member.node, incarnation = %member.incarnation, address = %member.address, "node found by gossip");
            }
        }
    }
}

/// None while a node's state isn't whole yet.
fn member(id: &ChitchatId, state: &NodeState) -> Option<Member> {
    Some(Member {
        node: node_of(id)?,
        name: state.get("name")?.to_owned(),
        role: state.get("role")?.parse().ok()?,
        address: id.gossip_advertise_addr,
        incarnation: Incarnation(id.generation_id),
        live: false,
        reach: Reach::Known,
        said: Said::default(),
    })
}

fn node_of(id: &ChitchatId) -> Option<NodeId> {
    id.node_id.parse().ok().map(NodeId)
}

/// chitchat's way to the lanes.
struct LaneTransport {
    node: Weak<Node>,
    inbound: Arc<Mutex<Option<Inbox>>>,
}

#[async_trait]
impl Transport for LaneTransport {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let inbound = self.inbound.lock().await.take();
        let inbound = inbound.ok_or_else(|| anyhow::anyhow!("gossip was opened twice"))?;
        Ok(Box::new(LaneSocket { node: Weak::clone(&self.node), inbound, refused: BTreeSet::new() }))
    }
}

struct LaneSocket {
    node: Weak<Node>,
    inbound: Inbox,
    /// Whose messages were refused, and said to be.
    refused: BTreeSet<SocketAddr>,
}

#[async_trait]
impl Socket for LaneSocket {
    /// Only queues: chitchat waits for it, and one slow peer would hold up all gossip.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let node = self.node.upgrade().ok_or_else(|| anyhow::anyhow!("node is gone"))?;
        if matches!(message, ChitchatMessage::Syn { .. }) && !has_turn(node.view().known.len(), tiebeam_world::random())
        {
            return Ok(());
        }
        let sessions = node.sessions();
        let named = sessions.values().find(|session| session.peer.address() == to);
        // Whoever is connected answers as well: an answer goes to whom the message came from, and names nobody.
        let session = named.or_else(|| {
            let cores = || sessions.values().filter(|session| session.peer.identity().role == Role::Core);
            let index = tiebeam_world::random() % (cores().count() as u64).max(1);
            cores().nth(usize::try_from(index).unwrap_or(0))
        });
        if let Some(session) = session {
            // A lost connection is the mesh's business; gossip goes on with others.
            let _ = session.gossip.send(message.serialize_to_vec().into());
        }
        Ok(())
    }

    /// Cancel safe: nothing is kept between taking a frame and returning it.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let (from, frame) = self.inbound.recv().await.ok_or_else(|| anyhow::anyhow!("node is gone"))?;
            let node = self.node.upgrade().ok_or_else(|| anyhow::anyhow!("node is gone"))?;
            match accept(&node, from, &frame) {
                Ok(message) => return Ok((from, message)),
                // Once for each sender: it could fill this node's log.
                Err(error) if self.refused.len() < SENDERS_MAX && self.refused.insert(from) => {
                    tracing::warn!(%from, %error, "gossip message refused");
                }
                Err(error) => tracing::debug!(%from, %error, "gossip message refused"),
            }
        }
    }
}

/// Says whether a round of gossip takes place: each up to [`EAGER_MEMBERS_MAX`] members, beyond that so few that a node
/// sends about as much as it does then.
fn has_turn(members: usize, random: u64) -> bool {
    random % (members as u64).max(1) < EAGER_MEMBERS_MAX
}

/// With how many members each round of gossip takes place.
const EAGER_MEMBERS_MAX: u64 = 16;

/// Senders of whom a refusal is said; more than a cluster has members.
const SENDERS_MAX: usize = 1000;

/// Does all that is done with a message of a peer, whoever it is.
#[cfg(feature = "testkit")]
pub(crate) fn decode(frame: &[u8]) {
    let at = SocketAddr::from(([127, 0, 0, 1], 4400));
    let start = |node| (NodeId(node), Incarnation(1), at);
    if inspect::check(frame, start(2), start(1), 500).is_ok() {
        let _ = ChitchatMessage::deserialize(&mut &frame[..]);
    }
}

/// Decodes a message, unless its sender says of itself, or of this node, what isn't so.
fn accept(node: &Node, from: SocketAddr, frame: &[u8]) -> anyhow::Result<ChitchatMessage> {
    let sender = {
        let sessions = node.sessions();
        let session = sessions.values().find(|session| session.peer.address() == from);
        let session = session.ok_or_else(|| anyhow::anyhow!("sender is no longer connected"))?;
        (session.peer.node(), session.peer.incarnation(), from)
    };
    inspect::check(frame, sender, (node.me.node, node.me.incarnation, node.me.address), node.config.members_max)?;
    ChitchatMessage::deserialize(&mut &frame[..])
}

#[cfg(test)]
mod tests {
    use super::has_turn;

    /// A message lists all members: at 500, as many as at 16 would be thirty times as much.
    #[test]
    fn the_more_members_the_fewer_rounds() {
        let turns = |members| (0..10_000).filter(|random| has_turn(members, *random)).count();
        assert_eq!([0, 1, 16, 32, 500].map(turns), [10_000, 10_000, 10_000, 5_008, 320]);
    }
}
