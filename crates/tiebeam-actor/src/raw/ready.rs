//! A process that is to have a turn, in the queues of the scheduler: a pointer and no count, since such a process owns
//! itself through its own context until a turn ends it.
//!
//! Invariant: made only by whoever turned the state word to notified, so there is one for a process at most, and taken
//! only to have the turn. A process that is abandoned may be gone: then its workers are, and what they had queued is
//! never taken.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::cell::Process;

pub(crate) struct Ready(NonNull<dyn Process>);

// SAFETY: processes are shared between threads, and this is the right to one turn, of which there is one.
unsafe impl Send for Ready {}

impl Ready {
    /// # Safety
    /// The caller has just turned the state word of `process` to notified, or found it so at the end of a turn.
    pub(super) unsafe fn new(process: &(dyn Process + 'static)) -> Self {
        Self(NonNull::from(process))
    }

    pub(crate) fn process(&self) -> &dyn Process {
        // SAFETY: it owns itself until its turn.
        unsafe { self.0.as_ref() }
    }

    /// Gives the process its turn.
    pub(crate) fn turn(self) {
        // SAFETY: the count is that of the process's own context, which `turn` does not give up.
        unsafe { Arc::from_raw(self.0.as_ptr().cast_const()) }.turn();
    }
}
