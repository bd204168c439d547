//! A node's table of processes, its names, and the door to other nodes.

mod introspect;
mod names;
mod pressure;
mod processes;
mod remote;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::Semaphore;

pub use introspect::{ProcessInfo, ProcessTree, Status};

use crate::cell::{Process, Signal};
use crate::raw::{current, slot};
use crate::scheduler::{self, Scheduler};
use crate::watchdog;
use crate::{Actor, Addr, CallError, ExitKind, ExitReason, Named, Pid, Polled, Ref, RegisterError, Router, Starter};
use names::Names;
use pressure::Pressure;
use processes::Processes;
use remote::Calls;

/// The limits of a [`System`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many processes may run at once; a start beyond it fails. Default 1,048,576, as in BEAM.
    pub processes_max: u32,
    /// How many messages may wait for one actor unless its starter says otherwise; beyond it senders wait or are told
    /// [`CallError::Overloaded`](crate::CallError::Overloaded). Default 1,024.
    pub mailbox_messages_max: u32,
    /// How many calls to other nodes may wait for their answer at once; beyond it calls fail as overloaded.
    /// Default 65,536.
    pub remote_calls_max: u32,
    /// How much work of [`System::blocking`] may run at once; more waits. Default 64.
    pub blocking_max: u32,
    /// For how long a handler may compute without a break before a warning names it. Default 1 s.
    pub handler_stuck: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            processes_max: 1 << 20,
            mailbox_messages_max: 1024,
            remote_calls_max: 65_536,
            blocking_max: 64,
            handler_stuck: Duration::from_secs(1),
        }
    }
}

/// All the processes of one node. A handle: clones are the same system.
#[derive(Clone)]
pub struct System {
    inner: Arc<Inner>,
}

struct Inner {
    root: Pid,
    config: Config,
    serials: AtomicU64,
    refs: AtomicU64,
    processes: Processes,
    names: Mutex<Names>,
    router: RwLock<Option<Arc<dyn Router>>>,
    calls: Mutex<Calls>,
    pressure: Pressure,
    scheduler: Scheduler,
    blocking: Semaphore,
}

