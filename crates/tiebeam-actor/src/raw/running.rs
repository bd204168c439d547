//! A future under way in memory of the pool: of a known type for its first poll, after which most are done; its type
//! forgotten if it waits.

use std::alloc::Layout;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::pool::{self, Scratch};
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

impl Running {
    /// Holds `future` without polling it.
    ///
    /// # Safety
    /// What the future borrows must be neither moved, dropped nor used by others until this is dropped.
    pub(crate) unsafe fn new<'a, F: Future<Output = ()> + Send + 'a>(future: F) -> Self {
        let place = pool::take(Layout::new::<F>()).cast::<F>();
        // SAFETY: the memory has the future's layout and belongs to nobody else.
        unsafe { place.write(future) };
        // SAFETY: as promised.
        unsafe { Self::of(place) }
    }

    /// Forgets the type of a future.
    ///
    /// # Safety
    /// As [`Running::new`]; the future lies in memory of the pool, and nobody else owns it.
    unsafe fn of<'a, F: Future<Output = ()> + Send + 'a>(place: NonNull<F>) -> Self {
        let erased: NonNull<dyn Future<Output = ()> + Send + 'a> = place;
        // SAFETY: only the lifetime changes, and the caller watches over that.
        Self(unsafe { std::mem::transmute::<NonNull<dyn Future<Output = ()> + Send + 'a>, NonNull<Erased>>(erased) })
    }

    /// Makes a future and polls it for the first time.
    ///
    /// # Safety
    /// As [`Running::new`].
    #[inline]
    pub(crate) unsafe fn start<'a, F>(make: impl FnOnce() -> F, cx: &mut Context<'_>, scratch: &mut Scratch) -> Polled
    where
        F: Future<Output = ()> + Send + 'a,
    {
        let layout = Layout::new::<F>();
        let mut place = scratch.take(layout).cast::<F>();
        let mut is_made = false;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            // Made when its place is known, so that it need not be moved there.
            // SAFETY: the memory has the future's layout and belongs to nobody else.
            unsafe { place.write(make()) };
            is_made = true;
            // SAFETY: the future stays in its place until it is dropped there.
            unsafe { Pin::new_unchecked(place.as_mut()) }.poll(cx)
        }));
        if let Ok(Poll::Pending) = polled {
            // SAFETY: as promised; the memory came from the pool.
            return Polled::Waits(unsafe { Self::of(place) });
        }
        if is_made {
            // SAFETY: dropped once.
            quietly(|| unsafe { place.drop_in_place() });
        }
        // SAFETY: taken with this layout, and what was in it is gone.
        unsafe { scratch.give(place.cast(), layout) };
        match polled {
            Ok(_) => Polled::Done,
            Err(panic) => Polled::Panicked(panic),
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
