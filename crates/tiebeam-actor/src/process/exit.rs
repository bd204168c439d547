//! How a process ends: what it held is free before anybody hears.

use std::time::Duration;

use super::{Inner, Runner, quietly};
use crate::cell::{Item, Process, Signal};
use crate::{Actor, Ctx, ExitKind, ExitReason};

/// How long an ending actor waits for its tasks to be dropped. They are at their next await at once; one that computes
/// for longer is left behind with a warning, so that it can't hold up a restart.
const TASKS_STOP_WAIT_MAX: Duration = Duration::from_secs(1);

impl<A: Actor> Runner<A> {
    /// Ends the process, in this order: reason known, names free, tasks and timers gone, state dropped, out of the table,
    /// queue refused, links and watchers told.
    pub(super) async fn end(&mut self, mut ctx: Ctx<A>, actor: Option<A>, reason: ExitReason) {
        self.report(&reason);
        let cell = &self.cell;
        cell.exit.set(reason.clone()).expect("a process ends once");
        cell.credits.close();
        cell.system.names_freed(cell.pid);
        if tiebeam_world::timeout(TASKS_STOP_WAIT_MAX, ctx.stop_tasks()).await.is_err() {
            tracing::warn!(pid = %cell.pid, kind = cell.kind(), "tasks of an ended actor don't stop");
        }
        quietly(|| drop(actor));
        quietly(|| drop(ctx));
        cell.system.removed(cell.pid);
        self.refuse_queued();
        self.tell(&reason);
    }

    /// Answers what nobody will handle any more. What arrives from here on bounces off the closed queue.
    fn refuse_queued(&mut self) {
        let arrived = self.cell.mailbox.close();
        while let Some(waiting) = self.inner.pop_front() {
            if let Inner::Message(message) = waiting {
                quietly(|| drop(message));
            }
        }
        for item in std::mem::take(&mut self.arrived).chain(arrived) {
            match item {
                Item::Message(message) => quietly(|| drop(message)),
                // Its callers were promised an answer while the process lived: they hear why it ended.
                Item::Signal(Signal::Abandoned(refuse)) => {
                    let reason = self.cell.exit.get().cloned().unwrap_or(ExitReason::NoProc);
                    refuse(crate::CallError::Exit(reason));
                }
                Item::Signal(signal) => self.cell.system.bounce(self.cell.pid, signal, ExitReason::NoProc),
            }
        }
    }

    fn tell(&self, reason: &ExitReason) {
        let cell = &self.cell;
        let (links, monitors, watchers, waiters) = {
            let mut ties = cell.ties();
            let links: Vec<_> = std::mem::take(&mut ties.links).active().collect();
            ties.children.clear();
            let (monitors, watchers) = (std::mem::take(&mut ties.monitors), std::mem::take(&mut ties.watchers));
            (links, monitors, watchers, std::mem::take(&mut ties.waiters))
        };
        // A monitor ends with its watcher, or the watched would keep it until it ends itself.
        for (monitor, to) in monitors {
            cell.system.send(to, Signal::Demonitor { from: cell.pid, monitor });
        }
        for to in links {
            let exit = Signal::Exit { from: cell.pid, reason: reason.clone(), kind: ExitKind::Link };
            cell.system.send(to, exit);
        }
        for (monitor, to) in watchers {
            cell.system.send(to, Signal::Down { from: cell.pid, monitor, reason: reason.clone() });
        }
        for waiter in waiters {
            let _ = waiter.send(reason.clone());
        }
    }

    fn report(&self, reason: &ExitReason) {
        let (pid, kind) = (self.cell.pid, self.cell.kind());
        let handling = self.cell.ties().handling.unwrap_or("nothing");
        let queue_len = self.cell.queue_len();
        match reason {
            ExitReason::Panic(panic) => tracing::error!(%pid, kind, handling, queue_len, panic, "actor crashed"),
            reason if reason.is_abnormal() => tracing::warn!(%pid, kind, handling, queue_len, %reason, "actor ended"),
            reason => tracing::debug!(%pid, kind, %reason, "actor ended"),
        }
    }
}
