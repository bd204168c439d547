//! Knows which actor the running code belongs to, so that what it sends is ordered with its exit, and so that its calls
//! share one timer.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tiebeam_wire::Instant;

use crate::cell::BoxFuture;
use crate::{Pid, System};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

struct Current {
    pid: Pid,
    /// Names the waker that polls the whole process; its address is compared and never followed.
    waker: (usize, usize),
    alarm: Option<Box<Alarm>>,
}

/// What wakes a process for the deadline of a call.
struct Alarm {
    at: Instant,
    _sleep: BoxFuture<'static, ()>,
}

pin_project! {
    /// A future that runs as the code of one actor.
    pub(crate) struct Scope<F> {
        pid: Pid,
        alarm: Option<Box<Alarm>>,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scope<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            enter(*this.pid, &mut None, Waker::noop(), || this.future.set(None));
        }
    }
}

pub(crate) const fn scope<F>(pid: Pid, future: F) -> Scope<F> {
    Scope { pid, alarm: None, future: Some(future) }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("set to nothing by drop alone");
        enter(*this.pid, this.alarm, cx.waker(), || future.poll(cx))
    }
}

/// Runs `code` as that of `pid`, and restores what was before, also when it panics.
fn enter<T>(pid: Pid, alarm: &mut Option<Box<Alarm>>, waker: &Waker, code: impl FnOnce() -> T) -> T {
    struct Restore<'a>(&'a mut Option<Box<Alarm>>, Option<Current>);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            let current = CURRENT.replace(self.1.take());
            *self.0 = current.and_then(|current| current.alarm);
        }
    }
    let current = Current { pid, waker: identity(waker), alarm: alarm.take() };
    let _restore = Restore(alarm, CURRENT.replace(Some(current)));
    code()
}

fn identity(waker: &Waker) -> (usize, usize) {
    (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
}

/// Returns the running actor's pid; the pid with serial 0 outside of actors.
///
/// A message to another node must carry its true sender: lanes are chosen by sender and receiver, and a worker's result
/// sent under another name could be overtaken by the worker's `Down`.
pub(crate) fn sender(system: &System) -> Pid {
    let root = system.root();
    let pid = CURRENT.with_borrow(|current| current.as_ref().map_or(root, |current| current.pid));
    if (pid.node, pid.incarnation) == (root.node, root.incarnation) { pid } else { root }
}

/// Has the running process woken at `deadline` or before it; says no if there is none, or if `cx` wakes only a part of it.
///
/// A timer that goes off earlier is as good: whoever waits looks at the time and asks again. So an actor that calls and
/// calls makes a timer once in the time that its calls may take, and not for each.
pub(crate) fn wake_by(now: Instant, deadline: Instant, cx: &mut Context<'_>) -> bool {
    CURRENT.with_borrow_mut(|current| {
        let Some(current) = current.as_mut().filter(|current| current.waker == identity(cx.waker())) else {
            return false;
        };
        if current.alarm.as_ref().is_some_and(|alarm| now < alarm.at && alarm.at <= deadline) {
            return true;
        }
        let mut sleep: BoxFuture<'static, ()> = Box::pin(tiebeam_world::sleep_until(deadline));
        // Ready only if the deadline is past, and then whoever waits has seen that.
        let _ = sleep.as_mut().poll(cx);
        current.alarm = Some(Box::new(Alarm { at: deadline, _sleep: sleep }));
        true
    })
}
