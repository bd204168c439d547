//! Whether this node is in the part of a split cluster that goes on: the part that reaches a majority of the voters.
//!
//! - A core node counts the voters that it is connected to, itself included.
//! - An edge goes by the word of the core nodes that it is connected to: each tells its edges whether it reaches a majority, at
//!   the beginning of a connection and with each change, in order. A word is good as long as its connection: so an edge whose
//!   only core is cut off learns it from that core, and one that loses its cores knows by itself.
//!
//! **How soon.** A loss is noticed when the connection ends, by default 3 s after the last packet; a node is cut off when it has
//! reached no majority for [`StandingConfig::cut_off_after`] since. It is back when it has reached one for
//! [`StandingConfig::back_after`]. Shorter ups and downs change nothing: who flaps faster than that keeps the standing it has.
//! A node that has just started is [`Standing::Unknown`] until it reaches a majority for the first time, which then counts at
//! once.
//!
//! **What it is not.** Two nodes may both reach a majority of the voters without reaching each other, when a split is not
//! clean. What must exist only once goes by a log, never by this.
//!
//! Further reading: split brain resolver of Akka, "keep majority".

mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::Pid;
use tiebeam_crdt::ReplicaId;
use tiebeam_wire::{Instant, NodeId, Role};
use tokio::sync::{Notify, watch};

use self::verdict::Verdict;
use crate::node::{Node, lock};
use crate::sharing::Frame;

/// How it is decided which part of a split cluster goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The one that reaches a majority of the [`Voters`](crate::Voters).
    #[default]
    Majority,
    /// Each one: every node always stands as if it reached a majority. For clusters in which nothing depends on it.
    None,
}

/// How a node finds out where it stands. The same on all nodes, or a core tells its edges what they don't go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingConfig {
    /// Which part of a split goes on. Default [`Strategy::Majority`].
    pub strategy: Strategy,
    /// How long no majority is reached before the node is cut off. Default 1 s.
    pub cut_off_after: Duration,
    /// How long a majority is reached again before the node is back. Default 1 s.
    pub back_after: Duration,
}

impl Default for StandingConfig {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { strategy: Strategy::Majority, cut_off_after: second, back_after: second }
    }
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not reached a majority since it started. To be treated as if it were cut off.
    Unknown,
    /// It reaches a majority, or lost it too short a time ago to say so.
    Majority,
    /// It reaches none.
    CutOff {
        /// Since when, on the clock of [`tiebeam_world::now`]: the loss itself, not when it was found.
        since: Instant,
    },
}

/// Which voters are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VotersReached {
    /// Those that this node reaches, or, on an edge, that any of its core nodes does.
    pub reached: BTreeSet<NodeId>,
    /// Whether that is a majority; on an edge, whether any of its core nodes says so.
    pub is_majority: bool,
}

/// Hands out where this node stands: first as it is, then each change. A reader that is slow gets the last one alone.
pub struct StandingEvents {
    standing: watch::Receiver<Standing>,
    version: watch::Receiver<crate::node::Version>,
    is_first: bool,
}

impl StandingEvents {
    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<Standing> {
        loop {
            let stopped = self.version.borrow_and_update().stopped;
            let is_first = std::mem::take(&mut self.is_first);
            if is_first || self.standing.has_changed().unwrap_or(false) {
                return Some(*self.standing.borrow_and_update());
            }
            if stopped {
                return None;
            }
            tokio::select! {
                changed = self.standing.changed() => {
                    changed.ok()?;
                    return Some(*self.standing.borrow_and_update());
                }
                changed = self.version.changed() => changed.ok()?,
            }
        }
    }
}

impl fmt::Debug for StandingEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandingEvents").field("standing", &*self.standing.borrow()).finish_non_exhaustive()
    }
}

/// What a node knows of where it stands.
#[derive(Debug)]
pub(crate) struct StandingCell {
    now: watch::Sender<Standing>,
    /// What connected core nodes said; an entry goes with its connection.
    words: Mutex<BTreeMap<NodeId, VotersReached>>,
    /// Tells the shell of a new word.
    heard: Notify,
}

impl StandingCell {
    pub(crate) fn new(config: &StandingConfig) -> Self {
        let first = Verdict::new(config).standing();
        Self { now: watch::Sender::new(first), words: Mutex::default(), heard: Notify::new() }
    }

    pub(crate) fn now(&self) -> Standing {
        *self.now.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.now.subscribe()
    }

