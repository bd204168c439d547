//! Addresses: values that name an actor and its type, here or on another node. Dropping one stops nothing.

mod abroad;
mod call;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_wire::NodeId;

pub use call::{Call, Calling};

use crate::actor::Dispatch;
use crate::cell::{Cell, Process, Signal};
use crate::table::Typed;
use crate::{Actor, CallError, Dest, ExitReason, Pid, ReplyTo, System, current};

/// How long a call waits for its answer unless told otherwise, as in OTP.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The address of one life of an actor: a restarted actor has another one.
pub struct Addr<A: Actor> {
    system: System,
    pid: Pid,
    /// Spares the look-up of actors of this node.
    cell: Option<Arc<Cell<A>>>,
}

/// The address of whoever has a name on a node at the time of each message.
pub struct Named<A: Actor> {
    system: System,
    node: NodeId,
    name: String,
    actor: PhantomData<fn() -> A>,
}

/// Where a message goes.
enum Target<A: Actor> {
    Here(Arc<Cell<A>>),
    Abroad(NodeId, Dest),
}

impl<A: Actor> Addr<A> {
    pub(crate) fn of(cell: Arc<Cell<A>>) -> Self {
        Self { system: cell.system.clone(), pid: cell.pid, cell: Some(cell) }
    }

    pub(crate) fn new(system: System, pid: Pid) -> Self {
        let cell = system.process(pid).and_then(downcast);
        Self { system, pid, cell }
    }

    /// Returns the actor's pid.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Says whether the actor belongs to the node of this address's system.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.system.is_local(self.pid)
    }

    /// Calls the actor: await the returned [`Call`] for the answer, after [`Call::timeout`] if 5 s are not right.
    ///
    /// To another node the message goes through the actor's [`Table`](crate::Table).
    #[must_use = "a call does nothing until it is awaited"]
    pub fn call<M, Mode>(&self, message: M) -> Call<A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        Call::new(self.system.clone(), self.target(), message)
    }

    /// Sends a message and asks for no answer. Waits while the mailbox is full. Whether it arrives is not known: if the
    /// actor is gone the message is dropped.
    pub async fn cast<M, Mode>(&self, message: M)
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        if let Err(error) = cast(&self.system, self.target(), message).await {
            tracing::trace!(to = %self.pid, %error, "cast dropped");
        }
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] if the mailbox is full, [`CallError::NoProc`], and for another node
    /// [`CallError::NoConnection`] and [`CallError::Incompatible`]. `Ok` does not mean that it will be handled.
    pub fn try_cast<M, Mode>(&self, message: M) -> Result<(), CallError>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        try_cast(&self.system, self.target(), message)
    }

    /// Asks the actor to end with `reason`, behind what waits for it, and waits until it has: its
    /// [`terminate`](Actor::terminate) has run, its state is dropped, its name free. Returns the reason it ended with.
    /// Works on this node only; [`System::exit`] works on any.
    ///
    /// # Errors
    /// [`CallError::NoProc`] if it was gone; [`CallError::NoConnection`] if it belongs to another node.
    pub async fn stop(&self, reason: ExitReason) -> Result<ExitReason, CallError> {
        if !self.is_local() {
            return Err(CallError::NoConnection);
        }
        let cell = self.system.process(self.pid).ok_or(CallError::NoProc)?;
        let ended = self.system.wait(self.pid);
        cell.signal(Signal::Stop { reason }).map_err(|_| CallError::NoProc)?;
        Ok(ended.await)
    }

    fn target(&self) -> Result<Target<A>, CallError> {
        if !self.is_local() {
            return Ok(Target::Abroad(self.pid.node, Dest::Pid(self.pid)));
        }
        match &self.cell {
            Some(cell) => Ok(Target::Here(Arc::clone(cell))),
            None => here(&self.system, self.pid),
        }
    }
}

impl<A: Actor> Named<A> {
    pub(crate) const fn new(system: System, node: NodeId, name: String) -> Self {
        Self { system, node, name, actor: PhantomData }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls whoever has the name, as [`Addr::call`] does.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn call<M, Mode>(&self, message: M) -> Call<A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        Call::new(self.system.clone(), self.target(), message)
    }

    /// Sends to whoever has the name, as [`Addr::cast`] does. Messages by name and messages by pid to the same actor of
    /// another node are not ordered among each other.
    pub async fn cast<M, Mode>(&self, message: M)
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        if let Err(error) = cast(&self.system, self.target(), message).await {
            tracing::trace!(node = %self.node, name = self.name, %error, "cast dropped");
        }
    }

    /// Sends to whoever has the name without waiting, as [`Addr::try_cast`] does.
    ///
    /// # Errors
    /// As [`Addr::try_cast`].
    pub fn try_cast<M, Mode>(&self, message: M) -> Result<(), CallError>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        try_cast(&self.system, self.target(), message)
    }

    fn target(&self) -> Result<Target<A>, CallError> {
        if self.node != self.system.node() {
            return Ok(Target::Abroad(self.node, Dest::Name(self.name.clone())));
        }
        let pid = self.system.whereis(&self.name).ok_or(CallError::NoProc)?;
        here(&self.system, pid)
    }
}

fn here<A: Actor>(system: &System, pid: Pid) -> Result<Target<A>, CallError> {
    let process = system.process(pid).ok_or(CallError::NoProc)?;
    downcast(process).map(Target::Here).ok_or(CallError::Incompatible)
}

fn downcast<A: Actor>(process: Arc<dyn Process>) -> Option<Arc<Cell<A>>> {
    process.as_any().downcast().ok()
}

async fn cast<A, M, Mode>(system: &System, target: Result<Target<A>, CallError>, message: M) -> Result<(), CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    match target? {
        Target::Here(cell) => {
            // An actor that waited for room in its own mailbox would wait for itself.
            match current::sender(system) == cell.pid {
                true => cell.credits.overdraw()?,
                false => cell.credits.take().await?,
            }
            push_cast::<A, M, Mode>(&cell, message)
        }
        Target::Abroad(node, to) => abroad::cast::<A, M>(system, node, to, &message),
    }
}

fn try_cast<A, M, Mode>(system: &System, target: Result<Target<A>, CallError>, message: M) -> Result<(), CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    match target? {
        Target::Here(cell) => {
            cell.credits.try_take()?;
            push_cast::<A, M, Mode>(&cell, message)
        }
        Target::Abroad(node, to) => abroad::cast::<A, M>(system, node, to, &message),
    }
}

fn push_cast<A, M, Mode>(cell: &Cell<A>, message: M) -> Result<(), CallError>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    let envelope = Box::new(Typed::<A, M, Mode> { message, reply_to: ReplyTo::nobody() });
    cell.push(envelope).map_err(|_| CallError::NoProc)
}

impl<A: Actor> Clone for Addr<A> {
    fn clone(&self) -> Self {
        Self { system: self.system.clone(), pid: self.pid, cell: self.cell.clone() }
    }
}

impl<A: Actor> PartialEq for Addr<A> {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid
    }
}

impl<A: Actor> Eq for Addr<A> {}

impl<A: Actor> From<Addr<A>> for Pid {
    fn from(addr: Addr<A>) -> Self {
        addr.pid
    }
}

impl<A: Actor> fmt::Debug for Addr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addr({})", self.pid)
    }
}

impl<A: Actor> Clone for Named<A> {
    fn clone(&self) -> Self {
        Self { system: self.system.clone(), node: self.node, name: self.name.clone(), actor: PhantomData }
    }
}

impl<A: Actor> fmt::Debug for Named<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Named({:?} on {})", self.name, self.node)
    }
}
