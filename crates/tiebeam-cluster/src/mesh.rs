//! At most one connection to every other node, made again whenever it is lost. An edge has one to each core, and to
//! another edge only if something was to be sent to it ([`needed`]).
//!
//! Whoever knows an address dials it. Of two nodes that dial each other one decides which connection is kept (see
//! [`Candidate`]); a connection in use is never given up for another one of the same two starts, so links and monitors
//! don't break because two nodes met twice. A later start replaces the earlier one, whose end is told first.

pub(crate) mod demand;
pub(crate) mod dialler;
pub(crate) mod needed;
pub(crate) mod relay;
pub(crate) mod session;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tiebeam_net::{Candidate, Peer, Reason, Refusal};
use tiebeam_wire::{Incarnation, NodeId, Role};

use self::dialler::{Dial, Outcome};
use crate::node::{Node, lock};

/// Connections of admins at once; more are refused. Admins are no members: they neither replace each other nor gossip.
pub(crate) const ADMINS_MAX: usize = 64;

/// Dials whatever is due, for ever.
pub(crate) async fn dial(node: Arc<Node>) {
    loop {
        let (due, deadline) = {
            let mut view = node.view();
            (view.dialler.take_due(tiebeam_world::now()), view.dialler.deadline())
        };
        for dial in due {
            drop(tiebeam_world::spawn("cluster.dial", dial_one(Arc::clone(&node), dial)));
        }
        let sleep = async {
            match deadline {
                Some(deadline) => tiebeam_world::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = node.dial.notified() => {}
        }
    }
}

async fn dial_one(node: Arc<Node>, dial: Dial) {
    let outcome = settle(&node, node.endpoint.dial(dial.address, dial.expected).await).await;
    node.view().dialler.ended(tiebeam_world::now(), dial.address, outcome, tiebeam_world::random());
    node.dial.notify_one();
}

/// Makes whoever answered a dial a connection, or doesn't.
async fn settle(node: &Arc<Node>, dialled: Result<Candidate, Refusal>) -> Outcome {
    match dialled {
        Ok(candidate) => {
            let answered = candidate.identity().node;
            match join(node, candidate).await {
                Ok(()) => Outcome::Answered(answered),
                // The other connection of the pair was chosen, or will be.
                Err(refusal) if refusal.reason == Reason::Duplicate => Outcome::Answered(answered),
                Err(_) => Outcome::Failed,
            }
        }
        Err(refusal) if refusal.reason == Reason::Oneself => Outcome::Oneself,
        Err(refusal) if refusal.reason.needs_people() => Outcome::Refused,
        Err(_) => Outcome::Failed,
    }
}

/// Lets in whoever dials and can prove who it is, for ever. The endpoint bounds how many try at once.
pub(crate) async fn accept(node: Arc<Node>) {
    while let Some(stranger) = node.endpoint.accept().await {
        let node = Arc::clone(&node);
        drop(tiebeam_world::spawn("cluster.accept", async move {
            if let Ok(candidate) = stranger.authenticate().await {
                // What went wrong here is told and logged by `join`.
                let _ = join(&node, candidate).await;
            }
        }));
    }
}

/// Makes a candidate the connection to its node, or refuses it.
async fn join(node: &Arc<Node>, mut candidate: Candidate) -> Result<(), Refusal> {
    if candidate.identity().role == Role::Admin {
        return admit_admin(node, candidate).await;
    }
    let peer = candidate.identity().node;
    let pair = pair(node, peer);
    let joined = if candidate.decides() {
        // Waiting for the offer with the pair locked would let a silent connection hold up a good one.
        match candidate.offered().await {
            Ok(()) => {
                let _chosen = pair.lock().await;
                match admit(node, &candidate) {
                    Ok(()) => {
                        // An offer says that the peer holds no connection: whatever is held here is dead.
                        retire(node, peer).await;
                        keep(node, candidate).await
                    }
                    Err((reason, detail)) => Err(candidate.reject(reason, &detail)),
                }
            }
            Err(refusal) => Err(refusal),
        }
    } else {
        let _chosen = pair.lock().await;
        match admit(node, &candidate).and_then(|()| free(node, &candidate)) {
            Ok(()) => {
                retire(node, peer).await;
                match candidate.offer().await {
                    Ok(peer) => begin(node, peer).await,
                    Err(refusal) => Err(refusal),
                }
            }
            Err((reason, detail)) => Err(candidate.reject(reason, &detail)),
        }
    };
    if let Err(refusal) = &joined {
        log(peer, refusal);
    }
    joined
}

async fn keep(node: &Arc<Node>, candidate: Candidate) -> Result<(), Refusal> {
    begin(node, candidate.keep().await?).await
}

/// Makes a peer the connection to its node, unless a later start was told since it was admitted: the last step of a handshake
/// takes a round trip, and subscribers must not be told of a start after the next one. With the pair locked.
async fn begin(node: &Arc<Node>, peer: Peer) -> Result<(), Refusal> {
    if let Some(detail) = is_over(node, peer.node(), peer.incarnation()) {
        peer.close(Reason::StaleIncarnation, &detail);
        return Err(peer.closed().await);
    }
    session::start(node, peer);
    Ok(())
}

/// Says so if a later start of a node was heard of.
fn is_over(node: &Node, peer: NodeId, incarnation: Incarnation) -> Option<String> {
    let latest = node.incarnation_of(peer).filter(|latest| *latest > incarnation)?;
    Some(format!("{peer} {incarnation} is over, {latest} was seen"))
}

fn pair(node: &Node, peer: NodeId) -> Arc<tokio::sync::Mutex<()>> {
    // One entry for each node that ever proved its id; certificates bound their number.
    Arc::clone(lock(&node.pairs).entry(peer).or_default())
}

/// Refuses starts that are over and members beyond the limit.
fn admit(node: &Node, candidate: &Candidate) -> Result<(), (Reason, String)> {
    let (peer, incarnation) = (candidate.identity().node, candidate.incarnation());
    if let Some(detail) = is_over(node, peer, incarnation) {
        return Err((Reason::StaleIncarnation, detail));
    }
    let sessions = node.sessions();
    if !sessions.contains_key(&peer) && sessions.len() + 1 >= node.config.members_max {
        return Err((Reason::Full, format!("cluster has {} members, its limit", node.config.members_max)));
    }
    Ok(())
}

/// Refuses a second connection to the same start while the first one is in use.
fn free(node: &Node, candidate: &Candidate) -> Result<(), (Reason, String)> {
    let sessions = node.sessions();
    let used = sessions.get(&candidate.identity().node).filter(|session| session.peer.close_reason().is_none());
    match used {
        Some(session) if session.peer.incarnation() == candidate.incarnation() => {
            Err((Reason::Duplicate, "another connection of the pair is in use".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Ends the session with `peer`, if there is one, and waits until its end was told. With the pair locked.
async fn retire(node: &Arc<Node>, peer: NodeId) {
    let session = node.sessions().get(&peer).cloned();
    if let Some(session) = session {
        session.peer.close(Reason::Replaced, "a newer connection took its place");
        session.drained().await;
        session::end(node, &session);
    }
}

async fn admit_admin(node: &Arc<Node>, candidate: Candidate) -> Result<(), Refusal> {
    if node.admins.fetch_add(1, Ordering::Relaxed) >= ADMINS_MAX {
        node.admins.fetch_sub(1, Ordering::Relaxed);
        return Err(candidate.reject(Reason::Full, &format!("{ADMINS_MAX} admins are connected, the limit")));
    }
    let settled = candidate.settle().await;
    if let Ok(peer) = &settled {
        serve_admin(node, peer).await;
    }
    node.admins.fetch_sub(1, Ordering::Relaxed);
    settled.map(drop)
}

async fn serve_admin(node: &Arc<Node>, peer: &Peer) {
    tracing::info!(peer = %peer.identity(), "admin connected");
    peer.serve(session::handler(node, peer));
    let end = peer.closed().await;
    tracing::info!(peer = %peer.identity(), reason = %end.reason, "admin left");
}

fn log(peer: NodeId, refusal: &Refusal) {
    let Refusal { reason, by, detail, .. } = refusal;
    if reason.is_ordinary() || *reason == Reason::Lost {
        tracing::debug!(%peer, %reason, ?by, detail, "connection not kept");
    } else {
        tracing::warn!(%peer, %reason, ?by, detail, "connection not kept");
    }
}
