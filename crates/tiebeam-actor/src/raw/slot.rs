//! The place of one answer: one end writes it, the other waits for it.
//!
//! Invariants: both ends own the memory, and whoever leaves last frees it. The waker belongs to the receiver while the
//! state is empty or waiting is taken back, and to the sender from waiting to waking. The value belongs to the sender
//! until sent, then to the receiver.

use std::alloc::Layout;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use super::pool;
use super::sync::{AtomicU8, Ordering, UnsafeCell, spin_loop};

/// Nothing was sent, and the receiver left no waker.
const EMPTY: u8 = 0;
/// The receiver left a waker.
const WAITING: u8 = 1;
/// The sender takes the waker; for a few instructions.
const WAKING: u8 = 2;
/// The value is there, and the sender is gone.
const SENT: u8 = 3;
/// The sender is gone without a word.
const UNSENT: u8 = 4;
/// The receiver is gone.
const UNWANTED: u8 = 5;

struct Shared<T> {
    state: AtomicU8,
    waker: UnsafeCell<Option<Waker>>,
    value: UnsafeCell<Option<T>>,
}

/// The end that answers.
pub(crate) struct Sender<T>(Option<End<T>>);

/// The end that waits: the value, or `None` if the sender was dropped without one.
pub(crate) struct Receiver<T>(Option<End<T>>);

/// A pointer to what both ends own.
struct End<T>(NonNull<Shared<T>>);

// SAFETY: what the ends share is handed over as the states say, and a `T` moves from one to the other.
unsafe impl<T: Send> Send for End<T> {}
// SAFETY: a shared end only reads the state.
unsafe impl<T: Send> Sync for End<T> {}

/// Makes the two ends of a slot.
pub(crate) fn slot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = pool::take(Layout::new::<Shared<T>>()).cast::<Shared<T>>();
    let value = Shared { state: AtomicU8::new(EMPTY), waker: UnsafeCell::new(None), value: UnsafeCell::new(None) };
    // SAFETY: the memory has this layout and belongs to nobody else.
    unsafe { shared.write(value) };
    (Sender(Some(End(shared))), Receiver(Some(End(shared))))
}

impl<T> End<T> {
    const fn shared(&self) -> &Shared<T> {
        // SAFETY: freed only by the end that leaves last, which consumes itself.
        unsafe { self.0.as_ref() }
    }

    /// Frees what both ends shared.
    ///
    /// # Safety
    /// The other end is gone.
    unsafe fn free(self) {
        // SAFETY: this is the only owner, and the memory came from the pool with this layout.
        unsafe {
            self.0.drop_in_place();
            pool::give(self.0.cast(), Layout::new::<Shared<T>>());
        }
    }

    fn take_waker(&self) -> Option<Waker> {
        // SAFETY: called only by the end that owns the waker in the current state.
        self.shared().waker.with_mut(|waker| unsafe { (*waker).take() })
    }

    fn set_waker(&self, new: &Waker) {
        // SAFETY: called by the receiver in the empty state, in which the waker is its own.
        self.shared().waker.with_mut(|waker| unsafe {
            match &mut *waker {
                Some(waker) => waker.clone_from(new),
                none => *none = Some(new.clone()),
            }
        });
    }
}

impl<T> Sender<T> {
    /// Gives the answer; it is lost if the receiver is gone.
    pub(crate) fn send(mut self, value: T) {
        let Some(end) = self.0.take() else { return };
        // SAFETY: the value is the sender's own until it is sent.
        end.shared().value.with_mut(|place| unsafe { *place = Some(value) });
        leave(end, SENT);
    }

    /// Says whether the receiver is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|end| end.shared().state.load(Ordering::Relaxed) == UNWANTED)
    }
}

/// Ends the sender's part.
fn leave<T>(end: End<T>, state: u8) {
    loop {
        let shared = end.shared();
        match shared.state.load(Ordering::Acquire) {
            EMPTY => {
                // After this the receiver may free the memory.
                if shared.state.compare_exchange(EMPTY, state, Ordering::Release, Ordering::Relaxed).is_ok() {
                    return;
                }
            }
            WAITING => {
                if shared.state.compare_exchange(WAITING, WAKING, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    let waker = end.take_waker();
                    shared.state.store(state, Ordering::Release);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    return;
                }
            }
            // SAFETY: the only other state that a sender meets: the receiver is gone.
            _ => return unsafe { end.free() },
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            leave(end, UNSENT);
        }
    }
}

impl<T> Receiver<T> {
    /// Returns the answer if it is there; `Some(None)` if it will never be.
    pub(crate) fn try_take(&mut self) -> Option<Option<T>> {
        let end = self.0.as_ref()?;
        let value = match end.shared().state.load(Ordering::Acquire) {
            // SAFETY: the value is the receiver's own once it is sent.
            SENT => end.shared().value.with_mut(|place| unsafe { (*place).take() }),
            UNSENT => None,
            _ => return None,
        };
        if let Some(end) = self.0.take() {
            // SAFETY: in both states the sender is gone.
            unsafe { end.free() };
        }
        Some(value)
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(value) = self.try_take() {
                return Poll::Ready(value);
            }
            let Some(end) = &self.0 else { return Poll::Ready(None) };
            let state = &end.shared().state;
            match state.load(Ordering::Relaxed) {
                EMPTY => {
                    end.set_waker(cx.waker());
                    if state.compare_exchange(EMPTY, WAITING, Ordering::Release, Ordering::Relaxed).is_ok() {
                        return Poll::Pending;
                    }
                }
                // The waker may be another task's by now.
                WAITING => drop(state.compare_exchange(WAITING, EMPTY, Ordering::Acquire, Ordering::Relaxed)),
                _ => spin_loop(),
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        while self.try_take().is_none() {
            let Some(end) = &self.0 else { return };
            let state = &end.shared().state;
            match state.load(Ordering::Relaxed) {
                EMPTY => {
                    drop(end.take_waker());
                    if state.compare_exchange(EMPTY, UNWANTED, Ordering::Release, Ordering::Relaxed).is_ok() {
                        return;
                    }
                }
                WAITING => drop(state.compare_exchange(WAITING, EMPTY, Ordering::Acquire, Ordering::Relaxed)),
                _ => spin_loop(),
            }
        }
    }
}

impl<T> Unpin for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

#[cfg(test)]
mod tests;
