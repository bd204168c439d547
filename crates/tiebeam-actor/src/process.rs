//! The running half of a process: takes what arrives, runs one handler at a time, ends.
//!
//! The queue has two stages, as BEAM's has. The outer one holds everything in the order of arrival and is emptied before
//! each message, and also while a handler waits: there signals act. What is to be handled goes to the inner queue. So an
//! exit acts behind a thousand messages, and yet nothing overtakes anything.

mod exit;
pub(crate) mod links;
mod receive;

use std::future::Future;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tiebeam_wire::Instant;

use crate::cell::{Inspection, Signal};
use crate::message::Encoded;
use crate::raw::item::{Item, Message, Opened};
use crate::raw::mailbox::Queue;
use crate::raw::own::{After, Turn, Work};
use crate::raw::slot;
use crate::trace::{TraceKind, Tracer};
use crate::{Actor, Addr, Ctx, DEADLINE_OVER, Deadline, ExitReason, Info};

/// Tells the starter how the start went.
pub(crate) type Started<A> = slot::Sender<Result<Addr<A>, ExitReason>>;

/// How far a process has come, and what it has before it.
pub(crate) struct Course<A: Actor> {
    stage: Stage,
    /// There until the starter was told that the actor runs.
    started: Option<Started<A>>,
    /// Taken from the outer queue and not looked at. Not empty only if a signal in it ends the process: what came behind
    /// that must be refused like what is still in the queue.
    arrived: Queue<Item<A>>,
    /// What waits to be handled.
    inner: Queue<Item<A>>,
    /// What few processes have.
    rare: Option<Box<Rare<A>>>,
    /// A signal ended the process: whatever came behind it found nobody.
    is_killed: bool,
    /// `init` chose not to run.
    is_ignored: bool,
}

struct Rare<A: Actor> {
    /// Goes before everything else, also while the process is suspended.
    system: Queue<Item<A>>,
    /// Goes before what waits to be handled.
    urgent: Queue<Item<A>>,
    tracer: Option<Box<Tracer>>,
    /// From when on the process must not run.
    deadline: Option<Deadline>,
}

impl<A: Actor> Default for Rare<A> {
    fn default() -> Self {
        Self { system: Queue::default(), urgent: Queue::default(), tracer: None, deadline: None }
    }
}

/// What the future that is under way is for, or what comes next.
enum Stage {
    Init,
    Serving,
    Terminating(ExitReason),
    /// Others can't change anything any more; what the actor left behind is being stopped.
    Ending,
}

/// How many messages a process handles before it goes to the back, if they take long.
const SLICE_MIN: u32 = 64;

/// For how long a process handles more than that, looked at after as many again.
const SLICE_TIME_MAX: Duration = Duration::from_micros(50);

/// Runs code that only cleans up; a panic there harms nobody.
#[inline]
pub(crate) fn quietly(clean_up: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(clean_up)) {
        forget(panic);
    }
}

#[cold]
fn forget(panic: Box<dyn std::any::Any + Send>) {
    tracing::error!(panic = tiebeam_world::panic_message(&*panic), "panic while cleaning up");
    // A payload whose own drop panics would end the turn before others have heard of the exit. Text has no such drop.
    if !panic.is::<&str>() && !panic.is::<String>() {
        std::mem::forget(panic);
    }
}

impl<A: Actor> Course<A> {
    pub(crate) fn new(started: Started<A>, deadline: Option<Deadline>) -> Self {
        let rare = deadline.map(|deadline| Box::new(Rare { deadline: Some(deadline), ..Rare::default() }));
        Self {
            stage: Stage::Init,
            started: Some(started),
            arrived: Queue::default(),
            inner: Queue::default(),
            rare,
            is_killed: false,
            is_ignored: false,
        }
    }
}

/// What a turn does next, or how it ends.
type Step = ControlFlow<After>;

