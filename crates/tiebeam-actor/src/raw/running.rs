//! A future under way, its type forgotten, in memory of the pool.

use std::alloc::Layout;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::pool;

type Erased = dyn Future<Output = ()> + Send;

/// A future that may borrow from what lies beside it. Never moved, dropped with this.
pub(crate) struct Running(NonNull<Erased>);

// SAFETY: owns a future that is `Send`.
unsafe impl Send for Running {}

impl Running {
    /// Holds `future` without polling it.
    ///
    /// # Safety
    /// What the future borrows must be neither moved, dropped nor used by others until this is dropped.
    pub(crate) unsafe fn new<'a, F: Future<Output = ()> + Send + 'a>(future: F) -> Self {
        let place = pool::take(Layout::new::<F>()).cast::<F>();
        // SAFETY: the memory has the future's layout and belongs to nobody else.
        unsafe { place.write(future) };
        let erased: NonNull<dyn Future<Output = ()> + Send + 'a> = place;
        // SAFETY: only the lifetime changes, and the caller watches over that.
        Self(unsafe { std::mem::transmute::<NonNull<dyn Future<Output = ()> + Send + 'a>, NonNull<Erased>>(erased) })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the future is owned by this alone and stays in its place until it is dropped there.
        unsafe { Pin::new_unchecked(self.0.as_mut()) }.poll(cx)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        /// Gives the memory back also if the future's own drop panics.
        struct Memory(NonNull<u8>, Layout);
        impl Drop for Memory {
            fn drop(&mut self) {
                // SAFETY: taken from the pool with this layout; the future in it was dropped.
                unsafe { pool::give(self.0, self.1) };
            }
        }
        // SAFETY: the future is alive until the next line.
        let _memory = Memory(self.0.cast(), Layout::for_value(unsafe { self.0.as_ref() }));
        // SAFETY: owned by this alone and dropped once.
        unsafe { self.0.drop_in_place() };
    }
}
