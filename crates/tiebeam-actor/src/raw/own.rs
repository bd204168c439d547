//! What of a process only its own turn touches: the actor, its context, the future of the handler that is under way.
//!
//! Invariants: there is at most one [`Turn`] of a process, which the state word sees to. While a future is under way it
//! alone uses the actor and the context, from which it borrows; it is dropped before either is touched. Neither is moved:
//! a process lives in an `Arc`.

use std::cell::UnsafeCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::current;
use super::item::Message;
use super::pool::Scratch;
use super::ready::Ready;
use super::running::{Polled, Running};
use crate::cell::{Cell, Process};
use crate::process::{Course, quietly};
use crate::{Actor, Ctx, ExitReason, scheduler};

/// Empty before the process has begun and after it is over.
pub(crate) struct Own<A: Actor>(UnsafeCell<Option<Inside<A>>>);

struct Inside<A: Actor> {
    /// Borrows from the actor and the context; before them, so that it is dropped first.
    running: Option<Running>,
    actor: Option<A>,
    ctx: Ctx<A>,
    /// How `init` failed.
    failed: Option<Box<ExitReason>>,
    course: Course<A>,
    alarm: current::AlarmSeat,
}

// SAFETY: all in it is `Send`, and turns, of which there is one at a time, are the only way to it.
unsafe impl<A: Actor> Sync for Own<A> {}

/// What a turn comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The process sleeps until it is woken.
    Sleep,
    /// It has more to do.
    Again,
    /// It is over.
    Over,
}

/// The right to touch what is a process's own.
pub(crate) struct Turn<'a, A: Actor> {
    pub(crate) cell: &'a Arc<Cell<A>>,
    inside: *mut Inside<A>,
    /// For the futures of handlers, one after the other.
    scratch: Scratch,
}

impl<A: Actor> Own<A> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// Puts a process in its place for ever, with the actor's beginning: its `init` runs in the first turn.
    pub(crate) fn prepare(cell: Cell<A>, birth: impl Birth<A>, course: Course<A>) -> Arc<Cell<A>> {
        let cell = Arc::new(cell);
        let inside = Inside {
            running: None,
            actor: None,
            ctx: Ctx::new(Arc::clone(&cell)),
            failed: None,
            course,
            alarm: current::AlarmSeat::default(),
        };
        let place = cell.own.0.get();
        // SAFETY: nobody else knows of the process.
        let inside: *mut Inside<A> = unsafe { (*place).insert(inside) };
        // SAFETY: the future that borrows them is dropped before them, and has them to itself until then.
        let (ctx, actor, failed) = unsafe { (&mut (*inside).ctx, &mut (*inside).actor, &mut (*inside).failed) };
        let init = async move {
            match birth.born(ctx).await {
                Ok(made) => *actor = Some(made),
                Err(reason) => *failed = Some(Box::new(reason)),
            }
        };
        // SAFETY: what it borrows stays where it is, and is touched by others only after it was dropped.
        unsafe { (*inside).running = Some(Running::new(init)) };
        cell
    }

    /// Takes the process's turn, as code of its actor.
    pub(crate) fn turn(cell: &Arc<Cell<A>>, take: fn(&mut Turn<'_, A>, &mut Context<'_>) -> After) {
        if !cell.word.begin() {
            return;
        }
        // SAFETY: the waker is made of a count that is the caller's, and is not dropped.
        let waker = ManuallyDrop::new(Waker::from(unsafe { Arc::from_raw(Arc::as_ptr(cell)) }));
        let place = cell.own.0.get();
        // SAFETY: this is the process's one turn, and it has one only between `prepare` and its end.
        let inside: *mut Inside<A> = unsafe { (*place).as_mut() }.expect("a process that is not over has its own");
        // SAFETY: as above; nobody else has a reference to the alarm.
        let alarm = unsafe { &mut (*inside).alarm };
        let after = current::enter(&**cell, alarm, || {
            let mut turn = Turn { cell, inside, scratch: Scratch::default() };
            take(&mut turn, &mut Context::from_waker(&waker))
        });
        match after {
            // SAFETY: notified, and its turn is over.
            After::Sleep if cell.word.sleep() => scheduler::queue_again(unsafe { Ready::new(&**cell) }),
            After::Sleep => {}
            After::Again => {
                cell.word.again();
                // SAFETY: as above.
                scheduler::queue_again(unsafe { Ready::new(&**cell) });
            }
            After::Over => {
                // SAFETY: the last turn is over, and there will be no other.
                let inside = unsafe { (*place).take() };
                cell.word.over();
                // With it goes the process's own count of itself, which may be the last.
                quietly(|| drop(inside));
            }
        }
    }

    /// Has a process take a turn, unless it is to have one anyway.
    #[inline]
    pub(crate) fn wake(cell: &Cell<A>) {
        if cell.word.notify() {
            // SAFETY: just notified.
            scheduler::queue(unsafe { Ready::new(cell) });
        }
    }

    /// Queues a process for its first turn.
    pub(crate) fn queue_first(cell: &Cell<A>) {
        // SAFETY: processes are made notified, and this one is in no queue yet.
        scheduler::queue(unsafe { Ready::new(cell) });
    }

    /// Drops what a process that will have no turn any more has left.
    pub(crate) fn abandon(cell: &Arc<Cell<A>>) {
        if cell.word.abandon() {
            // SAFETY: it has no turn, and from here on never has one.
            let inside = unsafe { (*cell.own.0.get()).take() };
            current::enter(&**cell, &mut current::AlarmSeat::default(), || quietly(|| drop(inside)));
            // What waits in it may hold other processes, and those this one.
            quietly(|| drop(cell.mailbox.close()));
            quietly(|| drop(cell.lock_ties().take()));
        }
    }
}

