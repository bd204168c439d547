//! Looking into a process and holding it, as OTP's `sys` does. What is asked is done between two messages, before those
//! that wait, and also while the process is suspended.

use crate::cell::{Inspection, Signal};
use crate::message::Inspect;
use crate::raw::item::Item;
use crate::raw::slot::{Sender, slot};
use crate::{Actor, Addr, CallError, Pid, System};

impl System {
    /// Suspends a process: it handles no message, exit or timer until it is resumed, while signals act as ever and whoever
    /// may stop it, stops it. Returns when that is so: a handler in hand is waited for.
    ///
    /// # Errors
    /// [`CallError::NoProc`].
    pub async fn suspend(&self, pid: Pid) -> Result<(), CallError> {
        self.inspect(pid, Inspection::Suspend).await
    }

    /// Lets a suspended process go on. Nothing happens if it is none.
    ///
    /// # Errors
    /// [`CallError::NoProc`].
    pub async fn resume(&self, pid: Pid) -> Result<(), CallError> {
        self.inspect(pid, Inspection::Resume).await
    }

    /// Returns what an actor says of its state in [`Actor::format_status`]; none if it says nothing.
    ///
    /// # Errors
    /// [`CallError::NoProc`].
    pub async fn status_text(&self, pid: Pid) -> Result<Option<String>, CallError> {
        self.inspect(pid, Inspection::Describe).await
    }

    async fn inspect<T>(&self, pid: Pid, ask: fn(Sender<T>) -> Inspection) -> Result<T, CallError> {
        let process = self.process(pid).ok_or(CallError::NoProc)?;
        let (answer, asked) = slot();
        process.signal(Signal::Inspect(ask(answer))).map_err(|_| CallError::NoProc)?;
        asked.await.ok_or(CallError::NoProc)
    }
}

impl<A: Actor> Addr<A> {
    /// Runs `look` on the actor's state. Works on this node only, and is for people and tests: an actor's own messages are
    /// the way to change it.
    ///
    /// # Errors
    /// [`CallError::NoProc`], also for an actor of another node; [`CallError::Unanswered`] if `look` panicked, of which
    /// the actor then dies.
    pub async fn with_state<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut A) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (answer, asked) = slot();
        let inspect = Inspect(move |actor: &mut A| answer.send(look(actor)));
        self.here().ok_or(CallError::NoProc)?.push(Item::system(inspect)).map_err(|_| CallError::NoProc)?;
        asked.await.ok_or(CallError::Unanswered)
    }

    /// Returns a copy of the actor's state, as [`Addr::with_state`] does.
    ///
    /// # Errors
    /// As [`Addr::with_state`].
    pub async fn get_state(&self) -> Result<A, CallError>
    where
        A: Clone,
    {
        self.with_state(|actor| actor.clone()).await
    }

    /// Gives the actor another state, and returns the former.
    ///
    /// # Errors
    /// As [`Addr::with_state`].
    pub async fn replace_state(&self, state: A) -> Result<A, CallError> {
        self.with_state(|actor| std::mem::replace(actor, state)).await
    }
}
