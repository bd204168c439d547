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
use std::task::{Context, Poll};

use crate::cell::Signal;
use crate::message::Encoded;
use crate::raw::item::{Item, Message, Opened};
use crate::raw::mailbox::Queue;
use crate::raw::own::{After, Turn, Work};
use crate::raw::slot;
use crate::{Actor, Addr, Ctx, ExitReason, Info};

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
    /// Credits of messages that were taken, not given back yet.
    gathered: u32,
    /// A signal ended the process: whatever came behind it found nobody.
    is_killed: bool,
}

/// What the future that is under way is for, or what comes next.
enum Stage {
    Init,
    Serving,
    Terminating(ExitReason),
    /// Others can't change anything any more; what the actor left behind is being stopped.
    Ending,
}

/// How many messages a process handles before it goes to the back.
const SLICE_MAX: u32 = 64;

/// Runs code that only cleans up; a panic there harms nobody.
pub(crate) fn quietly(clean_up: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(clean_up)) {
        tracing::error!(panic = tiebeam_world::panic_message(&*panic), "panic while cleaning up");
        // A payload whose own drop panics would end the task before others have heard of the exit.
        std::mem::forget(panic);
    }
}

impl<A: Actor> Course<A> {
    pub(crate) fn new(started: Started<A>) -> Self {
        Self {
            stage: Stage::Init,
            started: Some(started),
            arrived: Queue::default(),
            inner: Queue::default(),
            gathered: 0,
            is_killed: false,
        }
    }
}

/// What a turn does next, or how it ends.
type Step = ControlFlow<After>;

impl<A: Actor> Turn<'_, A> {
    /// Handles what has arrived, until there is nothing or others are to have their turn.
    pub(crate) fn take(&mut self, cx: &mut Context<'_>) -> After {
        let mut handled = 0;
        let mut step = self.receive_before_init();
        let after = loop {
            if let Step::Break(after) = step {
                break after;
            }
            step = if self.is_running() {
                self.go_on(cx)
            } else if handled < SLICE_MAX {
                handled += 1;
                self.next()
            } else {
                // Without this an actor whose queue is never empty would keep its worker for itself.
                Step::Break(After::Again)
            };
        };
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
        match self.course().inner.is_empty() && self.cell.mailbox.park() {
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

    /// Goes on with the future that is under way.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Step {
        match self.poll(cx) {
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

    /// Handles the next thing in the queue, or goes to sleep.
    fn next(&mut self) -> Step {
        if let Err(reason) = self.receive_all() {
            return self.die(reason);
        }
        let Some(next) = self.course().inner.next() else {
            self.give_back();
            return match self.cell.mailbox.park() {
                true => Step::Break(After::Sleep),
                false => Step::Continue(()),
            };
        };
        match next.open() {
            Opened::Message(message) => self.handle_message(message),
            Opened::Encoded(encoded) => self.handle_encoded(encoded),
            Opened::Signal(signal) => self.handle_signal(signal),
        }
        Step::Continue(())
    }

    fn handle_message(&mut self, message: Message<A>) {
        self.spend();
        if !message.is_wanted() {
            return quietly(|| drop(message));
        }
        // Kept on failure: the crash report names it.
        self.cell.handling.set(Some(message.table()));
        self.handle(message);
    }

    fn handle_encoded(&mut self, encoded: Encoded<A>) {
        if !encoded.reply_to.is_wanted() {
            return self.spend();
        }
        match (encoded.decode)(&encoded.body, encoded.reply_to).map(Item::open) {
            Ok(Opened::Message(message)) => self.handle_message(message),
            Ok(_) => unreachable!("tables decode to messages"),
            Err(error) => {
                self.spend();
                let (pid, message) = (self.cell.pid(), encoded.name);
                tracing::warn!(%pid, message, %error, "message of another node can't be decoded");
            }
        }
    }

    fn handle_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Stop { reason } => self.terminate(reason),
            Signal::Exit { from, reason, .. } if self.cell.parent() == Some(from) => self.terminate(reason),
            Signal::Exit { from, reason, .. } => self.begin(Inform(Info::Exit { from, reason })),
            Signal::Timer { id, tag } if self.ctx().timer_is_due(id) => self.begin(Inform(Info::Timer(tag))),
            // Not after `demonitor`.
            Signal::Down { from, monitor, reason }
                if self.cell.if_tied(|ties| ties.downs.remove(&monitor)) == Some(true) =>
            {
                self.begin(Inform(Info::Down { monitor, pid: from, reason }));
            }
            _ => {}
        }
    }

    /// Notes that a message was taken.
    fn spend(&mut self) {
        let course = self.course();
        course.gathered += 1;
        if course.gathered >= self.cell.credits.gather() {
            self.give_back();
        }
    }

    /// Gives gathered credits back: before a handler waits or the process sleeps, senders must see all the room there is.
    fn give_back(&mut self) {
        let gathered = std::mem::take(&mut self.course().gathered);
        if gathered > 0 {
            self.cell.credits.give_back(gathered);
        }
    }
}

struct Inform(Info);

impl<A: Actor> Work<A> for Inform {
    fn work<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> impl Future<Output = ()> + Send + 'a {
        actor.info(self.0, ctx)
    }
}

struct Terminate(ExitReason);

impl<A: Actor> Work<A> for Terminate {
    async fn work<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) {
        actor.terminate(&self.0, ctx).await;
    }
}
