use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::actor::Dispatch;
use crate::cell::Cell;
use crate::message::{Aliased, Told};
use crate::raw::item::Item;
use crate::{Actor, Addr, CallError};

/// A second address of an actor, which that actor can take back: from then on what was sent to it is dropped, also what
/// waits already. For answers that may come too late (EEP 53), and for senders whose messages go first (EEP 76).
///
/// Works on the actor's own node.
pub struct Alias<A: Actor> {
    cell: Arc<Cell<A>>,
    active: Arc<AtomicBool>,
    is_urgent: bool,
}

impl<A: Actor> Alias<A> {
    pub(crate) fn new(cell: Arc<Cell<A>>, is_urgent: bool) -> Self {
        Self { cell, active: Arc::new(AtomicBool::new(true)), is_urgent }
    }

    /// Sends a message without waiting. Messages of one sender by way of the same alias keep their order; urgent ones pass
    /// all that are not.
    ///
    /// # Errors
    /// [`CallError::NoProc`] if the actor is gone or has taken the alias back, [`CallError::Overloaded`] as
    /// [`Addr::try_cast`].
    pub fn try_cast<M, Mode>(&self, message: M) -> Result<(), CallError>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        if !self.is_active() {
            return Err(CallError::NoProc);
        }
        let message = Aliased { message: Told::<A, M, Mode>::new(message), active: Arc::clone(&self.active) };
        self.cell.admit_now(|| match self.is_urgent {
            true => Item::urgent(message),
            false => Item::message(message),
        })
    }

    /// Takes the alias back, for all its clones. Returns whether it was active.
    pub fn deactivate(&self) -> bool {
        self.active.swap(false, Ordering::AcqRel)
    }

    /// Says whether messages are still taken.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Returns the actor's address, which can't be taken back.
    #[must_use]
    pub fn addr(&self) -> Addr<A> {
        Addr::of(&self.cell)
    }
}

impl<A: Actor> Clone for Alias<A> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell), active: Arc::clone(&self.active), is_urgent: self.is_urgent }
    }
}

impl<A: Actor> fmt::Debug for Alias<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alias")
            .field("pid", &self.cell.pid())
            .field("active", &self.is_active())
            .field("urgent", &self.is_urgent)
            .finish()
    }
}
