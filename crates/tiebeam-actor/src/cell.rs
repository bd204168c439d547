//! What others see of a process: its queue, its credits and its ties. The running half is in `process`.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::Wake;

use bytes::Bytes;
use tiebeam_wire::{Incarnation, NodeId};

use crate::credits::{Admission, Credits};
use crate::message::Encoded;
use crate::process::Course;
use crate::process::links::Links;
use crate::raw::body::Body;
use crate::raw::item::{Handling, Item, Opened};
use crate::raw::mailbox::{Mailbox, Pushed};
use crate::raw::own::{Birth, Own};
use crate::raw::slot;
use crate::raw::word::Word;
use crate::remote::ExitKind;
use crate::reply::RemoteCaller;
use crate::scheduler::Scheduler;
use crate::supervisor::ChildInfo;
use crate::system::Status;
use crate::table::table_of;
use crate::trace::Tracer;
use crate::{Actor, CallError, ExitReason, Overflow, Pid, Ref, ReplyTo, System};

/// Everything that is no message. Never refused, so never bounded by credits: each belongs to a tie that somebody holds.
pub(crate) enum Signal {
    Link { from: Pid },
    Unlink { from: Pid, id: u64 },
    UnlinkAck { from: Pid, id: u64 },
    Exit { from: Pid, reason: ExitReason, kind: ExitKind },
    Monitor { from: Pid, monitor: Ref },
    Demonitor { from: Pid, monitor: Ref },
    Down { from: Pid, monitor: Ref, reason: ExitReason },
    Wait(slot::Sender<ExitReason>),
    Timer { id: u64, tag: u64 },
    NodeDown { node: NodeId, incarnation: Incarnation },
    Abandoned(Refuse),
    Stop { reason: ExitReason },
    Inspect(Inspection),
}

/// What others ask of a process whose type they don't know; done between two messages.
pub(crate) enum Inspection {
    Suspend(slot::Sender<()>),
    Resume(slot::Sender<()>),
    Describe(slot::Sender<Option<String>>),
    Trace(Option<Box<Tracer>>),
}

/// For traces: what of a signal people look for.
impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { from } => write!(f, "Link({from})"),
            Self::Unlink { from, .. } => write!(f, "Unlink({from})"),
            Self::UnlinkAck { from, .. } => write!(f, "UnlinkAck({from})"),
            Self::Exit { from, reason, kind } => write!(f, "Exit({from}, {reason}, {kind:?})"),
            Self::Monitor { from, monitor } => write!(f, "Monitor({from}, {monitor})"),
            Self::Demonitor { from, monitor } => write!(f, "Demonitor({from}, {monitor})"),
            Self::Down { from, monitor, reason } => write!(f, "Down({from}, {monitor}, {reason})"),
            Self::Wait(_) => f.write_str("Wait"),
            Self::Timer { id, tag } => write!(f, "Timer({id}, tag {tag})"),
            Self::NodeDown { node, incarnation } => write!(f, "NodeDown({node}.{incarnation})"),
            Self::Abandoned(_) => f.write_str("Abandoned"),
            Self::Stop { reason } => write!(f, "Stop({reason})"),
            Self::Inspect(_) => f.write_str("Inspect"),
        }
    }
}

/// Answers a caller with an error.
pub(crate) type Refuse = Box<dyn FnOnce(CallError) + Send>;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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
    pub(crate) waiters: Vec<slot::Sender<ExitReason>>,
    pub(crate) children: Vec<ChildInfo>,
}

/// A process, its actor's type forgotten.
pub(crate) trait Process: Send + Sync {
    fn pid(&self) -> Pid;
    fn serial(&self) -> u64;
    fn kind(&self) -> &'static str;
    fn parent(&self) -> Option<Pid>;
    /// Who gives the process its turns.
    fn scheduler(&self) -> &Scheduler;
    /// Gives the process its turn. The count that it is called with stays: it is the process's own.
    fn turn(self: Arc<Self>);
    /// Queues `signal`; gives it back if the process is gone.
    fn signal(&self, signal: Signal) -> Result<(), Signal>;
    /// Queues a message of another node, or gives back who called, if somebody did, and says why.
    fn try_deliver(
        &self,
        inbound: Inbound,
        filling: Filling,
    ) -> Result<Delivered, Box<(Option<RemoteCaller>, CallError)>>;
    /// Notes that other nodes were told that the mailbox is full. Says whether they are to be told at once that it has room.
    fn is_pressed(&self) -> bool;
    /// The ties of the process if it has any; whoever holds this sends nothing.
    fn lock_ties(&self) -> MutexGuard<'_, Option<Box<Ties>>>;
    fn marks(&self) -> &Marks;
    fn exit_reason(&self) -> Option<&ExitReason>;
    /// The type of the message in hand.
    fn handling(&self) -> Option<&'static str>;
    fn status(&self) -> Status;
    fn queue_len(&self) -> usize;
    /// How many messages were handled, refused and dropped.
    fn counts(&self) -> (u64, u64, u64);
    /// Drops what the process has left, after which it never has a turn: its runtime is gone.
    fn abandon(self: Arc<Self>);
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl dyn Process + '_ {
    /// Makes the process some ties if it has none, and changes them.
    pub(crate) fn tie<T>(&self, change: impl FnOnce(&mut Ties) -> T) -> T {
        change(self.lock_ties().get_or_insert_default())
    }
}

