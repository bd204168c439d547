//! All that the tasks of one node share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tiebeam_actor::System;
use tiebeam_net::{Endpoint, Service};
use tiebeam_wire::{Incarnation, Instant, NodeId};
use tiebeam_world::TaskGuard;
use tokio::sync::{Notify, mpsc, watch};

use crate::cluster::events::Live;
use crate::leases::Tenancy;
use crate::mesh::dialler::Dialler;
use crate::mesh::session::Session;
use crate::monitor::NodeMonitors;
use crate::said::SaidCell;
use crate::sharing::Sharing;
use crate::standing::StandingCell;
use crate::virtual_actors::host::Virtuals;
use crate::voters::VotersCell;
use crate::{Config, Handler, Member, Said};

/// What subscribers wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Grows with every change of who is live.
    pub(crate) changes: u64,
    pub(crate) stopped: bool,
}

/// A member that was heard of.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) member: Member,
    /// When there was news of it.
    heard: Instant,
}

/// Who is where.
#[derive(Debug)]
pub(crate) struct View {
    /// Everybody who was connected or told by gossip, this node excluded. At the limit of members the one that is not
    /// connected and was not heard of for longest makes room.
    pub(crate) known: BTreeMap<NodeId, Known>,
    /// Everybody who is connected.
    pub(crate) live: BTreeMap<NodeId, Live>,
    pub(crate) dialler: Dialler,
}

pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) me: Member,
    pub(crate) endpoint: Endpoint,
    pub(crate) system: System,
    pub(crate) handlers: RwLock<BTreeMap<Service, Handler>>,
    /// Read while a frame is queued, so that after a session was taken out nothing is queued on it any more.
    pub(crate) sessions: RwLock<BTreeMap<NodeId, Arc<Session>>>,
    pub(crate) view: Mutex<View>,
    pub(crate) version: watch::Sender<Version>,
    /// Held while the connection of a pair is chosen or ended: both happen one after the other for one peer.
    pub(crate) pairs: Mutex<BTreeMap<NodeId, Arc<tokio::sync::Mutex<()>>>>,
    pub(crate) serials: AtomicU64,
    pub(crate) admins: AtomicUsize,
    pub(crate) dial: Notify,
    pub(crate) gossip: mpsc::Sender<(SocketAddr, Bytes)>,
    pub(crate) chitchat: Mutex<Option<chitchat::ChitchatHandle>>,
    pub(crate) tasks: Mutex<Vec<TaskGuard>>,
    pub(crate) sharing: Sharing,
    pub(crate) voters: VotersCell,
    pub(crate) standing: StandingCell,
    pub(crate) said: SaidCell,
    pub(crate) node_monitors: NodeMonitors,
    pub(crate) leases: Tenancy,
    pub(crate) virtuals: Virtuals,
}

impl Node {
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    pub(crate) fn sessions(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Arc<Session>>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sessions_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, Arc<Session>>> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handler(&self, service: Service) -> Option<Handler> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).get(&service).cloned()
    }

    /// Tells subscribers to look again.
    pub(crate) fn changed(&self) {
        self.version.send_modify(|version| version.changes += 1);
    }

    /// Notes what gossip or a handshake tells of a member; says whether it is news: an unknown node or a later start.
    pub(crate) fn learn(&self, member: Member) -> bool {
        let mut view = self.view();
        let (address, node, now) = (member.address, member.node, tiebeam_world::now());
        let said = view.said_of(node, member.incarnation);
        // A handshake says nothing of what gossip tells.
        let member = if member.said == Said::default() { Member { said, ..member } } else { member };
        let latest = view.known.get(&node).map(|known| known.member.incarnation);
        if latest.is_some_and(|latest| latest > member.incarnation) {
            return false;
        }
        if latest.is_none() && view.known.len() + 1 >= self.config.members_max && !view.forget_one() {
            return false;
        }
        let news = latest.is_none_or(|latest| latest < member.incarnation);
        view.known.insert(node, Known { member, heard: now });
        view.dialler.know(now, address, Some(node));
        if news {
            view.dialler.hurry(now, address);
        }
        drop(view);
        if news {
            self.dial.notify_one();
        }
        news
    }

    /// Takes in what a known start of a node says of itself.
    pub(crate) fn hear(&self, member: &Member) {
        let mut view = self.view();
        let known = view.known.get_mut(&member.node).filter(|known| known.member.incarnation == member.incarnation);
        if let Some(known) = known {
            known.member.said.clone_from(&member.said);
        }
    }

    /// What `node` says of its load, in percent; 0 if it says nothing.
    pub(crate) fn load_of(&self, node: NodeId) -> u32 {
        if node == self.me.node {
            return self.said.load_percent();
        }
        self.view().known.get(&node).map_or(0, |known| known.member.said.load_percent)
    }

    /// The latest start of `node` that was heard of.
    pub(crate) fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        self.view().known.get(&node).map(|known| known.member.incarnation)
    }
}

impl View {
    /// What a start of a node says of itself, as far as it was heard.
    pub(crate) fn said_of(&self, node: NodeId, incarnation: Incarnation) -> Said {
        let known = self.known.get(&node).filter(|known| known.member.incarnation == incarnation);
        known.map(|known| known.member.said.clone()).unwrap_or_default()
    }

    /// Makes room for one member; says whether it could.
    fn forget_one(&mut self) -> bool {
        let absent = self.known.iter().filter(|(node, _)| !self.live.contains_key(node));
        let oldest = absent.min_by_key(|(_, known)| known.heard).map(|(node, _)| *node);
        oldest.is_some_and(|node| self.known.remove(&node).is_some())
    }
}

/// A panic while the lock is held can't leave these values half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
