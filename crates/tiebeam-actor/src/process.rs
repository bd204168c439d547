//! The running half of a process: takes what arrives, runs one handler at a time, ends.
//!
//! The queue has two stages, as BEAM's has. The outer one holds everything in the order of arrival and is emptied before
//! each message, and also while a handler waits: there signals act. What is to be handled goes to the inner queue. So an
//! exit acts behind a thousand messages, and yet nothing overtakes anything.

mod exit;
pub(crate) mod links;
mod receive;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::cell::{BoxFuture, Cell, Item, Message, Process};
use crate::mailbox::Batch;
use crate::{Actor, Addr, Ctx, ExitReason, Info, Pid};

/// What waits to be handled.
enum Inner<A: Actor> {
    Message(Message<A>),
    Down(Info),
    Exit { from: Pid, reason: ExitReason },
    Timer { id: u64, tag: u64 },
    Stop(ExitReason),
}

/// Tells the starter how the start went.
pub(crate) type Started<A> = oneshot::Sender<Result<Addr<A>, ExitReason>>;

struct Runner<A: Actor> {
    cell: Arc<Cell<A>>,
    /// Taken from the outer queue and not looked at. Not empty only if a signal in it ends the process: what came behind
    /// that must be refused like what is still in the queue.
    arrived: Batch<Item<A>>,
    inner: VecDeque<Inner<A>>,
    /// Messages handled in this slice.
    handled: u32,
}

/// Runs a process from its start to its end.
pub(crate) async fn run<A: Actor>(cell: Arc<Cell<A>>, args: A::Args, started: Started<A>) {
    let mut ctx = Ctx::new(Arc::clone(&cell));
    let mut runner = Runner { cell, arrived: Batch::default(), inner: VecDeque::new(), handled: 0 };
    let init = match runner.take_queued() {
        Ok(()) => runner.drive(Box::pin(async { A::init(args, &mut ctx).await })).await.flatten(),
        Err(reason) => Err(reason),
    };
    let mut actor = match init {
        Ok(actor) => actor,
        Err(reason) => return runner.fail(ctx, None, reason, Some(started)).await,
    };
    let addr = Addr::of(Arc::clone(&runner.cell));
    if started.send(Ok(addr)).is_err() {
        // Nobody knows of this actor and nobody ever would.
        return runner.fail(ctx, Some(actor), ExitReason::Shutdown, None).await;
    }
    tracing::debug!(pid = %runner.cell.pid, kind = runner.cell.kind(), "actor started");
    let reason = runner.serve(&mut actor, &mut ctx).await;
    runner.end(ctx, Some(actor), reason).await;
}

/// How many messages a process handles before it goes to the back.
const SLICE_MAX: u32 = 64;

/// Goes to the back of those who are ready.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs code that only cleans up; a panic there harms nobody.
pub(crate) fn quietly(clean_up: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(clean_up)) {
        tracing::error!(panic = tiebeam_world::panic_message(&*panic), "panic while cleaning up");
        // A payload whose own drop panics would end the task before others have heard of the exit.
        std::mem::forget(panic);
    }
}

impl<A: Actor> Runner<A> {
    /// A start that failed is the starter's result, so no exit signal tells its parent a second time.
    async fn fail(mut self, ctx: Ctx<A>, actor: Option<A>, reason: ExitReason, started: Option<Started<A>>) {
        if let Some(parent) = self.cell.parent {
            self.cell.ties().links.forget(parent);
        }
        self.end(ctx, actor, reason.clone()).await;
        if let Some(started) = started {
            // The starter hears last, when the name is free again.
            let _ = started.send(Err(reason));
        }
    }