/// How far a message may fill a mailbox whose senders wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// As far as its limit.
    ToTheBrim,
    /// As far again: its sender hears only later that it is full.
    Beyond,
}

/// Where a message found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Within the limit.
    Within,
    /// Beyond it.
    Beyond,
}

/// What is true of few processes, so that the others are spared a look.
#[derive(Default)]
pub(crate) struct Marks {
    /// It is tied to processes of other nodes.
    pub(crate) has_foreign_ties: AtomicBool,
    /// It has a name, or had one.
    pub(crate) has_name: AtomicBool,
    /// A signal ends it; set before its handler's future is dropped.
    pub(crate) is_dying: AtomicBool,
    /// It takes no message until it is resumed.
    pub(crate) is_suspended: AtomicBool,
}

pub(crate) struct Cell<A: Actor> {
    pub(crate) mailbox: Mailbox<Item<A>>,
    pub(crate) credits: Credits,
    pub(crate) word: Word,
    pub(crate) marks: Marks,
    /// Messages handled; written by its own turns alone.
    pub(crate) handled: AtomicU64,
    /// Credits of messages that were taken, not given back yet; written by its own turns alone.
    pub(crate) gathered: AtomicU32,
    pub(crate) system: System,
    serial: u64,
    /// The serial of who started it with a link; 0 if nobody did. A parent is of the same node.
    parent: u64,
    ties: Mutex<Option<Box<Ties>>>,
    exit: OnceLock<Box<ExitReason>>,
    pub(crate) handling: Handling<A>,
    pub(crate) own: Own<A>,
}

impl<A: Actor> Cell<A> {
    /// Makes a process that has not begun.
    pub(crate) fn new(
        system: System,
        parent: Option<Pid>,
        (mailbox_messages_max, overflow): (u32, Overflow),
        birth: impl Birth<A>,
        course: Course<A>,
    ) -> Arc<Self> {
        let serial = system.fresh_pid().serial;
        let cell = Self {
            mailbox: Mailbox::new(),
            credits: Credits::new(mailbox_messages_max, overflow),
            word: Word::new(),
            marks: Marks::default(),
            handled: AtomicU64::new(0),
            gathered: AtomicU32::new(0),
            system,
            serial,
            parent: parent.map_or(0, |parent| parent.serial),
            ties: Mutex::default(),
            exit: OnceLock::new(),
            handling: Handling::nothing(),
            own: Own::new(),
        };
        Own::prepare(cell, birth, course)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid { serial: self.serial, ..self.system.root() }
    }

    pub(crate) fn parent(&self) -> Option<Pid> {
        (self.parent != 0).then(|| Pid { serial: self.parent, ..self.system.root() })
    }

    /// Queues an item, which has a credit if it is a message; gives it back if the process is gone.
    pub(crate) fn push(&self, item: Item<A>) -> Result<(), Item<A>> {
        if self.mailbox.push(item)? == Pushed::TakerSleeps {
            Own::wake(self);
        }
        Ok(())
    }

    /// Queues a message if the policy of the mailbox lets it in at once.
    ///
    /// # Errors
    /// [`CallError::NoProc`], [`CallError::Overloaded`].
    pub(crate) fn admit_now(&self, message: impl FnOnce() -> Item<A>) -> Result<(), CallError> {
        match self.admit()? {
            Admission::Granted => self.push(message()).map_err(|_| CallError::NoProc),
            Admission::Dropped => Ok(()),
            Admission::Wait => {
                self.credits.count_refused();
                Err(CallError::Overloaded)
            }
            Admission::Refused | Admission::Stop => Err(CallError::Overloaded),
        }
    }

    /// Takes a credit for one message, or does what the policy of the mailbox says.
    ///
    /// # Errors
    /// [`CallError::NoProc`].
    pub(crate) fn admit(&self) -> Result<Admission, CallError> {
        let admission = self.credits.admit()?;
        if admission == Admission::Stop {
            let (pid, kind) = (self.pid(), self.kind());
            tracing::error!(%pid, kind, "mailbox is full, actor is killed as its policy says");
            // Gone already if this fails.
            let _ = self.signal(Signal::Exit { from: pid, reason: ExitReason::Kill, kind: ExitKind::Sent });
        }
        Ok(admission)
    }

    pub(crate) fn tie<T>(&self, change: impl FnOnce(&mut Ties) -> T) -> T {
        change(self.lock_ties().get_or_insert_default())
    }

    /// Changes the ties if there are any.
    pub(crate) fn if_tied<T>(&self, change: impl FnOnce(&mut Ties) -> T) -> Option<T> {
        self.lock_ties().as_deref_mut().map(change)
    }

