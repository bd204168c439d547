//! Addresses: values that name an actor and its type, here or on another node. Dropping one stops nothing.

mod abroad;
mod call;
mod cast;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_wire::NodeId;

pub use call::{Call, Calling};
pub use cast::Cast;

use crate::actor::Dispatch;
use crate::cell::{Cell, Process, Signal};
use crate::{Actor, CallError, Dest, ExitReason, Pid, System};

/// How long a call waits for its answer unless told otherwise, as in OTP.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The address of one life of an actor: a restarted actor has another one.
pub struct Addr<A: Actor>(Place<A>);

enum Place<A: Actor> {
    /// On this node, found.
    Here(Arc<Cell<A>>),
    /// On another node, or gone, or no `A`.
    Elsewhere(System, Pid),
}

/// The address of whoever has a name on a node at the time of each message.
pub struct Named<A: Actor> {
    system: System,
    node: NodeId,
    name: String,
    actor: PhantomData<fn() -> A>,
}

/// Whom a message is for.
enum To<'a, A: Actor> {
    Addr(&'a Addr<A>),
    Named(&'a Named<A>),
}

/// Where a message goes.
enum Target<A: Actor> {
    Here(Arc<Cell<A>>),
    Abroad(System, NodeId, Dest),
}

impl<A: Actor> Addr<A> {
    pub(crate) fn of(cell: &Arc<Cell<A>>) -> Self {
        Self(Place::Here(Arc::clone(cell)))
    }

    pub(crate) fn new(system: System, pid: Pid) -> Self {
        match system.process(pid).and_then(downcast) {
            Some(cell) => Self(Place::Here(cell)),
            None => Self(Place::Elsewhere(system, pid)),
        }
    }

    /// Returns the actor's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        match &self.0 {
            Place::Here(cell) => cell.pid(),
            Place::Elsewhere(_, pid) => *pid,
        }
    }

    /// Says whether the actor belongs to the node of this address's system.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.system().is_local(self.pid())
    }

    /// Calls the actor: await the returned [`Call`] for the answer, after [`Call::timeout`] if 5 s are not right.
    ///
    /// To another node the message goes through the actor's [`Table`](crate::Table).
    #[must_use = "a call does nothing until it is awaited"]
    pub fn call<M, Mode>(&self, message: M) -> Call<'_, A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        Call::new(To::Addr(self), message)
    }

    /// Sends a message and asks for no answer. Waits while the mailbox is full; to an actor of another node, also after it
    /// has sent while much waits for the network. Whether it arrives is not known: if the actor is gone the message is
    /// dropped.
    #[must_use = "a cast does nothing until it is awaited"]
    pub fn cast<M, Mode>(&self, message: M) -> Cast<'_, A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        Cast::new(To::Addr(self), message)
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
        cast::now(To::Addr(self), message)
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
        let process = self.system().process(self.pid()).ok_or(CallError::NoProc)?;
        let ended = self.system().wait(self.pid());
        process.signal(Signal::Stop { reason }).map_err(|_| CallError::NoProc)?;
        Ok(ended.await)
    }

    /// Returns the actor if it lives on this node, or did.
    pub(crate) const fn here(&self) -> Option<&Arc<Cell<A>>> {
        match &self.0 {
            Place::Here(cell) => Some(cell),
            Place::Elsewhere(..) => None,
        }
    }

    fn system(&self) -> &System {
        match &self.0 {
            Place::Here(cell) => &cell.system,
            Place::Elsewhere(system, _) => system,
        }
    }

    fn target(&self) -> Result<Target<A>, CallError> {
        match &self.0 {
            Place::Here(cell) => Ok(Target::Here(Arc::clone(cell))),
            Place::Elsewhere(system, pid) if system.is_local(*pid) => here(system, *pid),
            Place::Elsewhere(system, pid) => Ok(Target::Abroad(system.clone(), pid.node, Dest::Pid(*pid))),
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
    pub fn call<M, Mode>(&self, message: M) -> Call<'_, A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        Call::new(To::Named(self), message)
    }

    /// Sends to whoever has the name, as [`Addr::cast`] does. Messages by name and messages by pid to the same actor of
    /// another node are not ordered among each other.
    #[must_use = "a cast does nothing until it is awaited"]
    pub fn cast<M, Mode>(&self, message: M) -> Cast<'_, A, M, Mode>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        Cast::new(To::Named(self), message)
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
        cast::now(To::Named(self), message)
    }

    fn target(&self) -> Result<Target<A>, CallError> {
        if self.node != self.system.node() {
            return Ok(Target::Abroad(self.system.clone(), self.node, Dest::Name(self.name.clone())));
        }
        let pid = self.system.whereis(&self.name).ok_or(CallError::NoProc)?;
        here(&self.system, pid)
    }
}

impl<A: Actor> To<'_, A> {
    /// Returns the actor if it need not be looked for.
    const fn here(&self) -> Option<&Arc<Cell<A>>> {
        match self {
            Self::Addr(addr) => addr.here(),
            Self::Named(_) => None,
        }
    }

    fn target(&self) -> Result<Target<A>, CallError> {
        match self {
            Self::Addr(addr) => addr.target(),
            Self::Named(named) => named.target(),
        }
    }
}

fn here<A: Actor>(system: &System, pid: Pid) -> Result<Target<A>, CallError> {
    let process = system.process(pid).ok_or(CallError::NoProc)?;
    downcast(process).map(Target::Here).ok_or(CallError::Incompatible)
}

fn downcast<A: Actor>(process: Arc<dyn Process>) -> Option<Arc<Cell<A>>> {
    process.as_any().downcast().ok()
}

impl<A: Actor> Clone for Addr<A> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Place::Here(cell) => Place::Here(Arc::clone(cell)),
            Place::Elsewhere(system, pid) => Place::Elsewhere(system.clone(), *pid),
        })
    }
}

impl<A: Actor> PartialEq for Addr<A> {
    fn eq(&self, other: &Self) -> bool {
        self.pid() == other.pid()
    }
}

impl<A: Actor> Eq for Addr<A> {}

impl<A: Actor> From<Addr<A>> for Pid {
    fn from(addr: Addr<A>) -> Self {
        addr.pid()
    }
}

impl<A: Actor> fmt::Debug for Addr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addr({})", self.pid())
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

impl<A: Actor> fmt::Debug for To<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Named(named) => named.fmt(f),
        }
    }
}