impl<A: Actor> Turn<'_, A> {
    /// What the process has to do.
    pub(crate) const fn course(&mut self) -> &mut Course<A> {
        // SAFETY: the turn is the only way to it, and futures don't borrow it.
        unsafe { &mut (*self.inside).course }
    }

    /// Says whether a future is under way.
    pub(crate) const fn is_running(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.inside).running.is_some() }
    }

    /// Goes on with the future that is under way.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExitReason>> {
        // SAFETY: the turn alone touches the future.
        let running = unsafe { (*self.inside).running.take() };
        self.polled(running.expect("polled only while it is under way").poll(cx))
    }

    /// Handles a message, as far as that goes without waiting.
    #[inline]
    pub(crate) fn handle(&mut self, message: Message<A>, cx: &mut Context<'_>) -> Poll<Result<(), ExitReason>> {
        let (actor, ctx) = self.places();
        // SAFETY: nothing is under way, and until this is dropped nobody touches what it borrows.
        let polled = unsafe { message.handle(actor, ctx, cx, &mut self.scratch) };
        self.polled(polled)
    }

    #[inline]
    fn polled(&mut self, polled: Polled) -> Poll<Result<(), ExitReason>> {
        match polled {
            Polled::Done => Poll::Ready(Ok(())),
            Polled::Panicked(panic) => Poll::Ready(Err(ExitReason::panicked(panic))),
            Polled::Waits(running) => {
                // SAFETY: the turn alone touches the future.
                unsafe { (*self.inside).running = Some(running) };
                Poll::Pending
            }
        }
    }

    /// Drops the future that is under way where it waits.
    pub(crate) fn cancel(&mut self) {
        // SAFETY: the turn alone touches the future.
        let running = unsafe { (*self.inside).running.take() };
        quietly(|| drop(running));
    }

    /// Begins other work of the actor.
    pub(crate) fn begin<T: Work<A> + Send>(&mut self, work: T) {
        let (actor, ctx) = self.places();
        // SAFETY: as above.
        let (actor, ctx) = unsafe { (&mut *actor, &mut *ctx) };
        // Begun in its first poll, where a panic is the actor's.
        // SAFETY: as above.
        unsafe { (*self.inside).running = Some(Running::new(async move { work.work(actor, ctx).await })) };
    }

    /// Begins work that needs nothing of the actor.
    pub(crate) fn begin_apart(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        assert!(!self.is_running(), "one thing at a time");
        // SAFETY: it borrows nothing.
        unsafe { (*self.inside).running = Some(Running::new(work)) };
    }

    /// The context, between two futures.
    pub(crate) fn ctx(&mut self) -> &mut Ctx<A> {
        assert!(!self.is_running(), "a future under way has the context to itself");
        // SAFETY: no future is under way, and the turn is the only way to it.
        unsafe { &mut (*self.inside).ctx }
    }

    /// The actor, between two futures; none before `init` is done and after the actor was dropped.
    pub(crate) fn actor(&mut self) -> &mut Option<A> {
        assert!(!self.is_running(), "a future under way has the actor to itself");
        // SAFETY: as above.
        unsafe { &mut (*self.inside).actor }
    }

    /// Returns how `init` failed.
    pub(crate) fn take_failed(&mut self) -> Option<ExitReason> {
        assert!(!self.is_running(), "a future under way may yet fail");
        // SAFETY: as above.
        unsafe { (*self.inside).failed.take() }.map(|reason| *reason)
    }

    fn places(&mut self) -> (*mut A, *mut Ctx<A>) {
        let ctx: *mut Ctx<A> = self.ctx();
        let actor: *mut A = self.actor().as_mut().expect("an actor that works is there");
        (actor, ctx)
    }
}

/// Makes an actor, in its first turn.
pub(crate) trait Birth<A: Actor>: Send + 'static {
    fn born(self, ctx: &mut Ctx<A>) -> impl Future<Output = Result<A, ExitReason>> + Send;
}

/// What an actor does besides handling messages.
pub(crate) trait Work<A: Actor> {
    fn work<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> impl Future<Output = ()> + Send + 'a;
}