    /// Notes why the process ends; nobody can give it a name from here on.
    pub(crate) fn set_exit(&self, reason: &ExitReason) {
        self.exit.set(Box::new(reason.clone())).expect("a process ends once");
        // Whoever gives a name marks it first and looks for the reason then; this is the other way round.
        fence(Ordering::SeqCst);
        if self.marks.has_name.load(Ordering::Relaxed) {
            self.system.names_freed(self.pid());
        }
    }
}

impl<A: Actor> Cell<A> {
    /// Says that a signal ends the process, before what it had in hand is dropped.
    pub(crate) fn set_dying(&self) {
        self.marks.is_dying.store(true, Ordering::Relaxed);
    }
}

impl<A: Actor> Wake for Cell<A> {
    fn wake(self: Arc<Self>) {
        Own::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Own::wake(self);
    }
}

impl<A: Actor> Process for Cell<A> {
    fn pid(&self) -> Pid {
        self.pid()
    }

    fn serial(&self) -> u64 {
        self.serial
    }

    fn kind(&self) -> &'static str {
        std::any::type_name::<A>()
    }

    fn parent(&self) -> Option<Pid> {
        self.parent()
    }

    fn scheduler(&self) -> &Scheduler {
        self.system.scheduler()
    }

    fn turn(self: Arc<Self>) {
        Own::turn(&ManuallyDrop::new(self), |turn, cx| turn.take(cx));
    }

    fn signal(&self, signal: Signal) -> Result<(), Signal> {
        match self.mailbox.push(Item::signal(signal)) {
            Ok(Pushed::TakerSleeps) => {
                Own::wake(self);
                Ok(())
            }
            Ok(Pushed::Quietly) => Ok(()),
            Err(unsent) => match unsent.open() {
                Opened::Signal(signal) => Err(signal),
                Opened::Message(_) | Opened::Encoded(_) => unreachable!("a signal was sent"),
            },
        }
    }

    fn try_deliver(
        &self,
        inbound: Inbound,
        filling: Filling,
    ) -> Result<Delivered, Box<(Option<RemoteCaller>, CallError)>> {
        let pid = self.pid();
        if self.exit.get().is_some() {
            return Err(Box::new((inbound.caller, CallError::NoProc)));
        }
        let Some(entry) = table_of::<A>().entry(inbound.tag) else {
            tracing::warn!(%pid, kind = self.kind(), tag = inbound.tag, "message of another node is unknown");
            return Err(Box::new((inbound.caller, CallError::Incompatible)));
        };
        let mut delivered = Delivered::Within;
        // A lane must not wait for one slow actor, so what finds no credit is refused at once.
        match self.admit() {
            Ok(Admission::Granted) => {}
            Ok(Admission::Wait) if filling == Filling::Beyond && self.credits.overfill().is_ok() => {
                delivered = Delivered::Beyond;
            }
            Ok(admission) => {
                if admission == Admission::Wait {
                    self.credits.count_refused();
                }
                tracing::debug!(%pid, kind = self.kind(), "mailbox is full, message of another node refused");
                return Err(Box::new((inbound.caller, CallError::Overloaded)));
            }
            Err(error) => return Err(Box::new((inbound.caller, error))),
        }
        let reply_to = ReplyTo::remote(inbound.caller);
        let encoded = Encoded { decode: entry.decode, name: entry.name, body: Body::keep(inbound.body), reply_to };
        if let Err(unsent) = self.push(Item::encoded(encoded))
            && let Opened::Encoded(encoded) = unsent.open()
        {
            return Err(Box::new((encoded.reply_to.into_remote(), CallError::NoProc)));
        }
        Ok(delivered)
    }

    fn is_pressed(&self) -> bool {
        self.credits.press();
        self.credits.is_relieved()
    }

    fn lock_ties(&self) -> MutexGuard<'_, Option<Box<Ties>>> {
        self.ties.lock().expect("nothing panics under this lock")
    }

    fn marks(&self) -> &Marks {
        &self.marks
    }

    fn exit_reason(&self) -> Option<&ExitReason> {
        self.exit.get().map(|reason| &**reason)
    }

    fn handling(&self) -> Option<&'static str> {
        self.handling.name()
    }

    fn status(&self) -> Status {
        match self.word.is_running() {
            _ if self.marks.is_suspended.load(Ordering::Relaxed) => Status::Suspended,
            Some(true) => Status::Running,
            Some(false) => Status::Ready,
            None => Status::Waiting,
        }
    }

    fn queue_len(&self) -> usize {
        self.credits.waiting().saturating_sub(self.gathered.load(Ordering::Relaxed)) as usize
    }

    fn counts(&self) -> (u64, u64, u64) {
        let (refused, dropped) = self.credits.losses();
        (self.handled.load(Ordering::Relaxed), refused, dropped)
    }

    fn abandon(self: Arc<Self>) {
        Own::abandon(&self);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
