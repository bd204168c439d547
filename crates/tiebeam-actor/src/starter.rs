use std::cell::Cell as ThreadCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cell::{Cell, Process, Signal};
use crate::process::Course;
use crate::raw::own::{Birth, Own};
use crate::raw::slot::slot;
use crate::{Actor, Addr, Ctx, Deadline, ExitKind, ExitReason, Overflow, System};

/// Starts actors, linked to a parent if it came from one. A value: change it, use it, clone it.
#[derive(Clone)]
pub struct Starter {
    system: System,
    parent: Option<Arc<dyn Process>>,
    name: Option<String>,
    mailbox_messages_max: u32,
    overflow: Overflow,
    deadline: Option<Deadline>,
}

impl Starter {
    pub(crate) fn new(system: System, parent: Option<Arc<dyn Process>>) -> Self {
        let mailbox_messages_max = system.config().mailbox_messages_max;
        Self { system, parent, name: None, mailbox_messages_max, overflow: Overflow::default(), deadline: None }
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

    /// Says what happens to messages for which the next actor's mailbox has no room. Default [`Overflow::Block`].
    #[must_use]
    pub fn overflow(self, overflow: Overflow) -> Self {
        Self { overflow, ..self }
    }

    /// Lets the next actor run until its deadline and no longer; see [`Deadline`].
    #[must_use]
    pub fn until(self, deadline: Deadline) -> Self {
        Self { deadline: Some(deadline), ..self }
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
        self.give_birth(Init(args)).await
    }

    pub(crate) async fn give_birth<A: Actor>(self, birth: impl Birth<A>) -> Result<Addr<A>, ExitReason> {
        let (started, start) = slot();
        let parent = self.parent.as_ref().map(|parent| parent.pid());
        let mailbox = (self.mailbox_messages_max, self.overflow);
        let course = Course::new(started, self.deadline.clone());
        let cell = Cell::<A>::new(self.system.clone(), parent, mailbox, birth, course);
        if let Err(reason) = self.admit(Arc::<Cell<A>>::clone(&cell)) {
            cell.abandon();
            return Err(reason);
        }
        let adoption = Adoption::new(self.parent, Arc::<Cell<A>>::clone(&cell));
        first_turn(cell);
        let result = start.await.unwrap_or(Err(ExitReason::NoProc));
        adoption.conclude(result.is_ok());
        result
    }

    /// Makes a process known, with its name.
    fn admit(&self, process: Arc<dyn Process>) -> Result<(), ExitReason> {
        let pid = process.pid();
        self.system.added(process)?;
        let Some(name) = &self.name else { return Ok(()) };
        self.system.register(name.as_str(), pid).map_err(|error| {
            self.system.removed(pid);
            ExitReason::Other(error.to_string())
        })
    }
}

struct Init<A: Actor>(A::Args);

impl<A: Actor> Birth<A> for Init<A> {
    fn born(self, ctx: &mut Ctx<A>) -> impl Future<Output = Result<A, ExitReason>> + Send {
        A::init(self.0, ctx)
    }
}

/// How many starts may lie within each other on one stack.
const NESTED_STARTS_MAX: u32 = 8;

/// Lets a process begin: here and now, since its starter waits for it, unless that would take too much stack.
fn first_turn<A: Actor>(cell: Arc<Cell<A>>) {
    thread_local! {
        static NESTED: ThreadCell<u32> = const { ThreadCell::new(0) };
    }
    cell.system.start_workers();
    let nested = NESTED.get();
    if nested >= NESTED_STARTS_MAX {
        return Own::queue_first(&cell);
    }
    NESTED.set(nested + 1);
    Own::turn(&cell, |turn, cx| turn.take_first(cx));
    NESTED.set(nested);
}

impl fmt::Debug for Starter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.as_ref().map(|parent| parent.pid());
        f.debug_struct("Starter").field("parent", &parent).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Links parent and child before the child runs, and parts them again if the start fails or is given up: the start's
/// result says so, and an exit signal would say it twice.
struct Adoption {
    parent: Option<Arc<dyn Process>>,
    /// There until the start is concluded.
    child: Option<Arc<dyn Process>>,
}

impl Adoption {
    fn new(parent: Option<Arc<dyn Process>>, child: Arc<dyn Process>) -> Self {
        if let Some(parent) = &parent {
            parent.tie(|ties| ties.links.link(child.pid()));
            child.tie(|ties| ties.links.link(parent.pid()));
            // A starter may outlive the actor it came from, which then has told its links already and will not again.
            if parent.exit_reason().is_some() {
                let from = parent.pid();
                let _ = child.signal(Signal::Exit { from, reason: ExitReason::NoProc, kind: ExitKind::Broken });
            }
        }
        Self { parent, child: Some(child) }
    }

    fn conclude(mut self, has_started: bool) {
        let child = self.child.take();
        if let (Some(parent), Some(child), false) = (&self.parent, child, has_started) {
            parent.tie(|ties| ties.links.forget(child.pid()));
        }
    }
}

impl Drop for Adoption {
    /// The starter waits no more.
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        if let Some(parent) = &self.parent {
            // Its end will reach the child through the link, with the true reason.
            if parent.marks().is_dying.load(Ordering::Relaxed) {
                return;
            }
            let unlinked = parent.tie(|ties| ties.links.unlink(child.pid()));
            if let Some(id) = unlinked {
                let _ = child.signal(Signal::Unlink { from: parent.pid(), id });
            }
        }
        let _ = child.signal(Signal::Stop { reason: ExitReason::Shutdown });
    }
}