    /// Handles what arrives until something ends the actor.
    async fn serve(&mut self, actor: &mut A, ctx: &mut Ctx<A>) -> ExitReason {
        loop {
            if let Some(reason) = ctx.take_stop() {
                return self.terminate(actor, ctx, reason).await;
            }
            // Without this an actor whose queue is never empty would keep its worker for itself.
            if self.handled >= SLICE_MAX {
                self.handled = 0;
                yield_now().await;
            }
            self.handled += 1;
            let next = match self.next().await {
                Ok(next) => next,
                Err(reason) => return reason,
            };
            let handled = match next {
                Inner::Message(message) => self.handle(message, actor, ctx).await,
                Inner::Stop(reason) => return self.terminate(actor, ctx, reason).await,
                Inner::Exit { from, reason } if self.cell.parent == Some(from) => {
                    return self.terminate(actor, ctx, reason).await;
                }
                Inner::Exit { from, reason } => self.inform(Info::Exit { from, reason }, actor, ctx).await,
                Inner::Timer { id, tag } if ctx.timer_is_due(id) => self.inform(Info::Timer(tag), actor, ctx).await,
                Inner::Timer { .. } => Ok(()),
                Inner::Down(info) if self.is_monitored(&info) => self.inform(info, actor, ctx).await,
                Inner::Down(_) => Ok(()),
            };
            if let Err(reason) = handled {
                return reason;
            }
        }
    }

    async fn handle(&mut self, message: Message<A>, actor: &mut A, ctx: &mut Ctx<A>) -> Result<(), ExitReason> {
        self.cell.credits.give_back();
        if !message.is_wanted() {
            quietly(|| drop(message));
            return Ok(());
        }
        let handling = message.name();
        self.cell.ties().handling = Some(handling);
        let handled = self.drive(message.handle(actor, ctx)).await;
        if handled.is_ok() {
            // Kept on failure: the crash report names it.
            self.cell.ties().handling = None;
        }
        handled
    }

    async fn inform(&mut self, info: Info, actor: &mut A, ctx: &mut Ctx<A>) -> Result<(), ExitReason> {
        self.drive(Box::pin(async { actor.info(info, ctx).await })).await
    }

    /// Lets the actor clean up; returns the reason it ends with: its own if cleaning up fails.
    async fn terminate(&mut self, actor: &mut A, ctx: &mut Ctx<A>, reason: ExitReason) -> ExitReason {
        let done = self.drive(Box::pin(async { actor.terminate(&reason, ctx).await })).await;
        done.map_or_else(|failure| failure, |()| reason)
    }

    /// Returns the next thing to handle.
    ///
    /// # Errors
    /// The reason to end with, if a signal said so.
    async fn next(&mut self) -> Result<Inner<A>, ExitReason> {
        loop {
            self.take_queued()?;
            if let Some(next) = self.inner.pop_front() {
                return Ok(next);
            }
            self.handled = 0;
            // Woken without an arrival, it looks and sleeps on.
            let mut slept = false;
            poll_fn(|cx| match !std::mem::replace(&mut slept, true) && self.cell.mailbox.park(cx.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
        }
    }

    /// Runs `future` to its end, taking what arrives meanwhile.
    ///
    /// # Errors
    /// The reason to end with, if a signal said so (the future is dropped where it waits) or if the future panicked.
    async fn drive<T>(&mut self, future: BoxFuture<'_, T>) -> Result<T, ExitReason> {
        let mut future = Some(future);
        poll_fn(|cx| {
            let running = future.as_mut().expect("polled only until it is ready");
            let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
            let result = match polled {
                Ok(Poll::Ready(value)) => Ok(value),
                Err(panic) => Err(ExitReason::panicked(panic)),
                Ok(Poll::Pending) => match self.take_arrivals(cx) {
                    Ok(()) => return Poll::Pending,
                    Err(reason) => Err(reason),
                },
            };
            quietly(|| drop(future.take()));
            Poll::Ready(result)
        })
        .await
    }

    fn take_queued(&mut self) -> Result<(), ExitReason> {
        loop {
            while let Some(item) = self.arrived.next() {
                self.receive(item)?;
            }
            self.arrived = self.cell.mailbox.take();
            if self.arrived.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what has arrived and asks to be woken by what will.
    fn take_arrivals(&mut self, cx: &Context<'_>) -> Result<(), ExitReason> {
        loop {
            self.take_queued()?;
            if self.cell.mailbox.park(cx.waker()) {
                return Ok(());
            }
        }
    }

    /// Says whether a `Down` is still wanted: not after `demonitor`.
    fn is_monitored(&self, info: &Info) -> bool {
        matches!(info, Info::Down { monitor, .. } if self.cell.ties().downs.remove(monitor))
    }
}
