use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use tiebeam_world::{Task, TaskGuard};

use crate::actor::Dispatch;
use crate::cell::{Cell, Process, Signal, Ties};
use crate::message::Told;
use crate::raw::current;
use crate::raw::item::Item;
use crate::raw::mailbox::Queue;
use crate::{Actor, Addr, Alias, ChildInfo, ExitKind, ExitReason, Info, Pid, Ref, Starter, System};

/// How many tasks one actor may run at once; the actor that starts one more crashes, since it leaks them.
pub const TASKS_MAX: usize = 4096;

/// How many timers one actor may have at once; the actor that starts one more crashes, since it leaks them.
pub const TIMERS_MAX: usize = 65_536;

/// Names a timer of one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(u64);

/// What an actor can do besides changing its state. It belongs to one actor and lives as long.
pub struct Ctx<A: Actor> {
    cell: Arc<Cell<A>>,
    stop: Option<Box<ExitReason>>,
    more: Option<Box<More<A>>>,
}

/// What few actors have.
pub(crate) struct More<A: Actor> {
    tasks: Vec<Task<()>>,
    timers: BTreeMap<u64, TaskGuard>,
    timers_made: u64,
    /// The timer of [`Ctx::set_timeout`].
    timeout: Option<u64>,
    /// What goes before everything that waits.
    continued: Queue<Item<A>>,
    /// Asked to hibernate once nothing waits.
    is_tired: bool,
}

impl<A: Actor> Default for More<A> {
    fn default() -> Self {
        Self {
            tasks: Vec::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            timeout: None,
            continued: Queue::default(),
            is_tired: false,
        }
    }
}

impl<A: Actor> Ctx<A> {
    pub(crate) const fn new(cell: Arc<Cell<A>>) -> Self {
        Self { cell, stop: None, more: None }
    }

