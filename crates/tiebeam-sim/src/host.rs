//! One node: a runtime of its own with the real actor system and the real cluster, run until it has nothing to do.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use tiebeam_actor::System;
use tiebeam_cluster::{Cluster, Config};
use tiebeam_wire::{Incarnation, NodeId};
use tokio::runtime::{Builder, Runtime};

use crate::clock::Clock;
use crate::interpose;
use crate::outside::Outside;
use crate::plug::Plug;
use crate::site::Site;

/// A day: for how long a runtime without timers is left alone, and more than a handler ever computes.
const DAY: Duration = Duration::from_hours(24);

thread_local! {
    /// Wakes the future that [`Host::run`] blocks on.
    static ROOT: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A node that may be up or down.
pub(crate) struct Host {
    pub(crate) node: NodeId,
    /// The latest start.
    pub(crate) incarnation: Incarnation,
    pub(crate) clock: Clock,
    /// When it was paused, if it is.
    pub(crate) paused_at: Option<u64>,
    /// When it next has something to do, if nothing arrives before.
    pub(crate) due: u64,
    start: Option<Start>,
}

struct Start {
    runtime: Runtime,
    plug: Arc<Plug>,
    cluster: Arc<OnceLock<Cluster>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("node", &self.node).field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl Host {
    pub(crate) const fn new(node: NodeId) -> Self {
        Self { node, incarnation: Incarnation(0), clock: Clock::new(), paused_at: None, due: u64::MAX, start: None }
    }

    /// Starts the node; `work` is begun on it when it listens.
    pub(crate) fn start(
        &mut self,
        now: u64,
        mut config: Config,
        nodes: &Arc<[NodeId]>,
        outside: &Arc<Outside>,
        work: impl FnOnce(Site) -> futures::future::BoxFuture<'static, ()> + Send + 'static,
    ) {
        assert!(self.start.is_none(), "{} runs already", self.node);
        self.incarnation = config.net.incarnation;
        interpose::set_clocks(self.clock.monotonic(now), self.clock.wall(now));
        let plug = Plug::new(self.node, Arc::clone(outside));
        config.net.datagrams = Some(Arc::clone(&plug) as Arc<_>);
        let runtime = runtime();
        let cluster = Arc::new(OnceLock::new());
        let limits = tiebeam_actor::Config { handler_stuck: DAY, ..tiebeam_actor::Config::default() };
        let system = System::with_config(self.node, self.incarnation, limits);
        let (nodes, outside, started) = (Arc::clone(nodes), Arc::clone(outside), Arc::clone(&cluster));
        {
            let _entered = runtime.enter();
            drop(tiebeam_world::spawn("sim.pulse", async {
                loop {
                    tiebeam_world::sleep(DAY).await;
                }
            }));
            drop(tiebeam_world::spawn("sim.node", async move {
                match Cluster::start(config, system.clone()).await {
                    Ok(cluster) => {
                        let _ = started.set(cluster.clone());
                        work(Site { system, cluster, nodes, outside }).await;
                    }
                    Err(error) => outside.fail(format!("node does not start: {error:?}")),
                }
            }));
        }
        self.start = Some(Start { runtime, plug, cluster });
        self.due = now;
    }

    /// Kills the node: nothing it would still say is heard.
    pub(crate) fn crash(&mut self, now: u64) {
        let Some(Start { runtime, plug, cluster }) = self.start.take() else { return };
        interpose::set_clocks(self.clock.monotonic(now), self.clock.wall(now));
        plug.pull();
        drop(runtime);
        drop(cluster);
        self.paused_at = None;
        self.due = u64::MAX;
    }

    /// Runs the node until it has nothing to do at `now`.
    pub(crate) fn run(&mut self, now: u64) {
        let Some(start) = &self.start else { return };
        interpose::set_clocks(self.clock.monotonic(now), self.clock.wall(now));
        interpose::take_idle();
        let idle_until = start.runtime.block_on(poll_fn(|cx| {
            if let Some(until) = interpose::take_idle() {
                return Poll::Ready(until);
            }
            ROOT.with_borrow_mut(|root| match root {
                Some(root) => root.clone_from(cx.waker()),
                None => *root = Some(cx.waker().clone()),
            });
            Poll::Pending
        }));
        self.due = self.clock.when(idle_until).max(now + 1);
    }

    /// The clock was changed: what was due at one moment is due at another.
    pub(crate) fn clock_changed(&mut self, now: u64) {
        if self.is_up() {
            self.due = now;
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.start.is_some()
    }

    pub(crate) fn plug(&self) -> Option<&Arc<Plug>> {
        self.start.as_ref().map(|start| &start.plug)
    }

    /// The node's cluster, once it listens.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.start.as_ref()?.cluster.get()
    }
}

/// A runtime without sockets, which says when it has nothing to do in place of waiting.
fn runtime() -> Runtime {
    let unparked = || {
        interpose::unparked();
        if interpose::is_idle() {
            ROOT.with_borrow(|root| root.iter().for_each(Waker::wake_by_ref));
        }
    };
    Builder::new_current_thread()
        .enable_time()
        .on_thread_park(interpose::parks)
        .on_thread_unpark(unparked)
        .build()
        .expect("a runtime without sockets needs nothing of the system")
}
