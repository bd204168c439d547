//! What others see of a process: its queue, its credits and its ties. The running half is in `process`.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::oneshot;

use crate::credits::Credits;
use crate::mailbox::Mailbox;
use crate::process::links::Links;
use crate::remote::ExitKind;
use crate::reply::RemoteCaller;
use crate::supervisor::ChildInfo;
use crate::table::Encoded;
use crate::{Actor, CallError, Ctx, ExitReason, Pid, Ref, ReplyTo, System, Table};

/// Everything that is no message. Never refused, so never bounded by credits: each belongs to a tie that somebody holds.
pub(crate) enum Signal {
    Link { from: Pid },
    Unlink { from: Pid, id: u64 },
    UnlinkAck { from: Pid, id: u64 },
    Exit { from: Pid, reason: ExitReason, kind: ExitKind },
    Monitor { from: Pid, monitor: Ref },
    Demonitor { from: Pid, monitor: Ref },
    Down { from: Pid, monitor: Ref, reason: ExitReason },
    Wait(oneshot::Sender<ExitReason>),
    Timer { id: u64, tag: u64 },
    NodeDown { node: NodeId, incarnation: Incarnation },
    Abandoned(Refuse),
    Stop { reason: ExitReason },
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit { from, reason, kind } => write!(f, "Exit({from}, {reason}, {kind:?})"),
            Self::Down { from, monitor, reason } => write!(f, "Down({from}, {monitor}, {reason})"),
            _ => f.write_str("Signal"),
        }
    }
}

/// Answers a caller with an error.
pub(crate) type Refuse = Box<dyn FnOnce(CallError) + Send>;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A message with its type forgotten; knows how its actor handles it.
pub(crate) trait Envelope<A: Actor>: Send {
    fn handle<'a>(self: Box<Self>, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> BoxFuture<'a, ()>;
    /// Says whether the sender still waits for an answer, or never did.
    fn is_wanted(&self) -> bool;
    /// The message's type, for people.
    fn name(&self) -> &'static str;
}

/// A message in the queue; holds a credit until it is taken.
pub(crate) type Message<A> = Box<dyn Envelope<A>>;

pub(crate) enum Item<A: Actor> {
    Message(Message<A>),
    Signal(Signal),
}

/// A message from another node, before it is known what the receiver's table makes of it.
pub(crate) struct Inbound {
    pub(crate) tag: u32,
    pub(crate) body: Bytes,
    pub(crate) caller: Option<RemoteCaller>,
}

impl Inbound {
    /// Tells the caller, if it is a call.
    pub(crate) fn refuse(self, error: CallError) {
        if let Some(caller) = self.caller {
            caller.answer(Err(error));
        }
    }
}

/// What a process is tied to. Locked by its own task and by those who look at it; never held across an await, and no
/// signal is sent under it.
#[derive(Default)]
pub(crate) struct Ties {
    pub(crate) traps_exit: bool,
    pub(crate) links: Links,
    /// Monitors of this process on others that have not fired.
    pub(crate) monitors: BTreeMap<Ref, Pid>,
    /// Monitors that fired and whose `Down` was not handled yet.
    pub(crate) downs: BTreeSet<Ref>,
    /// Monitors of others on this process.
    pub(crate) watchers: BTreeMap<Ref, Pid>,
    pub(crate) waiters: Vec<oneshot::Sender<ExitReason>>,
    pub(crate) children: Vec<ChildInfo>,
    /// The type of the message in hand.
    pub(crate) handling: Option<&'static str>,
}

/// A process, its actor's type forgotten.
pub(crate) trait Process: Send + Sync {
    fn pid(&self) -> Pid;
    fn kind(&self) -> &'static str;
    fn parent(&self) -> Option<Pid>;
    /// Queues `signal`; gives it back if the process is gone.
    fn signal(&self, signal: Signal) -> Result<(), Signal>;
    /// Queues a message of another node, or refuses it.
    fn deliver(self: Arc<Self>, inbound: Inbound);
    fn ties(&self) -> MutexGuard<'_, Ties>;
    fn has_foreign_ties(&self) -> &AtomicBool;
    fn exit_reason(&self) -> Option<&ExitReason>;
    fn queue_len(&self) -> usize;
    /// Forgets how to wake the process, after which nobody ever does: its runtime is gone.
    fn abandon(&self);
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

pub(crate) struct Cell<A: Actor> {
    pub(crate) system: System,
    pub(crate) pid: Pid,
    pub(crate) parent: Option<Pid>,
    pub(crate) mailbox: Mailbox<Item<A>>,
    pub(crate) credits: Credits,
    pub(crate) ties: Mutex<Ties>,
    pub(crate) has_foreign_ties: AtomicBool,
    pub(crate) exit: OnceLock<ExitReason>,
    pub(crate) table: OnceLock<Table<A>>,
}

impl<A: Actor> Cell<A> {
    /// Queues a message that has a credit; gives it back if the process is gone.
    pub(crate) fn push(&self, message: Message<A>) -> Result<(), Message<A>> {
        self.mailbox.push(Item::Message(message)).map_err(|unsent| match unsent {
            Item::Message(message) => message,
            Item::Signal(_) => unreachable!("a message was sent"),
        })
    }

    pub(crate) fn table(&self) -> &Table<A> {
        self.table.get_or_init(A::table)
    }
}

impl<A: Actor> Process for Cell<A> {
    fn pid(&self) -> Pid {
        self.pid
    }

    fn kind(&self) -> &'static str {
        std::any::type_name::<A>()
    }

    fn parent(&self) -> Option<Pid> {
        self.parent
    }

    fn signal(&self, signal: Signal) -> Result<(), Signal> {
        self.mailbox.push(Item::Signal(signal)).map_err(|unsent| match unsent {
            Item::Signal(signal) => signal,
            Item::Message(_) => unreachable!("a signal was sent"),
        })
    }

    fn deliver(self: Arc<Self>, inbound: Inbound) {
        if self.exit.get().is_some() {
            return inbound.refuse(CallError::NoProc);
        }
        let Some(entry) = self.table().entry(inbound.tag) else {
            tracing::warn!(pid = %self.pid, kind = self.kind(), tag = inbound.tag, "message of another node is unknown");
            return inbound.refuse(CallError::Incompatible);
        };
        // A lane must not wait for one slow actor, so what finds no credit is refused at once.
        if let Err(no_credit) = self.credits.try_take() {
            tracing::debug!(pid = %self.pid, kind = self.kind(), "mailbox is full, message of another node refused");
            return inbound.refuse(no_credit.into());
        }
        let process: Arc<dyn Process> = Arc::<Self>::clone(&self);
        let reply_to = ReplyTo::remote(inbound.caller, process);
        let envelope = Box::new(Encoded { decode: entry.decode, name: entry.name, body: inbound.body, reply_to });
        // If the actor has just ended, the dropped message tells its caller why.
        drop(self.push(envelope));
    }

    fn ties(&self) -> MutexGuard<'_, Ties> {
        self.ties.lock().expect("nothing panics under this lock")
    }

    fn has_foreign_ties(&self) -> &AtomicBool {
        &self.has_foreign_ties
    }

    fn exit_reason(&self) -> Option<&ExitReason> {
        self.exit.get()
    }

    fn queue_len(&self) -> usize {
        self.credits.waiting() as usize
    }

    fn abandon(&self) {
        self.mailbox.forget_taker();
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
