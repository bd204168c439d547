use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::oneshot;

use crate::cell::{Cell, Process, Signal, Ties};
use crate::credits::Credits;
use crate::mailbox::Mailbox;
use crate::{Actor, Addr, ExitKind, ExitReason, Pid, System, current, process};

/// Starts actors, linked to a parent if it came from one. A value: change it, use it, clone it.
#[derive(Clone)]
pub struct Starter {
    system: System,
    parent: Option<Arc<dyn Process>>,
    name: Option<String>,
    mailbox_messages_max: u32,
}

impl Starter {
    pub(crate) fn new(system: System, parent: Option<Arc<dyn Process>>) -> Self {
        let mailbox_messages_max = system.config().mailbox_messages_max;
        Self { system, parent, name: None, mailbox_messages_max }
    }

    /// Gives the next actor this name, before its `init` runs; its start fails if the name is taken.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Lets at most this many messages wait for the next actor, at least one.
    #[must_use]
    pub fn mailbox_messages_max(self, limit: u32) -> Self {
        Self { mailbox_messages_max: limit.max(1), ..self }
    }

    /// Returns the system in which actors are started.
    #[must_use]
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Starts an actor and waits until its `init` is done. The link to the parent is there before the actor runs.
    /// Dropping the future before `init` is done stops the actor.
    ///
    /// # Errors
    /// The reason why `init` failed, which is told in no other way; the process is gone and its name free.
    pub async fn spawn<A: Actor>(self, args: A::Args) -> Result<Addr<A>, ExitReason> {
        let cell = self.cell::<A>();
        let pid = cell.pid;
        self.system.added(Arc::<Cell<A>>::clone(&cell))?;
        if let Some(name) = self.name
            && let Err(error) = self.system.register(name, pid)
        {
            self.system.removed(pid);
            return Err(ExitReason::Other(error.to_string()));
        }
        let adoption = Adoption::new(self.parent, pid, &cell);
        let (started, start) = oneshot::channel();
        self.system.run(current::scope(pid, process::run(cell, args, started)));
        let result = start.await.unwrap_or(Err(ExitReason::NoProc));
        if result.is_ok() {
            adoption.keep();
        }
        result
    }

    fn cell<A: Actor>(&self) -> Arc<Cell<A>> {
        Arc::new(Cell {
            system: self.system.clone(),
            pid: self.system.fresh_pid(),
            parent: self.parent.as_ref().map(|parent| parent.pid()),
            mailbox: Mailbox::new(),
            credits: Credits::new(self.mailbox_messages_max),
            ties: Mutex::new(Ties::default()),
            has_foreign_ties: AtomicBool::new(false),
            exit: OnceLock::new(),
            table: OnceLock::new(),
        })
    }
}

impl fmt::Debug for Starter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.as_ref().map(|parent| parent.pid());
        f.debug_struct("Starter").field("parent", &parent).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Links parent and child before the child runs, and takes the parent's end back if the start fails or is given up:
/// the start's result says so, and an exit signal would say it twice.
struct Adoption {
    parent: Option<Arc<dyn Process>>,
    child: Pid,
}

impl Adoption {
    fn new<A: Actor>(parent: Option<Arc<dyn Process>>, child: Pid, cell: &Cell<A>) -> Self {
        if let Some(parent) = &parent {
            parent.ties().links.link(child);
            cell.ties().links.link(parent.pid());
            // A starter may outlive the actor it came from, which then has told its links already and will not again.
            if parent.exit_reason().is_some() {
                let from = parent.pid();
                let _ = cell.signal(Signal::Exit { from, reason: ExitReason::NoProc, kind: ExitKind::Broken });
            }
        }
        Self { parent, child }
    }

    fn keep(mut self) {
        self.parent = None;
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        if let Some(parent) = &self.parent {
            parent.ties().links.forget(self.child);
        }
    }
}