impl<A: Actor> Turn<'_, A> {
    /// Handles what has arrived, until there is nothing or others are to have their turn.
    pub(crate) fn take(&mut self, cx: &mut Context<'_>) -> After {
        let mut since = None;
        let mut step = self.receive_before_init();
        let after = loop {
            if let Step::Break(after) = step {
                break after;
            }
            step = if self.is_running() {
                self.go_on(cx)
            } else if since.is_some_and(|since| tiebeam_world::now().since(since) > SLICE_TIME_MAX) {
                // Without this an actor whose queue is never empty would keep its worker for itself.
                Step::Break(After::Again)
            } else {
                self.handle_slice(cx, &mut since)
            };
        };
        if after == After::Again {
            self.cell.handling.set(None);
        }
        self.give_back();
        after
    }

    /// Takes the first turn in the place of whoever starts the process, so far as that waits for it: for `init`, and for
    /// the end of an actor that wants no more.
    pub(crate) fn take_first(&mut self, cx: &mut Context<'_>) -> After {
        let mut step = self.receive_before_init();
        while self.is_running() || step.is_break() {
            if let Step::Break(after) = step {
                return after;
            }
            step = self.go_on(cx);
        }
        // Whatever `init` left for later, or others sent meanwhile, is for the next turn.
        let has_more = self.ctx().has_more() || self.course().rare.is_some();
        match !has_more && self.course().inner.is_empty() && self.cell.mailbox.park() {
            true => After::Sleep,
            false => After::Again,
        }
    }

    /// Takes what has arrived before `init` begins or goes on: an exit may have come even sooner.
    fn receive_before_init(&mut self) -> Step {
        match matches!(self.course().stage, Stage::Init).then(|| self.receive_all()) {
            Some(Err(reason)) => self.die(reason),
            _ => Step::Continue(()),
        }
    }

    /// Says whether the deadline of the process is over. What it leaves behind is stopped all the same.
    #[inline]
    fn is_over(&mut self) -> bool {
        let deadline = self.course().rare.as_ref().and_then(|rare| rare.deadline.as_ref());
        deadline.is_some_and(Deadline::is_over) && !matches!(self.course().stage, Stage::Ending)
    }

    /// Goes on with the future that is under way.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Step {
        if self.is_over() {
            return self.die(ExitReason::Other(DEADLINE_OVER.to_owned()));
        }
        let polled = self.poll(cx);
        self.polled_work(polled)
    }

    fn polled_work(&mut self, polled: Poll<Result<(), ExitReason>>) -> Step {
        match polled {
            Poll::Ready(result) => self.finished(result),
            Poll::Pending if matches!(self.course().stage, Stage::Ending) => Step::Break(After::Sleep),
            Poll::Pending => {
                self.give_back();
                loop {
                    if let Err(reason) = self.receive_all() {
                        return self.die(reason);
                    }
                    if self.cell.mailbox.park() {
                        return Step::Break(After::Sleep);
                    }
                }
            }
        }
    }

    /// Does what follows from the end of a future.
    fn finished(&mut self, result: Result<(), ExitReason>) -> Step {
        match (&mut self.course().stage, result) {
            (Stage::Init, Ok(())) => match self.take_failed() {
                None => self.begin_serving(),
                Some(ExitReason::Ignore) => self.ignore(),
                Some(reason) => self.fail(reason),
            },
            (Stage::Init, Err(reason)) => self.fail(reason),
            (Stage::Serving, Ok(())) => {
                self.cell.handling.set(None);
                self.stop_if_asked()
            }
            (Stage::Serving, Err(reason)) => self.end(reason),
            (Stage::Terminating(reason), Ok(())) => {
                let reason = std::mem::replace(reason, ExitReason::Normal);
                self.end(reason)
            }
            // Its own reason counts if cleaning up fails.
            (Stage::Terminating(_), Err(reason)) => self.end(reason),
            (Stage::Ending, _) => self.leave(),
        }
    }

    fn begin_serving(&mut self) -> Step {
        let addr = Addr::of(self.cell);
        self.course().stage = Stage::Serving;
        tracing::debug!(pid = %self.cell.pid(), kind = std::any::type_name::<A>(), "actor started");
        // A starter that waits no more has asked the actor to stop.
        if let Some(started) = self.course().started.take() {
            started.send(Ok(addr));
        }
        self.stop_if_asked()
    }

    fn stop_if_asked(&mut self) -> Step {
        if let Some(reason) = self.ctx().take_stop() {
            self.terminate(reason);
        }
        Step::Continue(())
    }

    /// Lets the actor clean up.
    fn terminate(&mut self, reason: ExitReason) {
        self.course().stage = Stage::Terminating(reason.clone());
        self.begin(Terminate(reason));
    }

    /// Handles what waits, one after the other, until something takes more than a poll. Sets `since` once it was so much
    /// that the time counts.
    fn handle_slice(&mut self, cx: &mut Context<'_>, since: &mut Option<Instant>) -> Step {
        for _ in 0..SLICE_MIN {
            let step = self.next(cx);
            if step.is_break() || self.is_running() {
                return step;
            }
        }
        since.get_or_insert_with(tiebeam_world::now);
        Step::Continue(())
    }

    /// Handles the next thing in the queue, or goes to sleep.
    #[inline]
    fn next(&mut self, cx: &mut Context<'_>) -> Step {
        if self.cell.mailbox.has_arrivals()
            && let Err(reason) = self.receive_all()
        {
            self.cell.handling.set(None);
            return self.die(reason);
        }
        if self.is_over() {
            self.cell.handling.set(None);
            return self.die(ExitReason::Other(DEADLINE_OVER.to_owned()));
        }
        let Some(next) = self.pick() else {
            self.cell.handling.set(None);
            self.give_back();
            if self.ctx().takes_a_rest() {
                self.begin(Hibernate);
                return Step::Continue(());
            }
            return match self.cell.mailbox.park() {
                true => Step::Break(After::Sleep),
                false => Step::Continue(()),
            };
        };
        match next.into_message() {
            Ok(message) => self.handle_message(message, cx),
            Err(other) => self.handle_other(other, cx),
        }
    }

    fn handle_other(&mut self, item: Item<A>, cx: &mut Context<'_>) -> Step {
        self.cell.handling.set(None);
        match item.open() {
            Opened::Message(message) => self.handle_message(message, cx),
            Opened::Encoded(encoded) => self.handle_encoded(encoded, cx),
            Opened::Signal(signal) => {
                self.handle_signal(signal);
                Step::Continue(())
            }
        }
    }

    /// Picks what is to be handled next.
    #[inline]
    fn pick(&mut self) -> Option<Item<A>> {
        if let Some(rare) = &mut self.course().rare
            && let Some(asked) = rare.system.next()
        {
            return Some(asked);
        }
        if self.cell.marks.is_suspended.load(Ordering::Relaxed) {
            // A suspended process obeys whoever may end it, as `sys` does.
            let parent = self.cell.parent();
            return self.course().inner.take_first(|item| item.is_stop(parent));
        }
        if self.ctx().has_more()
            && let Some(continued) = self.ctx().take_continued()
        {
            return Some(continued);
        }
        let course = self.course();
        let urgent = course.rare.as_mut().and_then(|rare| rare.urgent.next());
        let next = urgent.or_else(|| course.inner.next())?;
        if self.ctx().has_more() {
            self.ctx().forget_timeout(&next);
        }
        Some(next)
    }

    #[inline]
    fn handle_message(&mut self, message: Message<A>, cx: &mut Context<'_>) -> Step {
        if message.has_credit() {
            self.spend();
        }
        if !message.is_wanted() {
            self.cell.credits.count_dropped();
            quietly(|| drop(message));
            return Step::Continue(());
        }
        self.trace(|| TraceKind::Handles(message.name()));
        // Kept on failure: the crash report names it.
        self.cell.handling.set(Some(message.table()));
        let handled = &self.cell.handled;
        handled.store(handled.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        match self.handle(message, cx) {
            // What was in hand stays noted until nothing is: the next message comes at once.
            Poll::Ready(Ok(())) if !self.ctx().is_asked_to_stop() => Step::Continue(()),
            polled => self.polled_work(polled),
        }
    }

    fn handle_encoded(&mut self, encoded: Encoded<A>, cx: &mut Context<'_>) -> Step {
        if !encoded.reply_to.is_wanted() {
            self.spend();
            self.cell.credits.count_dropped();
            return Step::Continue(());
        }
        // The message's own code, which may panic as a handler may.
        let Encoded { decode, name, body, reply_to } = encoded;
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(&body, reply_to)));
        match decoded.map(|decoded| decoded.map(Item::open)) {
            Ok(Ok(Opened::Message(message))) => self.handle_message(message, cx),
            Ok(Ok(_)) => unreachable!("tables decode to messages"),
            Ok(Err(error)) => {
                self.spend();
                tracing::warn!(pid = %self.cell.pid(), message = name, %error, "message of another node can't be decoded");
                Step::Continue(())
            }
            Err(panic) => {
                self.spend();
                self.end(ExitReason::panicked(panic))
            }
        }
    }

    fn handle_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Stop { reason } => self.terminate(reason),
            Signal::Exit { from, reason, .. } if self.cell.parent() == Some(from) => self.terminate(reason),
            Signal::Exit { from, reason, .. } => self.begin(Inform(Info::Exit { from, reason })),
            Signal::Timer { id, tag } => {
                if let Some(info) = self.ctx().timer_goes_off(id, tag) {
                    self.begin(Inform(info));
                }
            }
            // Not after `demonitor`.
            Signal::Down { from, monitor, reason }
                if self.cell.if_tied(|ties| ties.downs.remove(&monitor)) == Some(true) =>
            {
                self.begin(Inform(Info::Down { monitor, pid: from, reason }));
            }
            Signal::Inspect(inspection) => self.inspect(inspection),
            _ => {}
        }
    }

    fn inspect(&mut self, inspection: Inspection) {
        let is_suspended = &self.cell.marks.is_suspended;
        match inspection {
            Inspection::Suspend(asked) => {
                is_suspended.store(true, Ordering::Relaxed);
                asked.send(());
            }
            Inspection::Resume(asked) => {
                is_suspended.store(false, Ordering::Relaxed);
                asked.send(());
            }
            Inspection::Describe(asked) => asked.send(self.describe()),
            Inspection::Trace(tracer) => self.course().rare.get_or_insert_default().tracer = tracer,
        }
    }

    /// Returns what the actor says of its state; its words are not trusted, least of all after a crash.
    fn describe(&mut self) -> Option<String> {
        let mut text = None;
        if let Some(actor) = self.actor() {
            quietly(|| text = actor.format_status());
        }
        if let Some(text) = &mut text {
            text.truncate(text.floor_char_boundary(ExitReason::TEXT_BYTES_MAX));
        }
        text
    }

    /// Tells an event to whoever traces the process.
    #[inline]
    fn trace(&mut self, kind: impl FnOnce() -> TraceKind) {
        if let Some(rare) = &mut self.course().rare
            && let Some(tracer) = &mut rare.tracer
            && !tracer.tell(kind())
        {
            rare.tracer = None;
        }
    }

    /// Notes that a message was taken.
    fn spend(&mut self) {
        let gathered = self.cell.gathered.load(Ordering::Relaxed) + 1;
        self.cell.gathered.store(gathered, Ordering::Relaxed);
        if gathered >= self.cell.credits.gather() {
            self.give_back();
        }
    }

    /// Gives gathered credits back: before a handler waits or the process sleeps, senders must see all the room there is.
    /// Tells other nodes that there is room, if they wait for it.
    fn relieve(&self) {
        if self.cell.credits.is_relieved() {
            self.cell.system.relieve(self.cell.pid());
        }
    }

    fn give_back(&mut self) {
        let gathered = self.cell.gathered.load(Ordering::Relaxed);
        if gathered > 0 {
            self.cell.gathered.store(0, Ordering::Relaxed);
            self.cell.credits.give_back(gathered);
            self.relieve();
        }
    }
}

struct Inform(Info);

impl<A: Actor> Work<A> for Inform {
    fn work<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> impl Future<Output = ()> + Send + 'a {
        actor.info(self.0, ctx)
    }
}

struct Hibernate;

impl<A: Actor> Work<A> for Hibernate {
    async fn work<'a>(self, actor: &'a mut A, _: &'a mut Ctx<A>) {
        actor.hibernate();
    }
}

struct Terminate(ExitReason);

impl<A: Actor> Work<A> for Terminate {
    async fn work<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) {
        actor.terminate(&self.0, ctx).await;
    }
}
