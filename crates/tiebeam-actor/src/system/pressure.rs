//! Holds senders on other nodes back while a mailbox here is full, and senders here while one there is.
//!
//! A lane can't wait for one slow actor, so a mailbox whose senders wait ([`Overflow::Block`](crate::Overflow::Block)) takes
//! as many casts of other nodes again as it may hold, and tells each such node once that it is full. There casts to that
//! actor wait, calls as well, and go on when it tells that half of it is free, or has ended. What comes beyond is lost, and counted: more
//! was on the way than the mailbox holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::Notify;

use super::System;
use crate::{Pid, RemoteSignal};

/// Which mailboxes are full.
#[derive(Default)]
pub(super) struct Pressure {
    /// Those of other nodes, as they told, with whom waits for them.
    abroad: Mutex<BTreeMap<Pid, Arc<Notify>>>,
    /// How many these are: most of the time none, and then a cast looks no further.
    count: AtomicUsize,
    /// Those of this node, with the nodes that were told.
    here: Mutex<BTreeMap<Pid, BTreeSet<NodeId>>>,
}

/// Full mailboxes of other nodes that are remembered. Beyond it senders to further ones don't wait.
const ABROAD_MAX: usize = 65_536;

impl Pressure {
    fn abroad(&self) -> MutexGuard<'_, BTreeMap<Pid, Arc<Notify>>> {
        self.abroad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn here(&self) -> MutexGuard<'_, BTreeMap<Pid, BTreeSet<NodeId>>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out full mailboxes of other nodes; who waited for them goes on.
    fn release(&self, is_released: impl Fn(&Pid) -> bool) {
        let mut abroad = self.abroad();
        let released: Vec<_> = abroad.extract_if(.., |pid, _| is_released(pid)).collect();
        self.count.store(abroad.len(), Ordering::SeqCst);
        drop(abroad);
        released.iter().for_each(|(_, room)| room.notify_waiters());
    }
}

impl System {
    /// A mailbox of this node holds more than it may: tells the node of a sender, once.
    pub(super) fn press(&self, full: Pid, sender: Pid) {
        // Sent under the lock, or it could overtake what is told when there is room.
        let mut here = self.inner.pressure.here();
        if here.entry(full).or_default().insert(sender.node) {
            let to = Pid { serial: 0, ..sender };
            // Without a connection there is nobody to hold back.
            let _ = self.route(sender.node, RemoteSignal::Full { from: full, to });
        }
    }

    /// A mailbox of this node has room again, or is gone: tells all nodes that were told that it is full.
    pub(crate) fn relieve(&self, pid: Pid) {
        let mut here = self.inner.pressure.here();
        for node in here.remove(&pid).unwrap_or_default() {
            let to = Pid { node, incarnation: Incarnation(0), serial: 0 };
            let _ = self.route(node, RemoteSignal::Room { from: pid, to });
        }
    }

    /// An actor of another node tells that its mailbox is full.
    pub(super) fn full_abroad(&self, pid: Pid) {
        let pressure = &self.inner.pressure;
        let mut abroad = pressure.abroad();
        if abroad.len() < ABROAD_MAX || abroad.contains_key(&pid) {
            abroad.entry(pid).or_default();
            pressure.count.store(abroad.len(), Ordering::SeqCst);
        }
    }

    /// An actor of another node tells that its mailbox has room.
    pub(super) fn room_abroad(&self, pid: Pid) {
        self.inner.pressure.release(|full| *full == pid);
    }

    /// The connection to this start of a node is lost, and with it what was told across.
    pub(super) fn pressure_down(&self, node: NodeId, incarnation: Incarnation) {
        let pressure = &self.inner.pressure;
        pressure.release(|full| (full.node, full.incarnation) == (node, incarnation));
        for told in pressure.here().values_mut() {
            told.remove(&node);
        }
    }

    /// Says whether an actor of another node has no room for casts.
    #[inline]
    pub(crate) fn is_full_abroad(&self, pid: Pid) -> bool {
        let pressure = &self.inner.pressure;
        pressure.count.load(Ordering::Relaxed) > 0 && pressure.abroad().contains_key(&pid)
    }

    /// Waits until an actor of another node has room for casts, or can't be reached. Cancel safe.
    pub(crate) async fn until_room_abroad(&self, pid: Pid) {
        loop {
            let Some(room) = self.inner.pressure.abroad().get(&pid).cloned() else { return };
            let mut notified = std::pin::pin!(room.notified());
            notified.as_mut().enable();
            // Taken out since, which was told before this waited.
            if !self.inner.pressure.abroad().get(&pid).is_some_and(|now| Arc::ptr_eq(now, &room)) {
                continue;
            }
            notified.await;
        }
    }
}