    pub(crate) fn events(&self, node: &Node) -> StandingEvents {
        StandingEvents { standing: self.now.subscribe(), version: node.version.subscribe(), is_first: true }
    }

    /// Takes in what a core node says.
    pub(crate) fn hear(&self, from: NodeId, is_majority: bool, reached: Vec<NodeId>) {
        let reached = reached.into_iter().take(REACHED_MAX).collect();
        lock(&self.words).insert(from, VotersReached { reached, is_majority });
        self.heard.notify_one();
    }

    /// The connection to a node is gone, and with it the node's word.
    pub(crate) fn forget(&self, node: NodeId) {
        if lock(&self.words).remove(&node).is_some() {
            self.heard.notify_one();
        }
    }
}

/// Voters that a core node may name; far more than a cluster has.
const REACHED_MAX: usize = 64;

/// Finds out which voters are reached.
pub(crate) fn voters_reached(node: &Node) -> VotersReached {
    if node.me.role == Role::Edge {
        let words = lock(&node.standing.words);
        return VotersReached {
            reached: words.values().flat_map(|word| word.reached.iter().copied()).collect(),
            is_majority: words.values().any(|word| word.is_majority),
        };
    }
    let voters = node.voters.now();
    let view = node.view();
    let is_reached = |voter: &&NodeId| **voter == node.me.node || view.live.contains_key(*voter);
    let reached: BTreeSet<NodeId> = voters.nodes.iter().filter(is_reached).copied().collect();
    VotersReached { is_majority: reached.len() >= voters.majority(), reached }
}

/// Finds out where the node stands, and tells its edges, for ever.
pub(crate) async fn run(node: Arc<Node>) {
    let (mut version, mut voters) = (node.version.subscribe(), node.voters.watch());
    let mut verdict = Verdict::new(&node.config.standing);
    let mut told = BTreeMap::new();
    loop {
        // Noted as seen before anything is looked at: what changes in between is looked at again.
        version.borrow_and_update();
        voters.borrow_and_update();
        let (now, reach) = (tiebeam_world::now(), voters_reached(&node));
        if node.me.role == Role::Core {
            tell(&node, &reach, &mut told);
        }
        verdict.see(now, reach.is_majority);
        announce(&node, verdict.standing(), &reach);
        let due = async {
            match verdict.deadline() {
                Some(deadline) => tiebeam_world::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = node.standing.heard.notified() => {}
            // The senders live as long as the node.
            _ = version.changed() => {}
            _ = voters.changed() => {}
        }
    }
}

/// Tells each connected edge once what this core node reaches, and again when that changes.
fn tell(node: &Node, reach: &VotersReached, told: &mut BTreeMap<NodeId, (u64, VotersReached)>) {
    let edges: BTreeMap<NodeId, (u64, ReplicaId)> = {
        let sessions = node.sessions();
        let edges = sessions.values().filter(|session| session.peer.identity().role == Role::Edge);
        edges.map(|s| (s.peer.node(), (s.serial, ReplicaId::new(s.peer.node(), s.peer.incarnation())))).collect()
    };
    told.retain(|edge, (serial, _)| edges.get(edge).is_some_and(|(current, _)| current == serial));
    let unaware = edges.into_iter().filter(|(edge, _)| told.get(edge).is_none_or(|(_, last)| last != reach));
    let from = Pid { node: node.me.node, incarnation: node.me.incarnation, serial: 0 };
    let (is_majority, reached) = (reach.is_majority, reach.reached.iter().copied().collect());
    let frame = Frame::VotersReached { from, is_majority, reached };
    for (edge, (serial, replica)) in unaware.collect::<Vec<_>>() {
        // What isn't taken ends with the connection, whose end brings this here again.
        if node.share_message(std::iter::once(replica), from, &frame) > 0 {
            told.insert(edge, (serial, reach.clone()));
        }
    }
}

/// Publishes a change, and says it.
fn announce(node: &Node, standing: Standing, reach: &VotersReached) {
    let changed = node.standing.now.send_if_modified(|before| std::mem::replace(before, standing) != standing);
    if !changed {
        return;
    }
    let (reached, voters) = (reach.reached.len(), node.voters.now().nodes.len());
    match standing {
        Standing::CutOff { .. } => {
            tracing::warn!(node = %node.me.node, reached, voters, "cut off: no majority of the voters is reached");
        }
        Standing::Majority | Standing::Unknown => {
            tracing::info!(node = %node.me.node, reached, voters, "a majority of the voters is reached");
        }
    }
}
