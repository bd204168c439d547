//! One connection between two starts of two nodes, from the moment it was chosen until its end was told.

use std::array;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_actor::RemoteSignal;
use tiebeam_crdt::ReplicaId;
use tiebeam_net::{Declined, Features, LANES, Lane, LaneSender, Peer, Reason, Service};
use tokio::sync::watch;

use super::demand::Waiting;
use super::{needed, relay};
use crate::node::{Node, lock};
use crate::{Member, PeerIdentity, Reach, Said, gossip, mesh, reach, sharing};

pub(crate) struct Session {
    pub(crate) peer: Peer,
    pub(crate) serial: u64,
    pub(crate) lanes: [LaneSender; LANES as usize],
    pub(crate) gossip: LaneSender,
    pub(crate) relay: LaneSender,
    pub(crate) sharing: [LaneSender; sharing::LANES as usize],
    /// Whether the peer takes in who is reached by whom, and what is passed on or carried.
    pub(crate) knows_reach: bool,
    drained: watch::Sender<bool>,
}

impl Session {
    /// Waits until the connection has ended and nothing more of it is delivered.
    pub(super) async fn drained(&self) {
        // The sender lives as long as `self`.
        let _ = self.drained.subscribe().wait_for(|drained| *drained).await;
    }
}

/// Makes `peer` the connection to its node. With the pair locked and no session left.
pub(super) fn start(node: &Arc<Node>, peer: Peer) {
    let serial = node.serials.fetch_add(1, Ordering::Relaxed);
    let member = Member {
        node: peer.node(),
        name: peer.identity().name.clone(),
        role: peer.identity().role,
        address: peer.address(),
        incarnation: peer.incarnation(),
        live: true,
        reach: Reach::Connected,
        said: Said::default(),
    };
    let session = Arc::new(Session {
        lanes: array::from_fn(|n| peer.lane(Lane { service: Service::ACTOR, index: u8::try_from(n).unwrap_or(0) })),
        gossip: peer.lane(gossip::LANE),
        relay: peer.lane(relay::LANE),
        sharing: array::from_fn(|n| peer.lane(Lane { service: Service::SHARE, index: u8::try_from(n).unwrap_or(0) })),
        knows_reach: peer.agreed().features.contains(Features::REACH),
        peer: peer.clone(),
        serial,
        drained: watch::Sender::new(false),
    });
    node.learn(Member { live: false, reach: Reach::Known, ..member.clone() });
    insert(node, &session);
    {
        let mut view = node.view();
        view.dialler.connected(peer.node());
        view.connected.insert(peer.node(), member.clone());
    }
    node.settle(peer.node());
    reach::connected(node, &member);
    tracing::info!(peer = %peer.identity(), incarnation = %peer.incarnation(), address = %peer.address(), "node up");
    peer.serve(handler(node, &peer));
    gossip::greet(node, peer.address());
    drop(tiebeam_world::spawn("cluster.session", watch(Arc::clone(node), session)));
}

/// Puts a session into the map, behind what waited for it.
fn insert(node: &Arc<Node>, session: &Arc<Session>) {
    let peer = session.peer.node();
    loop {
        // Who waited in vain is told before anything of this connection could be told as lost with it.
        needed::settle(node, peer);
        let mut sessions = node.sessions_mut();
        let Some(waiting) = lock(&node.demand).take(peer) else { continue };
        for Waiting { lane, frame } in waiting {
            // If the lane takes no more the connection is gone, and its end tells them all.
            let _ = session.lanes[lane].send(frame);
        }
        sessions.insert(peer, Arc::clone(session));
        return;
    }
}

/// Waits for the end of the connection and tells it.
async fn watch(node: Arc<Node>, session: Arc<Session>) {
    session.peer.drained().await;
    session.drained.send_replace(true);
    let pair = mesh::pair(&node, session.peer.node());
    let _ended = pair.lock().await;
    end(&node, &session);
}

