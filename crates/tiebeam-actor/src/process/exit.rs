//! How a process ends: what it held is free before anybody hears.

use std::time::Duration;

use super::{Stage, Step, quietly};
use crate::cell::{Process, Signal};
use crate::raw::item::{Item, Opened};
use crate::raw::own::{After, Turn};
use crate::trace::TraceKind;
use crate::{Actor, CallError, ExitKind, ExitReason};

/// How long an ending actor waits for its tasks to be dropped. They are at their next await at once; one that computes
/// for longer is left behind with a warning, so that it can't hold up a restart.
const TASKS_STOP_WAIT_MAX: Duration = Duration::from_secs(1);

impl<A: Actor> Turn<'_, A> {
    /// Ends the process because a signal said so.
    pub(super) fn die(&mut self, reason: ExitReason) -> Step {
        self.course().is_killed = true;
        // Whoever it was starting is not given up but orphaned, and hears of that by its link.
        self.cell.set_dying();
        self.cancel();
        match self.course().started {
            Some(_) => self.fail(reason),
            None => self.end(reason),
        }
    }

    /// Ends the process before its actor ran. That is the starter's result, so no exit signal tells its parent a second
    /// time.
    pub(super) fn fail(&mut self, reason: ExitReason) -> Step {
        if let Some(parent) = self.cell.parent() {
            self.cell.if_tied(|ties| ties.links.forget(parent));
        }
        self.end(reason)
    }

    /// Ends a process whose `init` chose not to run: nothing is wrong with it, but its starter hears of it.
    pub(super) fn ignore(&mut self) -> Step {
        self.course().is_ignored = true;
        self.fail(ExitReason::Normal)
    }

    /// Ends the process, in this order: reason known, names free, tasks and timers gone, state dropped, out of the table,
    /// queue refused, links and watchers told.
    pub(super) fn end(&mut self, reason: ExitReason) -> Step {
        self.report(&reason);
        self.trace(|| TraceKind::Ended(reason.clone()));
        let cell = self.cell;
        cell.set_exit(&reason);
        cell.credits.close();
        self.relieve();
        self.course().stage = Stage::Ending;
        let Some(tasks) = self.ctx().stop_tasks() else { return self.leave() };
        let (pid, kind) = (cell.pid(), cell.kind());
        self.begin_apart(async move {
            if tiebeam_world::timeout(TASKS_STOP_WAIT_MAX, tasks).await.is_err() {
                tracing::warn!(%pid, kind, "tasks of an ended actor don't stop");
            }
        });
        Step::Continue(())
    }

    /// Drops what is left and tells others.
    pub(super) fn leave(&mut self) -> Step {
        let actor = self.actor().take();
        quietly(|| drop(actor));
        let more = self.ctx().take_more();
        quietly(|| drop(more));
        let cell = self.cell;
        cell.system.removed(cell.pid());
        let reason = cell.exit_reason().cloned().unwrap_or(ExitReason::NoProc);
        self.refuse_queued(&reason);
        self.tell(&reason);
        if let Some(started) = self.course().started.take() {
            // The starter hears last, when the name is free again.
            started.send(Err(if self.course().is_ignored { ExitReason::Ignore } else { reason }));
        }
        Step::Break(After::Over)
    }

    /// Answers what nobody will handle any more. What arrives from here on bounces off the closed queue.
    fn refuse_queued(&mut self, reason: &ExitReason) {
        let outer = self.cell.mailbox.close();
        let course = self.course();
        let (inner, arrived) = (std::mem::take(&mut course.inner), std::mem::take(&mut course.arrived));
        let came_too_late = match course.is_killed {
            true => CallError::NoProc,
            false => CallError::Exit(reason.clone()),
        };
        let (system, urgent) = course.rare.take().map(|rare| (rare.system, rare.urgent)).unwrap_or_default();
        for item in system.chain(urgent).chain(inner) {
            self.refuse(item, CallError::Exit(reason.clone()), reason);
        }
        for item in arrived.chain(outer) {
            self.refuse(item, came_too_late.clone(), reason);
        }
    }

    pub(super) fn refuse(&self, item: Item<A>, error: CallError, reason: &ExitReason) {
        match item.open() {
            Opened::Message(message) => quietly(|| message.refuse(error)),
            Opened::Encoded(encoded) => encoded.reply_to.refuse(error),
            // Its caller was promised an answer while the process lived: it hears why that ended.
            Opened::Signal(Signal::Abandoned(refuse)) => refuse(CallError::Exit(reason.clone())),
            Opened::Signal(signal) => self.cell.system.bounce(self.cell.pid(), signal, ExitReason::NoProc),
        }
    }

    fn tell(&self, reason: &ExitReason) {
        let cell = self.cell;
        let Some(ties) = cell.lock_ties().take() else { return };
        let pid = cell.pid();
        // A monitor ends with its watcher, or the watched would keep it until it ends itself.
        for (monitor, to) in ties.monitors {
            cell.system.send(to, Signal::Demonitor { from: pid, monitor });
        }
        for to in ties.links.active() {
            let exit = Signal::Exit { from: pid, reason: reason.clone(), kind: ExitKind::Link };
            cell.system.send(to, exit);
        }
        for (monitor, to) in ties.watchers {
            cell.system.send(to, Signal::Down { from: pid, monitor, reason: reason.clone() });
        }
        for waiter in ties.waiters {
            waiter.send(reason.clone());
        }
    }

    fn report(&mut self, reason: &ExitReason) {
        if !reason.is_abnormal() {
            tracing::debug!(pid = %self.cell.pid(), kind = self.cell.kind(), %reason, "actor ended");
            return;
        }
        let (pid, kind, queue_len) = (self.cell.pid(), self.cell.kind(), self.cell.queue_len());
        let handling = self.cell.handling.name().unwrap_or("nothing");
        let state = self.describe().unwrap_or_else(|| "not told".to_owned());
        match reason {
            ExitReason::Panic(panic) => tracing::error!(%pid, kind, handling, queue_len, state, panic, "actor crashed"),
            reason => tracing::warn!(%pid, kind, handling, queue_len, state, %reason, "actor ended"),
        }
    }
}
