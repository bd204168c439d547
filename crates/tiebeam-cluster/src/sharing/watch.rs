//! Waits for what a board tells.

use std::sync::Arc;

use tiebeam_actor::{Addr, Handler};
use tokio::sync::{Notify, watch};

use super::board::{Interest, Told};
use super::plane::Kind;
use crate::node::{Node, Version};

/// How many may watch one kind of shared things on a node.
pub(crate) const WATCHERS_MAX: usize = 4096;

/// What a watcher is told by.
pub(crate) type ToldOf<Kd> = Told<<Kd as Kind>::Topic, <Kd as Kind>::Entry, <Kd as Kind>::Value>;

/// Why nothing is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// There are as many monitors and streams on this node as there may be.
    #[error("{limit} monitors and streams are there already, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// One watcher; it watches until it is dropped.
pub(crate) struct Watch<Kd: Kind> {
    node: Arc<Node>,
    version: watch::Receiver<Version>,
    wake: Arc<Notify>,
    id: u64,
    kind: std::marker::PhantomData<fn() -> Kd>,
}

impl<Kd: Kind> Watch<Kd> {
    pub(crate) fn new(node: &Arc<Node>, interest: Interest<Kd::Topic>) -> Result<Self, WatchError> {
        let wake = Arc::new(Notify::new());
        let id = Kd::plane(node).read(|core| {
            let full = core.board.watchers_len() >= WATCHERS_MAX;
            (!full).then(|| core.board.watch(interest, Arc::clone(&wake)))
        });
        let id = id.ok_or(WatchError::TooMany { limit: WATCHERS_MAX })?;
        let version = node.version.subscribe();
        Ok(Self { node: Arc::clone(node), version, wake, id, kind: std::marker::PhantomData })
    }

    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<ToldOf<Kd>> {
        loop {
            // Noted as seen before it is looked at: what changes in between is looked at again.
            let stopped = self.version.borrow_and_update().stopped;
            let told = Kd::plane(&self.node).read(|core| core.board.next(self.id));
            if told.is_some() || stopped {
                return told;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                changed = self.version.changed() => changed.ok()?,
            }
        }
    }

    /// Tells an actor of this node all that is told here, until it ends.
    pub(crate) fn tell<A, M>(mut self, to: &Addr<A>, message: fn(ToldOf<Kd>) -> M) -> Monitoring
    where
        A: Handler<M, Reply = ()>,
        M: Send + 'static,
    {
        let (node, to) = (Arc::clone(&self.node), to.clone());
        let ended = node.system.wait(to.pid());
        let task = node.sharing.spawn("cluster.monitor", async move {
            let told = async {
                while let Some(told) = self.next().await {
                    // Waits while the mailbox is full; meanwhile changes gather into fewer.
                    to.cast(message(told)).await;
                }
            };
            tokio::select! {
                () = told => {}
                _ = ended => {}
            }
        });
        Monitoring(task)
    }
}

impl<Kd: Kind> Drop for Watch<Kd> {
    fn drop(&mut self) {
        Kd::plane(&self.node).read(|core| core.board.unwatch(self.id));
    }
}

/// An actor is told of changes until it ends, or [`Monitoring::stop`] is called. Dropping this changes nothing.
#[derive(Debug)]
pub struct Monitoring(tiebeam_world::Task<()>);

impl Monitoring {
    pub(crate) const fn new(task: tiebeam_world::Task<()>) -> Self {
        Self(task)
    }

    /// Ends it. What was told already and waits in the mailbox stays.
    pub fn stop(self) {
        self.0.abort();
    }
}
