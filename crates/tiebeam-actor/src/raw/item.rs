//! What lies in a mailbox: a message or a signal, in one piece of memory with the link of the list.
//!
//! Invariant: a node begins with [`Head`], and the table in its head is the one made for its payload; so whoever has the
//! table knows the type.

use std::alloc::Layout;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::task::Context;

use super::mailbox::{Link, Linked};
use super::pool::{self, Scratch};
use super::running::{Polled, Running};
use crate::cell::Signal;
use crate::message::Encoded;
use crate::{Actor, CallError, Ctx, Pid};

/// A message of a type that its actor handles.
pub(crate) trait Payload<A: Actor>: Sized + Send + 'static {
    /// Handles the message, to its answer.
    fn handle<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> impl Future<Output = ()> + Send + 'a;

    /// Says whether the sender still waits for an answer, or never did.
    fn is_wanted(&self) -> bool;

    /// Tells the caller, if there is one, why there will be no answer.
    fn refuse(self, error: CallError);

    /// Whether the answer to [`Payload::is_wanted`] is yes in any case.
    const IS_ALWAYS_WANTED: bool = false;

    /// The message's type, for people.
    fn name() -> &'static str;
}

/// Something in a mailbox; owned.
pub(crate) struct Item<A: Actor>(NonNull<Head<A>>);

/// An item whose payload is a [`Payload`].
pub(crate) struct Message<A: Actor>(Item<A>);

/// What an item turns out to be.
pub(crate) enum Opened<A: Actor> {
    Message(Message<A>),
    Encoded(Encoded<A>),
    Signal(Signal),
}

#[repr(C)]
struct Head<A: Actor> {
    link: Link,
    table: &'static PayloadTable<A>,
}

#[repr(C)]
struct Node<A: Actor, P> {
    head: Head<A>,
    payload: P,
}

/// What can be done with a payload whose type is forgotten.
pub(crate) struct PayloadTable<A: Actor> {
    kind: Kind,
    is_always_wanted: bool,
    drop: unsafe fn(NonNull<Head<A>>),
    is_wanted: unsafe fn(NonNull<Head<A>>) -> bool,
    refuse: unsafe fn(NonNull<Head<A>>, CallError),
    handle: Handle<A>,
    name: fn() -> &'static str,
}

type Handle<A> = unsafe fn(NonNull<Head<A>>, *mut A, *mut Ctx<A>, &mut Context<'_>, &mut Scratch) -> Polled;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    /// A message that goes before the others.
    Urgent,
    /// A message that goes before all others, to suspended actors too, and needs no credit.
    System,
    Encoded,
    Signal,
}

// SAFETY: owns its payload, and payloads are `Send`.
unsafe impl<A: Actor> Send for Item<A> {}

// SAFETY: a node is valid until it is an item again, and aligned like the pointers in it.
unsafe impl<A: Actor> Linked for Item<A> {
    fn into_link(self) -> NonNull<Link> {
        ManuallyDrop::new(self).0.cast()
    }

    unsafe fn from_link(link: NonNull<Link>) -> Self {
        Self(link.cast())
    }
}

impl<A: Actor> Item<A> {
    #[inline]
    pub(crate) fn message<P: Payload<A>>(payload: P) -> Self {
        Self::new(payload, &Tables::<A, P>::MESSAGE)
    }

    pub(crate) fn urgent<P: Payload<A>>(payload: P) -> Self {
        Self::new(payload, &Tables::<A, P>::URGENT)
    }

    pub(crate) fn system<P: Payload<A>>(payload: P) -> Self {
        Self::new(payload, &Tables::<A, P>::SYSTEM)
    }

    pub(crate) fn encoded(encoded: Encoded<A>) -> Self {
        Self::new(encoded, &Tables::<A, Encoded<A>>::ENCODED)
    }

    pub(crate) fn signal(signal: Signal) -> Self {
        Self::new(signal, &Tables::<A, Signal>::SIGNAL)
    }

    #[inline]
    fn new<P>(payload: P, table: &'static PayloadTable<A>) -> Self {
        let node = pool::take(Layout::new::<Node<A, P>>()).cast::<Node<A, P>>();
        // SAFETY: the memory has this layout and belongs to nobody else.
        unsafe { node.write(Node { head: Head { link: Link::new(), table }, payload }) };
        Self(node.cast())
    }

    fn table(&self) -> &'static PayloadTable<A> {
        // SAFETY: the node is alive while it is owned by an item.
        unsafe { self.0.as_ref() }.table
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.table().kind
    }

    /// Says whether it holds a credit.
    pub(crate) fn has_credit(&self) -> bool {
        matches!(self.kind(), Kind::Message | Kind::Urgent | Kind::Encoded)
    }

    /// Says whether this is the timer `id` that went off.
    pub(crate) fn is_timer(&self, id: u64) -> bool {
        matches!(self.signal_ref(), Some(Signal::Timer { id: timer, .. }) if *timer == id)
    }

    /// Says whether this ends its process in an orderly way: it is to stop, or its parent ended.
    pub(crate) fn is_stop(&self, parent: Option<Pid>) -> bool {
        match self.signal_ref() {
            Some(Signal::Stop { .. }) => true,
            Some(Signal::Exit { from, .. }) => parent == Some(*from),
            _ => false,
        }
    }

    fn signal_ref(&self) -> Option<&Signal> {
        // SAFETY: the kind says what the payload is.
        (self.kind() == Kind::Signal).then(|| unsafe { &self.0.cast::<Node<A, Signal>>().as_ref().payload })
    }

    /// Returns the message if it is one of this node, and the item if not.
    #[inline]
    pub(crate) fn into_message(self) -> Result<Message<A>, Self> {
        match self.kind() {
            Kind::Message | Kind::Urgent | Kind::System => Ok(Message(self)),
            Kind::Encoded | Kind::Signal => Err(self),
        }
    }

    #[inline]
    pub(crate) fn open(self) -> Opened<A> {
        match self.table().kind {
            Kind::Message | Kind::Urgent | Kind::System => Opened::Message(Message(self)),
            // SAFETY: the kind says what the payload is.
            Kind::Encoded => Opened::Encoded(unsafe { take(ManuallyDrop::new(self).0) }),
            // SAFETY: as above.
            Kind::Signal => Opened::Signal(unsafe { take(ManuallyDrop::new(self).0) }),
        }
    }
}

