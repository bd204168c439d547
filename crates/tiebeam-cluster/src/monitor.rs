//! Which nodes are up, suspect and down, as messages to an actor: OTP's `net_kernel:monitor_nodes`, and a warning before.
//!
//! Events of one start of a node come in this order: `Up`, then `Suspect` and `Back` in turn, then `Down`; each once. A node
//! that was lost and is back is another connection, and is told as `Down` and `Up`. While the actor's mailbox is full nothing
//! queues: what changed and changed back meanwhile isn't told, but a loss always is.
//!
//! A connected node is suspect when no datagram of it came for half of the idle timeout, by default 1.5 s, and at most an
//! eighth of the timeout longer. A healthy one sends one a second at least. A node that was itself stopped for a while
//! suspects nobody for it.

mod suspicion;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tiebeam_actor::{Addr, Handler};
use tiebeam_wire::{Incarnation, NodeId};

use self::suspicion::{Suspicion, Told};
use crate::Member;
use crate::node::Node;
use crate::sharing::watch::{Monitoring, WatchError};

/// How many actors of a node may monitor nodes at once.
pub const NODE_MONITORS_MAX: usize = 256;

/// A change of a node, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// It is connected.
    Up(Member),
    /// It is connected still, but has not been heard for a while: it may be gone, stopped, or behind a broken network.
    Suspect(NodeId, Incarnation),
    /// It was suspect, and was heard again.
    Back(NodeId, Incarnation),
    /// Its connection is gone. Links and monitors across it were told before.
    Down(NodeId, Incarnation),
}

/// How many monitor nodes.
#[derive(Debug, Default)]
pub(crate) struct NodeMonitors(AtomicUsize);

/// One of them.
struct Place(Arc<Node>);

impl Place {
    fn take(node: &Arc<Node>) -> Result<Self, WatchError> {
        let taken = &node.node_monitors.0;
        let took =
            taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < NODE_MONITORS_MAX).then_some(n + 1));
        took.map(|_| Self(Arc::clone(node))).map_err(|_| WatchError::TooMany { limit: NODE_MONITORS_MAX })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.node_monitors.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Begins to tell an actor of this node.
pub(crate) fn start<A>(node: &Arc<Node>, watcher: &Addr<A>) -> Result<Monitoring, WatchError>
where
    A: Handler<NodeEvent, Reply = ()>,
{
    let (place, watcher) = (Place::take(node)?, watcher.clone());
    let ended = node.system.wait(watcher.pid());
    let task = node.sharing.spawn("cluster.monitor", async move {
        tokio::select! {
            () = tell(&place.0, &watcher) => {}
            _ = ended => {}
        }
        drop(place);
    });
    Ok(Monitoring::new(task))
}

/// Tells until the cluster is shut down.
async fn tell<A: Handler<NodeEvent, Reply = ()>>(node: &Node, watcher: &Addr<A>) {
    let silence_max = node.config.net.idle_timeout / 2;
    let period = (silence_max / 4).max(Duration::from_millis(1));
    let (mut version, mut told) = (node.version.subscribe(), Told::default());
    let mut suspicion = Suspicion::new(silence_max, period);
    loop {
        // Noted as seen before it is looked at: what changes in between is looked at again.
        let stopped = version.borrow_and_update().stopped;
        let suspects = suspicion.look(tiebeam_world::now(), &received(node));
        while let Some(event) = next(node, &mut told, &suspects) {
            watcher.cast(event).await;
        }
        if stopped {
            return;
        }
        tokio::select! {
            () = tiebeam_world::sleep(period) => {}
            changed = version.changed() => if changed.is_err() { return },
        }
    }
}

fn next(node: &Node, told: &mut Told, suspects: &BTreeSet<u64>) -> Option<NodeEvent> {
    told.next(&node.view().live, suspects)
}

/// How many datagrams came by each connection.
fn received(node: &Node) -> BTreeMap<u64, u64> {
    let peers: Vec<_> = node.sessions().values().map(|session| (session.serial, session.peer.clone())).collect();
    // Each asks its connection, which may be at work: not with the sessions locked.
    peers.into_iter().map(|(serial, peer)| (serial, peer.datagrams_received())).collect()
}