    /// Returns the actor's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.cell.pid()
    }

    /// Returns the actor's own address, for tasks and others to cast to.
    #[must_use]
    pub fn addr(&self) -> Addr<A> {
        Addr::of(&self.cell)
    }

    /// Returns the system that the actor runs in.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.cell.system
    }

    /// Starts an actor, linked to this one, and waits until its `init` is done.
    ///
    /// # Errors
    /// The reason why `init` failed. No exit signal tells it a second time.
    pub fn spawn_link<B: Actor>(
        &self,
        args: B::Args,
    ) -> impl Future<Output = Result<Addr<B>, ExitReason>> + Send + use<A, B> {
        self.starter().spawn(args)
    }

    /// Returns what starts actors with a name or a mailbox limit, linked to this one.
    #[must_use]
    pub fn starter(&self) -> Starter {
        Starter::new(self.cell.system.clone(), Some(self.process()))
    }

    /// Links this actor to `pid`: when one ends, the other gets an exit signal. There is one link per pair; linking twice
    /// changes nothing. If there is no such process, an exit with [`ExitReason::NoProc`] comes back.
    pub fn link(&mut self, pid: Pid) {
        if pid != self.pid() && self.tie(pid, |ties| ties.links.link(pid)) {
            self.system().send(pid, Signal::Link { from: self.pid() });
        }
    }

    /// Dissolves the link to `pid`. From here on no exit signal of the link acts; an [`Info::Exit`](crate::Info::Exit)
    /// that waits to be handled already stays.
    pub fn unlink(&mut self, pid: Pid) {
        if let Some(Some(id)) = self.cell.if_tied(|ties| ties.links.unlink(pid)) {
            self.system().send(pid, Signal::Unlink { from: self.pid(), id });
        }
    }

    /// Watches `pid`: when it ends, one [`Info::Down`](crate::Info::Down) comes, at once if it's gone already. Several
    /// monitors of one process are independent.
    pub fn monitor(&mut self, pid: Pid) -> Ref {
        let monitor = self.system().fresh_ref();
        self.tie(pid, |ties| ties.monitors.insert(monitor, pid));
        self.system().send(pid, Signal::Monitor { from: self.pid(), monitor });
        monitor
    }

    /// Ends a monitor, and flushes: no [`Info::Down`](crate::Info::Down) of it comes from here on, not even one that
    /// waited already.
    pub fn demonitor(&mut self, monitor: Ref) {
        let watched = self.cell.if_tied(|ties| {
            ties.downs.remove(&monitor);
            ties.monitors.remove(&monitor)
        });
        if let Some(Some(pid)) = watched {
            self.system().send(pid, Signal::Demonitor { from: self.pid(), monitor });
        }
    }

    /// Turns exit signals into [`Info::Exit`](crate::Info::Exit) from here on, all but a kill. An exit of the parent is
    /// not told but ends the actor through [`Actor::terminate`].
    pub fn trap_exit(&mut self) {
        self.cell.tie(|ties| ties.traps_exit = true);
    }

    /// Lets exit signals act again.
    pub fn untrap_exit(&mut self) {
        self.cell.if_tied(|ties| ties.traps_exit = false);
    }

    /// Sends an exit signal, as [`System::exit`] does.
    pub fn exit(&self, pid: Pid, reason: ExitReason) {
        self.system().send(pid, Signal::Exit { from: self.pid(), reason, kind: ExitKind::Sent });
    }

    /// Ends this actor with `reason` once the running handler returns; [`Actor::terminate`] is called first, messages
    /// that wait are not handled. The first reason counts.
    pub fn stop(&mut self, reason: ExitReason) {
        self.stop.get_or_insert_with(|| Box::new(reason));
    }

    /// Tells this actor [`Info::Timer`](crate::Info::Timer) with `tag` after `delay`, behind what waits then. The timer
    /// ends with the actor.
    ///
    /// # Panics
    /// If the actor has [`TIMERS_MAX`] timers already.
    pub fn send_after(&mut self, delay: Duration, tag: u64) -> TimerId {
        let (process, pid) = (self.process(), self.pid());
        let more = self.more.get_or_insert_default();
        assert!(more.timers.len() < TIMERS_MAX, "actor {pid} has {TIMERS_MAX} timers already");
        more.timers_made += 1;
        let id = more.timers_made;
        let timer = tiebeam_world::spawn("actor.timer", async move {
            tiebeam_world::sleep(delay).await;
            // The actor is gone if this fails, and its timers with it.
            let _ = process.signal(Signal::Timer { id, tag });
        });
        more.timers.insert(id, timer.into_guard());
        TimerId(id)
    }

    /// Tells this actor [`Info::Timeout`](crate::Info::Timeout) if nothing comes for `delay` after the running handler
    /// returned: no message, exit, down or other timer. Counts once; every handler that wants it asks again.
    pub fn set_timeout(&mut self, delay: Duration) {
        let TimerId(id) = self.send_after(delay, 0);
        let more = self.more.get_or_insert_default();
        if let Some(former) = more.timeout.replace(id) {
            more.timers.remove(&former);
        }
    }

    /// Handles `message` right after the running handler, or `init`, before anything that waits; signals act as ever.
    /// Several are handled in the order in which they were given.
    pub fn continue_with<M, Mode>(&mut self, message: M)
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        self.more.get_or_insert_default().continued.push(Item::system(Told::<A, M, Mode>::new(message)));
    }

    /// Has [`Actor::hibernate`] called once nothing waits to be handled.
    pub fn hibernate(&mut self) {
        self.more.get_or_insert_default().is_tired = true;
    }

    /// Returns a second address of this actor, which can be taken back.
    #[must_use]
    pub fn alias(&self) -> Alias<A> {
        Alias::new(Arc::clone(&self.cell), false)
    }

    /// Returns a second address of this actor, which can be taken back and whose messages go before all others: to be
    /// given only to those who send little. Within it order is kept; it passes what the same sender sent otherwise.
    #[must_use]
    pub fn priority_alias(&self) -> Alias<A> {
        Alias::new(Arc::clone(&self.cell), true)
    }

    /// Cancels a timer: its [`Info::Timer`](crate::Info::Timer) will not come, not even if it waited already. Says whether
    /// the timer was still to be told.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.more.as_mut().is_some_and(|more| more.timers.remove(&timer.0).is_some())
    }

    /// Runs `work` beside the actor and drops it when the actor ends: before anybody hears of that end, if it waits
    /// somewhere by then. A panic in it is an exit signal to the actor. Results come as casts to [`Ctx::addr`].
    ///
    /// # Panics
    /// If the actor runs [`TASKS_MAX`] tasks already.
    pub fn spawn_task(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let (process, pid) = (self.process(), self.pid());
        let tasks = &mut self.more.get_or_insert_default().tasks;
        if tasks.len() >= TASKS_MAX || tasks.len() == tasks.capacity() {
            tasks.retain(|task| !task.is_finished());
        }
        assert!(tasks.len() < TASKS_MAX, "actor {pid} has {TASKS_MAX} tasks already");
        let scope = Arc::clone(&process);
        let linked = async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                let reason = ExitReason::panicked(panic);
                let _ = process.signal(Signal::Exit { from: pid, reason, kind: ExitKind::Sent });
            }
        };
        tasks.push(tiebeam_world::spawn("actor.task", current::scope(scope, linked)));
    }

    pub(crate) fn process(&self) -> Arc<dyn Process> {
        Arc::<Cell<A>>::clone(&self.cell)
    }

    pub(crate) const fn is_asked_to_stop(&self) -> bool {
        self.stop.is_some()
    }

    pub(crate) fn take_stop(&mut self) -> Option<ExitReason> {
        self.stop.take().map(|reason| *reason)
    }

    /// Returns what a timer tells that went off; nothing if it was cancelled.
    pub(crate) fn timer_goes_off(&mut self, id: u64, tag: u64) -> Option<Info> {
        let more = self.more.as_mut()?;
        more.timers.remove(&id)?;
        Some(if more.timeout.take_if(|timeout| *timeout == id).is_some() { Info::Timeout } else { Info::Timer(tag) })
    }

    /// Forgets the timeout when something else comes.
    pub(crate) fn forget_timeout(&mut self, next: &Item<A>) {
        let Some(more) = &mut self.more else { return };
        if !more.timeout.is_some_and(|timeout| next.is_timer(timeout))
            && let Some(timeout) = more.timeout.take()
        {
            more.timers.remove(&timeout);
        }
    }

    pub(crate) const fn has_more(&self) -> bool {
        self.more.is_some()
    }

    pub(crate) fn take_continued(&mut self) -> Option<Item<A>> {
        self.more.as_mut()?.continued.next()
    }

    /// Says whether the actor asked to hibernate, once.
    pub(crate) fn takes_a_rest(&mut self) -> bool {
        self.more.as_mut().is_some_and(|more| std::mem::take(&mut more.is_tired))
    }

    pub(crate) fn publish_children(&self, children: Vec<ChildInfo>) {
        self.cell.tie(|ties| ties.children = children);
    }

    /// Stops timers and tasks; returns what waits until the tasks are dropped, if there are any.
    pub(crate) fn stop_tasks(&mut self) -> Option<impl Future<Output = ()> + Send + use<A>> {
        let more = self.more.as_mut()?;
        more.timers.clear();
        for task in &more.tasks {
            task.abort();
        }
        let tasks = std::mem::take(&mut more.tasks);
        (!tasks.is_empty()).then_some(async move {
            for task in tasks {
                let _ = task.await;
            }
        })
    }

    pub(crate) const fn take_more(&mut self) -> Option<Box<More<A>>> {
        self.more.take()
    }

    /// Changes ties to `pid`. That it is on another node is noted first: a connection lost meanwhile must find us.
    fn tie<T>(&self, pid: Pid, change: impl FnOnce(&mut Ties) -> T) -> T {
        if !self.system().is_local(pid) {
            self.cell.marks().has_foreign_ties.store(true, Ordering::SeqCst);
        }
        self.cell.tie(change)
    }
}

impl<A: Actor> fmt::Debug for Ctx<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("pid", &self.pid()).finish_non_exhaustive()
    }
}
