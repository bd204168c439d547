//! All that the tasks of one node share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tiebeam_actor::System;
use tiebeam_net::{Endpoint, Service};
use tiebeam_wire::{Incarnation, NodeId};
use tiebeam_world::TaskGuard;
use tokio::sync::{Notify, mpsc, watch};

use crate::cluster::events::Live;
use crate::mesh::dialler::Dialler;
use crate::mesh::session::Session;
use crate::{Config, Handler, Member};

/// What subscribers wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Grows with every change of who is live.
    pub(crate) changes: u64,
    pub(crate) stopped: bool,
}

/// Who is where.
#[derive(Debug)]
pub(crate) struct View {
    /// Everybody who was ever connected or is told by gossip, this node excluded.
    pub(crate) known: BTreeMap<NodeId, Member>,
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
        let (address, node) = (member.address, member.node);
        let news = match view.known.get(&node) {
            Some(known) if known.incarnation > member.incarnation => return false,
            Some(known) => known.incarnation < member.incarnation,
            None if view.known.len() + 1 >= self.config.members_max => return false,
            None => true,
        };
        view.known.insert(node, member);
        let now = tiebeam_world::now();
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

    /// The latest start of `node` that was heard of.
    pub(crate) fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        self.view().known.get(&node).map(|member| member.incarnation)
    }
}

/// A panic while the lock is held can't leave these values half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