impl<A: Actor> Message<A> {
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        // SAFETY: the table is that of the payload.
        self.0.table().is_always_wanted || unsafe { (self.0.table().is_wanted)(self.0.0) }
    }

    pub(crate) fn refuse(self, error: CallError) {
        // SAFETY: as above; the node is given up.
        unsafe { (self.0.table().refuse)(ManuallyDrop::new(self.0).0, error) }
    }

    pub(crate) fn table(&self) -> &'static PayloadTable<A> {
        self.0.table()
    }

    pub(crate) fn has_credit(&self) -> bool {
        self.0.has_credit()
    }

    pub(crate) fn name(&self) -> &'static str {
        (self.table().name)()
    }

    /// Makes the handler's future and polls it.
    ///
    /// # Safety
    /// Both pointers are valid and nobody else uses what they point to until the future is dropped.
    #[inline]
    pub(super) unsafe fn handle(
        self,
        actor: *mut A,
        ctx: *mut Ctx<A>,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Polled {
        // SAFETY: the table is that of the payload, the node is given up, and the pointers are as promised.
        unsafe { (self.0.table().handle)(ManuallyDrop::new(self.0).0, actor, ctx, cx, scratch) }
    }
}

impl<A: Actor> Drop for Item<A> {
    fn drop(&mut self) {
        // SAFETY: the table is that of the payload, and the node is dropped once.
        unsafe { (self.table().drop)(self.0) }
    }
}

/// Moves the payload out of a node and frees the node.
///
/// # Safety
/// The node's payload is a `P`, and the node is used no more.
#[inline]
unsafe fn take<A: Actor, P>(node: NonNull<Head<A>>) -> P {
    let node = node.cast::<Node<A, P>>();
    // SAFETY: as promised; the payload is read once and the memory came from the pool with this layout.
    unsafe {
        let payload = ptr::read(&raw const (*node.as_ptr()).payload);
        pool::give(node.cast(), Layout::new::<Node<A, P>>());
        payload
    }
}

/// # Safety
/// As [`take`].
unsafe fn discard<A: Actor, P>(node: NonNull<Head<A>>) {
    // SAFETY: as promised.
    drop(unsafe { take::<A, P>(node) });
}

struct Tables<A, P>(PhantomData<(A, P)>);

impl<A: Actor, P: Payload<A>> Tables<A, P> {
    const MESSAGE: PayloadTable<A> = Self::of(Kind::Message);
    const URGENT: PayloadTable<A> = Self::of(Kind::Urgent);
    const SYSTEM: PayloadTable<A> = Self::of(Kind::System);

    const fn of(kind: Kind) -> PayloadTable<A> {
        PayloadTable {
            kind,
            is_always_wanted: P::IS_ALWAYS_WANTED,
            drop: discard::<A, P>,
            // SAFETY: called with a node whose payload is a `P`.
            is_wanted: |node| unsafe { (*node.cast::<Node<A, P>>().as_ptr()).payload.is_wanted() },
            // SAFETY: called with a node whose payload is a `P`, which is given up.
            refuse: |node, error| unsafe { take::<A, P>(node) }.refuse(error),
            // SAFETY: as above, and the caller promised the pointers.
            handle: |node, actor, ctx, cx, scratch| unsafe {
                Running::start(|| take::<A, P>(node).handle(&mut *actor, &mut *ctx), cx, scratch)
            },
            name: P::name,
        }
    }
}

impl<A: Actor> Tables<A, Encoded<A>> {
    const ENCODED: PayloadTable<A> = PayloadTable {
        kind: Kind::Encoded,
        is_always_wanted: false,
        drop: discard::<A, Encoded<A>>,
        is_wanted: |_| unreachable!("asked only of messages"),
        refuse: |_, _| unreachable!("asked only of messages"),
        handle: |_, _, _, _, _| unreachable!("asked only of messages"),
        name: || "a message of another node",
    };
}

impl<A: Actor> Tables<A, Signal> {
    const SIGNAL: PayloadTable<A> = PayloadTable {
        kind: Kind::Signal,
        is_always_wanted: false,
        drop: discard::<A, Signal>,
        is_wanted: |_| unreachable!("asked only of messages"),
        refuse: |_, _| unreachable!("asked only of messages"),
        handle: |_, _, _, _, _| unreachable!("asked only of messages"),
        name: || "a signal",
    };
}

/// Which type of message a process has in hand, for others to see.
pub(crate) struct Handling<A: Actor>(AtomicPtr<PayloadTable<A>>);

impl<A: Actor> Handling<A> {
    pub(crate) const fn nothing() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn set(&self, table: Option<&'static PayloadTable<A>>) {
        let table = table.map_or(ptr::null_mut(), |table| ptr::from_ref(table).cast_mut());
        self.0.store(table, Ordering::Relaxed);
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        // SAFETY: null, or a table that lives for ever and is never written.
        unsafe { self.0.load(Ordering::Relaxed).as_ref() }.map(|table| (table.name)())
    }
}
