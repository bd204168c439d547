//! A future under way in memory of the pool: of a known type for its first poll, after which most are done; its type
//! forgotten if it waits.

use std::alloc::Layout;
use std::any::Any;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::pool;
use crate::process::quietly;

type Erased = dyn Future<Output = ()> + Send;

/// A future that may borrow from what lies beside it. Never moved, dropped with this.
pub(crate) struct Running(NonNull<Erased>);

// SAFETY: owns a future that is `Send`.
unsafe impl Send for Running {}

/// What a poll came to.
pub(crate) enum Polled {
    Done,
    Waits(Running),
    Panicked(Box<dyn Any + Send>),
}

/// A future in its place, before its type is forgotten.
struct Placed<F>(NonNull<F>);

impl Running {
    /// Holds `future` without polling it.
    ///
    /// # Safety
    /// What the future borrows must be neither moved, dropped nor used by others until this is dropped.
    pub(crate) unsafe fn new<'a, F: Future<Output = ()> + Send + 'a>(future: F) -> Self {
        // SAFETY: as promised.
        unsafe { Placed::new(|| future).forget_type() }
    }

    /// Makes a future and polls it for the first time.
    ///
    /// # Safety
    /// As [`Running::new`].
    #[inline]
    pub(crate) unsafe fn start<'a, F>(make: impl FnOnce() -> F, cx: &mut Context<'_>) -> Polled
    where
        F: Future<Output = ()> + Send + 'a,
    {
        let mut placed = Placed::new(make);
        // SAFETY: the future is owned by `placed` and stays in its place until it is dropped there.
        let pinned = unsafe { Pin::new_unchecked(placed.0.as_mut()) };
        match catch_unwind(AssertUnwindSafe(|| pinned.poll(cx))) {
            // SAFETY: as promised.
            Ok(Poll::Pending) => Polled::Waits(unsafe { placed.forget_type() }),
            Ok(Poll::Ready(())) => {
                quietly(|| drop(placed));
                Polled::Done
            }
            Err(panic) => {
                quietly(|| drop(placed));
                Polled::Panicked(panic)
            }
        }
    }

    /// Goes on; says no if it still waits.
    pub(crate) fn poll(mut self, cx: &mut Context<'_>) -> Polled {
        // SAFETY: the future is owned by this alone and stays in its place until it is dropped there.
        let pinned = unsafe { Pin::new_unchecked(self.0.as_mut()) };
        match catch_unwind(AssertUnwindSafe(|| pinned.poll(cx))) {
            Ok(Poll::Pending) => Polled::Waits(self),
            Ok(Poll::Ready(())) => {
                quietly(|| drop(self));
                Polled::Done
            }
            Err(panic) => {
                quietly(|| drop(self));
                Polled::Panicked(panic)
            }
        }
    }
}

impl<F> Placed<F> {
    #[inline]
    fn new(make: impl FnOnce() -> F) -> Self {
        let layout = Layout::new::<F>();
        let memory = Memory(pool::take(layout), layout);
        let place = memory.0.cast::<F>();
        // Made when its place is known, so that it need not be moved there.
        // SAFETY: the memory has the future's layout and belongs to nobody else.
        unsafe { place.write(make()) };
        std::mem::forget(memory);
        Self(place)
    }

    /// # Safety
    /// As [`Running::new`].
    unsafe fn forget_type<'a>(self) -> Running
    where
        F: Future<Output = ()> + Send + 'a,
    {
        let erased: NonNull<dyn Future<Output = ()> + Send + 'a> = ManuallyDrop::new(self).0;
        // SAFETY: only the lifetime changes, and the caller watches over that.
        Running(unsafe { std::mem::transmute::<NonNull<dyn Future<Output = ()> + Send + 'a>, NonNull<Erased>>(erased) })
    }
}

impl<F> Drop for Placed<F> {
    #[inline]
    fn drop(&mut self) {
        let _memory = Memory(self.0.cast(), Layout::new::<F>());
        // SAFETY: owned by this alone and dropped once.
        unsafe { self.0.drop_in_place() };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: the future is alive until the next line.
        let _memory = Memory(self.0.cast(), Layout::for_value(unsafe { self.0.as_ref() }));
        // SAFETY: owned by this alone and dropped once.
        unsafe { self.0.drop_in_place() };
    }
}

/// Gives a future's memory back also if its drop panics.
struct Memory(NonNull<u8>, Layout);

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken from the pool with this layout; the future in it was dropped.
        unsafe { pool::give(self.0, self.1) };
    }
}