/// Tells the end of a drained session, once: whoever comes second finds it gone. With the pair locked.
pub(super) fn end(node: &Node, session: &Session) {
    let peer = &session.peer;
    {
        let mut sessions = node.sessions_mut();
        if sessions.get(&peer.node()).is_none_or(|current| current.serial != session.serial) {
            return;
        }
        sessions.remove(&peer.node());
        lock(&node.demand).close(peer.node(), peer.incarnation());
    }
    // From here on nothing is queued on the session, so all that was taken and is lost is covered by what follows.
    needed::settle(node, peer.node());
    node.standing.forget(peer.node());
    {
        let mut view = node.view();
        view.connected.remove(&peer.node());
        view.dialler.disconnected(tiebeam_world::now(), peer.node(), tiebeam_world::random());
    }
    node.settle(peer.node());
    reach::disconnected(node, ReplicaId::new(peer.node(), peer.incarnation()));
    node.dial.notify_one();
    let end = peer.close_reason();
    let (reason, detail) = end.map_or((Reason::Unknown, String::new()), |end| (end.reason, end.detail));
    tracing::info!(peer = %peer.identity(), incarnation = %peer.incarnation(), %reason, detail, "node down");
}

/// Makes what serves the streams of `peer`.
pub(super) fn handler(node: &Arc<Node>, peer: &Peer) -> Arc<Inbound> {
    let identity = PeerIdentity {
        node: peer.node(),
        incarnation: peer.incarnation(),
        role: peer.identity().role,
        name: peer.identity().name.clone(),
    };
    Arc::new(Inbound { node: Arc::clone(node), peer: peer.clone(), identity, early_said: AtomicBool::new(false) })
}

pub(crate) struct Inbound {
    node: Arc<Node>,
    peer: Peer,
    identity: PeerIdentity,
    /// Whether it was said already that the peer speaks for a start to come: it could fill this node's log.
    early_said: AtomicBool,
}

impl tiebeam_net::Handler for Inbound {
    fn request(&self, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Declined>> {
        let Some(handler) = self.node.handler(service) else {
            return std::future::ready(Err(Declined::NoService)).boxed();
        };
        let identity = self.identity.clone();
        async move {
            // Without this the asker would see a lost connection in place of a failure.
            let answer = AssertUnwindSafe(async { handler(identity, body).await }).catch_unwind().await;
            match answer {
                Ok(answer) => answer.map_err(Declined::Failed),
                Err(panic) => {
                    let panic = tiebeam_world::panic_message(&*panic);
                    tracing::error!(%service, panic, "handler of a request panicked");
                    Err(Declined::Failed("handler panicked".to_owned()))
                }
            }
        }
        .boxed()
    }

    fn frame(&self, lane: Lane, frame: Bytes) {
        match lane.service {
            // Gossip repeats itself; what finds no room will come again.
            Service::GOSSIP => drop(self.node.gossip.try_send((self.peer.address(), frame))),
            Service::ACTOR => self.signal(frame),
            Service::RELAY => relay::take_in(&self.node, &self.identity, frame),
            Service::SHARE => {
                if let Err(error) = self.node.sharing.frame(&self.node, &self.identity, lane.index, frame) {
                    tracing::warn!(peer = %self.identity.node, error, "message to many can't be taken");
                    self.peer.close(Reason::Protocol, "message to many can't be taken");
                }
            }
            service => {
                tracing::debug!(peer = %self.identity.node, %service, "frame of a service without lanes dropped")
            }
        }
    }
}

impl Inbound {
    fn signal(&self, frame: Bytes) {
        match RemoteSignal::read(frame) {
            // A later start answers in the name of an earlier one that its processes are gone; no start can speak for a
            // later one.
            Ok(signal) if signal.pair().0.incarnation <= self.identity.incarnation => {
                self.node.system.deliver(self.identity.node, signal);
            }
            Ok(signal) => {
                let sender = signal.pair().0;
                if !self.early_said.swap(true, Ordering::Relaxed) {
                    tracing::warn!(peer = %self.identity.node, %sender, "signals of a start to come are dropped");
                }
            }
            // A hole in the order would be worse than no connection.
            Err(error) => {
                tracing::warn!(peer = %self.identity.node, %error, "signal can't be decoded");
                self.peer.close(Reason::Protocol, "signal can't be decoded");
            }
        }
    }
}
