//! Connections between two edges: made when something is to be sent, and kept until one of the two ends.
//!
//! What is sent meanwhile waits ([`Demand`](super::demand::Demand)). If the dial fails, all who sent are told once, as at the
//! end of a connection; a cast is lost then, as with any lost connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tiebeam_actor::{NoConnection, RemoteSignal};
use tiebeam_net::{FRAME_BYTES_MAX, Peer};
use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::Semaphore;

use super::demand::{Offer, Waiting};
use super::dialler::{DIALS_MAX, Outcome};
use crate::node::{Node, lock};
use crate::{RequestError, mesh};

/// Requests that may wait for connections at once. Beyond it they are refused as [`RequestError::Overloaded`].
pub(crate) const REQUESTS_MAX: usize = 1024;
/// How long the other connection of a pair that dialled each other may take to come up.
const CROSSED_MAX: Duration = Duration::from_secs(2);

/// How long a handshake at a node's own address may take: many times a round trip around the world.
const DIRECT_MAX: Duration = Duration::from_secs(2);

/// How many do what at once.
pub(crate) struct Room {
    dials: Semaphore,
    requests: Semaphore,
}

impl Default for Room {
    fn default() -> Self {
        Self { dials: Semaphore::new(DIALS_MAX), requests: Semaphore::new(REQUESTS_MAX) }
    }
}

/// Lets a signal wait for a connection to `to`. With the sessions locked, which don't hold one.
pub(crate) fn queue(node: &Arc<Node>, to: NodeId, lane: usize, signal: &RemoteSignal) -> Result<(), NoConnection> {
    let present = node.present_start(to).ok_or(NoConnection)?;
    let mut frame = BytesMut::new();
    signal.write(&mut frame);
    if frame.len() > FRAME_BYTES_MAX {
        return Err(NoConnection);
    }
    // Who named a process of an earlier start has its ties told as that start's.
    let start = signal.pair().1.map_or(present, |pid| pid.incarnation);
    match ask(node, to, start, Some(Waiting { lane, frame: frame.into() })) {
        Offer::Taken | Offer::Dial(_) => Ok(()),
        Offer::Refused | Offer::Overflow => Err(NoConnection),
    }
}

/// Finds the connection to a node, or makes it. Cancel safe: the connection is made all the same.
pub(crate) async fn connected(node: &Arc<Node>, to: NodeId) -> Result<Peer, RequestError> {
    let find = || node.sessions().get(&to).map(|session| session.peer.clone());
    if let Some(peer) = find() {
        return Ok(peer);
    }
    let start = node.present_start(to).ok_or(RequestError::Unreachable(to))?;
    let _room = node.room.requests.try_acquire().map_err(|_| RequestError::Overloaded(to))?;
    let mut version = node.version.subscribe();
    let asked = {
        let sessions = node.sessions();
        // A connection that came up meanwhile has taken what waited; another one would be dialled for nothing.
        if sessions.contains_key(&to) { Offer::Taken } else { ask(node, to, start, None) }
    };
    if matches!(asked, Offer::Refused | Offer::Overflow) {
        return Err(RequestError::Unreachable(to));
    }
    loop {
        version.borrow_and_update();
        if let Some(peer) = find() {
            return Ok(peer);
        }
        if !lock(&node.demand).is_dialling(to) {
            return Err(RequestError::Unreachable(to));
        }
        version.changed().await.map_err(|_| RequestError::Unreachable(to))?;
    }
}

/// Hands a wish to the core and does what it says.
fn ask(node: &Arc<Node>, to: NodeId, start: Incarnation, signal: Option<Waiting>) -> Offer {
    let offer = lock(&node.demand).offer(tiebeam_world::now(), to, start, signal);
    match offer {
        Offer::Dial(number) => {
            drop(node.sharing.spawn("cluster.dial", dial(Arc::clone(node), to, number)));
        }
        Offer::Overflow => {
            tracing::warn!(peer = %to, "too much waits for a connection, given up");
            tell(node, to);
        }
        Offer::Taken | Offer::Refused => {}
    }
    offer
}

/// The node is gone before it was connected: nothing waits for it any more.
pub(crate) fn give_up(node: &Arc<Node>, to: NodeId) {
    let failed = {
        let mut demand = lock(&node.demand);
        demand.forget(to);
        demand.fail(to, None)
    };
    if failed {
        tell(node, to);
    }
}

async fn dial(node: Arc<Node>, to: NodeId, number: u64) {
    let outcome = {
        let _room = node.room.dials.acquire().await;
        match directly(&node, to).await {
            Outcome::Failed if node.config.relay && lock(&node.demand).is_dialling(to) => {
                tracing::debug!(peer = %to, "no answer at the node's own address, dialled by way of a core");
                mesh::settle(&node, node.endpoint.dial_relayed(to).await).await
            }
            outcome => outcome,
        }
    };
    if outcome == Outcome::Answered(to) {
        let mut version = node.version.subscribe();
        let is_over = |_: &_| node.sessions().contains_key(&to) || !lock(&node.demand).is_dialling(to);
        // Both dialled, and the other connection was chosen: it is about to come up.
        let _ = tiebeam_world::timeout(CROSSED_MAX, version.wait_for(is_over)).await;
    }
    let failed = {
        // No connection comes up while it is looked at: sessions take what waits with the sessions locked.
        let sessions = node.sessions();
        !sessions.contains_key(&to) && lock(&node.demand).fail(to, Some(number))
    };
    if failed {
        tracing::debug!(peer = %to, "node can't be connected");
        tell(&node, to);
    }
}

/// Dials a node at its own address, not for long: there may be another way.
async fn directly(node: &Arc<Node>, to: NodeId) -> Outcome {
    let Some(address) = node.view().present(to).map(|member| member.address) else { return Outcome::Failed };
    match tiebeam_world::timeout(DIRECT_MAX, node.endpoint.dial(address, Some(to))).await {
        Ok(dialled) => mesh::settle(node, dialled).await,
        Err(_) => Outcome::Failed,
    }
}

/// Has all told who wait for a connection that won't be.
fn tell(node: &Arc<Node>, to: NodeId) {
    let telling = Arc::clone(node);
    let telling = async move {
        let pair = mesh::pair(&telling, to);
        let _chosen = pair.lock().await;
        settle(&telling, to);
    };
    drop(node.sharing.spawn("cluster.dial", telling));
}

/// Tells all who wait in vain, if any do, once. With the pair locked.
pub(super) fn settle(node: &Node, to: NodeId) {
    let Some(starts) = lock(&node.demand).ending(to) else { return };
    for start in starts {
        node.system.node_down(to, start);
    }
    lock(&node.demand).told(tiebeam_world::now(), to, tiebeam_world::random());
    node.changed();
}
