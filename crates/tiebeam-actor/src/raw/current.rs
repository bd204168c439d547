//! Knows which actor the running code belongs to, so that what it sends is ordered with its exit, and so that its calls
//! share one timer.
//!
//! Invariant: what the thread points to is borrowed by [`enter`] for as long.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tiebeam_wire::Instant;

use crate::cell::{BoxFuture, Process};
use crate::{Pid, System};

thread_local! {
    static CURRENT: Cell<Option<NonNull<dyn Process>>> = const { Cell::new(None) };
    static ALARM: Cell<Option<Box<Alarm>>> = const { Cell::new(None) };
}

/// What wakes a process for the deadline of a call.
struct Alarm {
    at: Instant,
    _sleep: BoxFuture<'static, ()>,
}

/// Where a process keeps its alarm between turns.
#[derive(Default)]
pub(crate) struct AlarmSeat(Option<Box<Alarm>>);

/// Runs `code` as that of `process`, and restores what was before, also when it panics.
pub(crate) fn enter<T>(process: &dyn Process, alarm: &mut AlarmSeat, code: impl FnOnce() -> T) -> T {
    struct Restore<'a>(Option<NonNull<dyn Process>>, Option<Box<Alarm>>, &'a mut AlarmSeat);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            CURRENT.set(self.0);
            self.2.0 = ALARM.replace(self.1.take());
        }
    }
    let process = NonNull::from(process);
    // SAFETY: only the lifetime changes; the guard takes the pointer away before the borrow ends.
    let process = unsafe { std::mem::transmute::<NonNull<dyn Process + '_>, NonNull<dyn Process + 'static>>(process) };
    let former = ALARM.replace(alarm.0.take());
    let _restore = Restore(CURRENT.replace(Some(process)), former, alarm);
    code()
}

/// Looks at the process whose code runs, if it is that of an actor.
pub(crate) fn with<T>(look: impl FnOnce(Option<&dyn Process>) -> T) -> T {
    let process = CURRENT.get();
    // SAFETY: `enter` borrows it until it takes it away, and lies below this on the stack.
    look(process.map(|process| unsafe { process.as_ref() }))
}

pin_project! {
    /// A future that runs as the code of one actor, beside its turns.
    pub(crate) struct Scope<F> {
        process: Arc<dyn Process>,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scope<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            enter(&**this.process, &mut AlarmSeat::default(), || this.future.set(None));
        }
    }
}

pub(crate) const fn scope<F>(process: Arc<dyn Process>, future: F) -> Scope<F> {
    Scope { process, future: Some(future) }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("set to nothing by drop alone");
        enter(&**this.process, &mut AlarmSeat::default(), || future.poll(cx))
    }
}

/// Returns the running actor's pid; the pid with serial 0 outside of actors.
///
/// A message to another node must carry its true sender: lanes are chosen by sender and receiver, and a worker's result
/// sent under another name could be overtaken by the worker's `Down`.
pub(crate) fn sender(system: &System) -> Pid {
    let root = system.root();
    let pid = with(|process| process.map_or(root, Process::pid));
    if (pid.node, pid.incarnation) == (root.node, root.incarnation) { pid } else { root }
}

/// Has the running process woken at `deadline` or before it; says no if there is none, or if `cx` wakes only a part of it.
///
/// A timer that goes off earlier is as good: whoever waits looks at the time and asks again. So an actor that calls and
/// calls makes a timer once in the time that its calls may take, and not for each.
pub(crate) fn wake_by(now: Instant, deadline: Instant, cx: &mut Context<'_>) -> bool {
    // The waker of a turn is made of the process's own address.
    let is_whole = with(|process| process.is_some_and(|process| ptr::addr_eq(process, cx.waker().data())));
    if !is_whole {
        return false;
    }
    let former = ALARM.take();
    let alarm = former.filter(|alarm| now < alarm.at && alarm.at <= deadline).unwrap_or_else(|| {
        let mut sleep: BoxFuture<'static, ()> = Box::pin(tiebeam_world::sleep_until(deadline));
        // Ready only if the deadline is past, and then whoever waits has seen that.
        let _ = sleep.as_mut().poll(cx);
        Box::new(Alarm { at: deadline, _sleep: sleep })
    });
    ALARM.set(Some(alarm));
    true
}
