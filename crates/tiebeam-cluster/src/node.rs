//! All that the tasks of one node share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tiebeam_actor::System;
use tiebeam_crdt::ReplicaId;
use tiebeam_net::{Endpoint, Service};
use tiebeam_wire::{Incarnation, Instant, NodeId, Role};
use tiebeam_world::TaskGuard;
use tokio::sync::{Notify, mpsc, watch};

use crate::cluster::events::Live;
use crate::leases::Tenancy;
use crate::mesh::demand::Demand;
use crate::mesh::dialler::Dialler;
use crate::mesh::needed::Room;
use crate::mesh::session::Session;
use crate::monitor::NodeMonitors;
use crate::said::{self, SaidCell};
use crate::sharing::Sharing;
use crate::standing::StandingCell;
use crate::virtual_actors::host::Virtuals;
use crate::voters::VotersCell;
use crate::{Config, Edges, Handler, Member, Reach};

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
    pub(crate) connected: BTreeMap<NodeId, Member>,
    /// Everybody who is there in the eyes of cores and keeps apart from this node unless one needs the other.
    pub(crate) present: BTreeMap<NodeId, Member>,
    /// What follows of both, as it is told.
    pub(crate) live: BTreeMap<NodeId, Live>,
    /// Numbers appearances.
    pub(crate) serial: u64,
    pub(crate) dialler: Dialler,
}

/// How a start of a node is shown among those that share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It is exchanged with.
    Peer(Incarnation),
    /// It is there for others.
    Seen(Incarnation),
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
    /// What waits for connections to be made.
    pub(crate) demand: Mutex<Demand>,
    pub(crate) room: Room,
    /// Held while it is told who is there, so that what was found last is told last.
    pub(crate) shown: Mutex<BTreeMap<NodeId, Shown>>,
}

impl Node {
    /// Whether this node and one of `role` are connected only if one needs the other.
    pub(crate) fn is_apart(&self, role: Role) -> bool {
        self.config.edges == Edges::KeepToCores && (self.me.role, role) == (Role::Edge, Role::Edge)
    }

    /// Which start of a node is there in the eyes of cores, if it keeps apart from this node.
    pub(crate) fn present_start(&self, node: NodeId) -> Option<Incarnation> {
        self.view().present(node).map(|member| member.incarnation)
    }

    /// Has all that is shared, and then subscribers, told whether a node is there and how it is reached.
    pub(crate) fn settle(&self, node: NodeId) {
        let mut shown = lock(&self.shown);
        // Looked at once: subscribers must not hear of what those who share will be told of only next.
        let there = self.view().there(node);
        let now = there.as_ref().map(|member| match member.reach {
            Reach::Connected => Shown::Peer(member.incarnation),
            Reach::ThroughCores | Reach::Known => Shown::Seen(member.incarnation),
        });
        let before = shown.get(&node).copied();
        if before != now {
            self.sharing.show(self, node, before, now);
            match now {
                Some(now) => shown.insert(node, now),
                None => shown.remove(&node),
            };
        }
        self.view().tell(node, there);
        self.changed();
    }

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
        let latest = view.known.get(&node).map(|known| known.member.incarnation);
        if latest.is_some_and(|latest| latest > member.incarnation) {
            return false;
        }
        if latest.is_none() && view.known.len() + 1 >= self.config.members_max && !view.forget_one() {
            return false;
        }
        let news = latest.is_none_or(|latest| latest < member.incarnation);
        let apart = self.is_apart(member.role);
        view.known.insert(node, Known { member, heard: now });
        if !apart {
            view.dialler.know(now, address, Some(node));
        }
        if news {
            view.dialler.hurry(now, address);
        }
        drop(view);
        if news {
            self.dial.notify_one();
        }
        news
    }

    /// What `node` says of its load, in percent; 0 if it says nothing.
    pub(crate) fn load_of(&self, node: NodeId) -> u32 {
        if node == self.me.node {
            return self.said.load_percent();
        }
        let start = self.incarnation_of(node).map(|incarnation| ReplicaId::new(node, incarnation));
        start.map_or(0, |start| said::of(self, start).load_percent)
    }

    /// The latest start of `node` that was heard of.
    pub(crate) fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        self.view().known.get(&node).map(|known| known.member.incarnation)
    }
}

impl View {
    /// Finds a node that is there in the eyes of cores, unless that start of it is over: this node may have been connected
    /// to a later one before cores were.
    pub(crate) fn present(&self, node: NodeId) -> Option<&Member> {
        let known = self.known.get(&node).map(|known| known.member.incarnation);
        self.present.get(&node).filter(|member| known.is_none_or(|known| known <= member.incarnation))
    }

    /// Finds a node that is there in whichever way.
    fn there(&self, node: NodeId) -> Option<Member> {
        let connected = self.connected.get(&node).map(|member| (member, Reach::Connected));
        let there = connected.or_else(|| self.present(node).map(|member| (member, Reach::ThroughCores)));
        there.map(|(member, reach)| Member { live: true, reach, ..member.clone() })
    }

    /// Has subscribers told of a node. One that goes on in the same start, by another way, is still the same.
    fn tell(&mut self, node: NodeId, there: Option<Member>) {
        let Some(member) = there else { return drop(self.live.remove(&node)) };
        match self.live.get_mut(&node).filter(|live| live.member.incarnation == member.incarnation) {
            Some(live) => live.member = member,
            None => {
                self.serial += 1;
                self.live.insert(node, Live { serial: self.serial, member });
            }
        }
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