impl System {
    /// Makes the system of this start of a node, with the default [`Config`]. Within one cluster no two may share node and
    /// incarnation: their pids would name each other's actors.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Self::with_config(node, incarnation, Config::default())
    }

    /// Makes the system of this start of a node, within these limits.
    #[must_use]
    pub fn with_config(node: NodeId, incarnation: Incarnation, config: Config) -> Self {
        let inner = Inner {
            blocking: Semaphore::new(config.blocking_max.max(1) as usize),
            root: Pid { node, incarnation, serial: 0 },
            config,
            serials: AtomicU64::new(1),
            refs: AtomicU64::new(1),
            processes: Processes::default(),
            names: Mutex::default(),
            router: RwLock::default(),
            calls: Mutex::default(),
            pressure: Pressure::default(),
            scheduler: Scheduler::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts an actor and waits until its `init` is done. Dropping the future before that stops the actor.
    ///
    /// # Errors
    /// The reason why `init` failed; the process is gone and its name free.
    pub fn spawn<A: Actor>(&self, args: A::Args) -> impl Future<Output = Result<Addr<A>, ExitReason>> + Send + use<A> {
        self.starter().spawn(args)
    }

    /// Returns what starts actors with a name or a mailbox limit.
    #[must_use]
    pub fn starter(&self) -> Starter {
        Starter::new(self.clone(), None)
    }

    /// Sends an exit signal. Non-normal reasons end an actor that doesn't trap exits; [`ExitReason::Kill`] ends any.
    /// Nothing happens if there is no such process.
    pub fn exit(&self, pid: Pid, reason: ExitReason) {
        let from = current::sender(self);
        self.send(pid, Signal::Exit { from, reason, kind: ExitKind::Sent });
    }

    /// Waits until the process of this node has ended, its name is free and its state is dropped; returns why it ended.
    /// [`ExitReason::NoProc`] at once if there is none. For code that is no actor; actors use
    /// [`Ctx::monitor`](crate::Ctx::monitor).
    pub fn wait(&self, pid: Pid) -> impl Future<Output = ExitReason> + Send + use<> {
        let (waiter, ended) = slot::slot();
        self.send(pid, Signal::Wait(waiter));
        async move { ended.await.unwrap_or(ExitReason::NoProc) }
    }

    /// Gives the process of this node a name. A process may have several; they are free again when it ends.
    ///
    /// # Errors
    /// [`RegisterError::Taken`] while another process has the name, [`RegisterError::NoProc`] if the process is gone.
    pub fn register(&self, name: impl Into<String>, pid: Pid) -> Result<(), RegisterError> {
        let process = self.process(pid).ok_or(RegisterError::NoProc { pid })?;
        let mut names = self.names();
        // Under the lock: an ending process sets its reason first and frees its names after, if it sees the mark.
        process.marks().has_name.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if process.exit_reason().is_some() {
            return Err(RegisterError::NoProc { pid });
        }
        names.register(name.into(), pid)
    }

    /// Frees a name; returns whose it was.
    pub fn unregister(&self, name: &str) -> Option<Pid> {
        self.names().unregister(name)
    }

    /// Returns who has the name on this node.
    #[must_use]
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.names().whereis(name)
    }

    /// Returns the address of `pid` as an actor of type `A`, here or on another node. It is not checked whether there is
    /// one: its calls then fail with [`CallError::NoProc`], and with [`CallError::Incompatible`] if it is no `A`.
    #[must_use]
    pub fn addr<A: Actor>(&self, pid: Pid) -> Addr<A> {
        Addr::new(self.clone(), pid)
    }

    /// Returns the address of whoever has this name on `node` when a message arrives there.
    #[must_use]
    pub fn named<A: Actor>(&self, node: NodeId, name: impl Into<String>) -> Named<A> {
        Named::new(self.clone(), node, name.into())
    }

    /// Returns the node that this system belongs to.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.root.node
    }

    /// Returns which start of the node this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.inner.root.incarnation
    }

    /// Says whether the process lives on this node.
    #[must_use]
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.process(pid).is_some_and(|process| process.exit_reason().is_none())
    }

    /// Returns in whose name this code sends: the actor whose handler runs, or serial 0 outside of actors.
    #[must_use]
    pub fn sender(&self) -> Pid {
        current::sender(self)
    }

    pub(crate) fn root(&self) -> Pid {
        self.inner.root
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn is_local(&self, pid: Pid) -> bool {
        pid.node == self.inner.root.node
    }

    pub(crate) fn fresh_pid(&self) -> Pid {
        Pid { serial: self.inner.serials.fetch_add(1, Ordering::Relaxed), ..self.inner.root }
    }

    pub(crate) fn fresh_ref(&self) -> Ref {
        let Pid { node, incarnation, .. } = self.inner.root;
        Ref { node, incarnation, serial: self.inner.refs.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn process(&self, pid: Pid) -> Option<Arc<dyn Process>> {
        // A pid of an earlier start of this node names nobody: its serial may mean another process now.
        if (pid.node, pid.incarnation) != (self.inner.root.node, self.inner.root.incarnation) {
            return None;
        }
        self.inner.processes.get(pid.serial)
    }

    /// Starts what gives processes their turns, unless it runs.
    #[inline]
    pub(crate) fn start_workers(&self) {
        // Weak: the workers outlive the last handle to the system, and must not keep it alive.
        let start = || {
            let (inner, found) = (Arc::downgrade(&self.inner), Arc::downgrade(&self.inner));
            let stuck_after = self.inner.config.handler_stuck;
            let watch = move |shared| {
                watchdog::start(shared, stuck_after, move |serial| found.upgrade()?.processes.get(serial));
            };
            self.inner.scheduler.start(watch, Hooks(inner));
        };
        if !self.inner.scheduler.is_started() {
            start();
        }
    }

    /// Runs `work`, which may block or compute for long, on a thread kept for such work, and waits for it. At most
    /// [`Config::blocking_max`] run at once; more wait their turn.
    ///
    /// # Errors
    /// [`ExitReason::Panic`] if it panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ExitReason> {
        let _turn = self.inner.blocking.acquire().await.expect("never closed");
        tiebeam_world::blocking(work).await.map_err(|error| match error {
            tiebeam_world::TaskError::Panicked(text) => ExitReason::Panic(text),
            tiebeam_world::TaskError::Aborted => ExitReason::Killed,
        })
    }

    pub(crate) fn scheduler(&self) -> &Scheduler {
        &self.inner.scheduler
    }

    /// Puts a new process into the table.
    ///
    /// # Errors
    /// The reason for the starter, if there are too many.
    pub(crate) fn added(&self, process: Arc<dyn Process>) -> Result<(), ExitReason> {
        let limit = self.inner.config.processes_max;
        match self.inner.processes.add(process.pid().serial, process, limit) {
            true => Ok(()),
            false => Err(ExitReason::Other(format!("node has {limit} processes already, which is the limit"))),
        }
    }

    pub(crate) fn removed(&self, pid: Pid) {
        self.inner.processes.remove(pid.serial);
    }

    pub(crate) fn names_freed(&self, pid: Pid) {
        self.names().free(pid);
    }

    /// Sends a signal to a process, wherever it is. One that can't be delivered comes back to its sender as it must.
    pub(crate) fn send(&self, to: Pid, signal: Signal) {
        if !self.is_local(to) {
            return self.send_abroad(to, signal);
        }
        let undelivered = match self.process(to) {
            Some(process) => process.signal(signal).err(),
            None => Some(signal),
        };
        if let Some(signal) = undelivered {
            self.bounce(to, signal, ExitReason::NoProc);
        }
    }

    /// Tells a signal's sender that `to` could not be reached.
    pub(crate) fn bounce(&self, to: Pid, signal: Signal, reason: ExitReason) {
        match signal {
            Signal::Link { from } => self.send(from, Signal::Exit { from: to, reason, kind: ExitKind::Broken }),
            Signal::Unlink { from, id } => self.send(from, Signal::UnlinkAck { from: to, id }),
            Signal::Monitor { from, monitor } => self.send(from, Signal::Down { from: to, monitor, reason }),
            Signal::Wait(waiter) => waiter.send(reason),
            Signal::Abandoned(refuse) => refuse(CallError::NoProc),
            Signal::Inspect(_)
            | Signal::UnlinkAck { .. }
            | Signal::Exit { .. }
            | Signal::Demonitor { .. }
            | Signal::Down { .. }
            | Signal::Timer { .. }
            | Signal::NodeDown { .. }
            | Signal::Stop { .. } => {}
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.inner.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What workers ask of their system.
struct Hooks(Weak<Inner>);

impl scheduler::Hooks for Hooks {
    fn flush(&self) {
        self.with_router(|router| router.flush());
    }

    fn poll(&self) -> Polled {
        self.with_router(|router| router.poll()).unwrap_or(Polled::Quiet)
    }

    fn look(&self) {
        self.with_router(|router| router.look());
    }

    fn abandon(&self) {
        let Some(inner) = self.0.upgrade() else { return };
        // Each holds the system, and the system them.
        inner.processes.take_all().into_iter().for_each(Process::abandon);
        // So may what carries signals.
        drop(inner.router.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Hooks {
    fn with_router<T>(&self, work: impl FnOnce(&dyn Router) -> T) -> Option<T> {
        // Cloned, since what it takes in may send, and so would take the lock twice.
        let router = self.0.upgrade()?.router.read().unwrap_or_else(PoisonError::into_inner).clone();
        router.map(|router| work(&*router))
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pid { node, incarnation, .. } = self.inner.root;
        write!(f, "System({node}.{incarnation})")
    }
}
