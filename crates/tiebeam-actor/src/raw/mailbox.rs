//! One queue for everything that reaches a process: anybody pushes, its own turn takes.
//!
//! A stack of nodes that the taker takes as a whole and turns round, so that it comes out in the order in which it went
//! in. One word tells the whole state: empty, empty with a taker that sleeps, closed, or the newest node. So closing and
//! pushing can't miss each other: what is pushed is either taken by whoever closed or comes back to whoever pushed.
//!
//! Invariants: a node is owned by the stack from a successful push until it is taken, and by nobody else; `next` of a
//! node is written before it is published and read after it is taken.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::sync::{AtomicPtr, Ordering};

/// The part of a node that lists use; a node begins with it.
#[repr(C)]
pub(crate) struct Link {
    next: *mut Self,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self { next: ptr::null_mut() }
    }
}

/// What can be put into a queue: an owned node that begins with a [`Link`].
///
/// # Safety
/// The pointer stays valid until it is given back, and is aligned to more than the marks below.
pub(crate) unsafe trait Linked: Sized + Send {
    fn into_link(self) -> NonNull<Link>;

    /// # Safety
    /// `link` came from `into_link` and is given back once.
    unsafe fn from_link(link: NonNull<Link>) -> Self;
}

/// The queue of one process.
pub(crate) struct Mailbox<T: Linked> {
    head: AtomicPtr<Link>,
    values: PhantomData<T>,
}

/// What was in the queue, oldest first. Also the queue of what one process has taken and not handled yet.
pub(crate) struct Queue<T: Linked> {
    first: *mut Link,
    last: *mut Link,
    values: PhantomData<T>,
}

// SAFETY: the mailbox owns its nodes and hands each to one thread; all changes of `head` are atomic.
unsafe impl<T: Linked> Send for Mailbox<T> {}
// SAFETY: as above.
unsafe impl<T: Linked> Sync for Mailbox<T> {}
// SAFETY: a queue owns its nodes alone.
unsafe impl<T: Linked> Send for Queue<T> {}
// SAFETY: whoever only shares a queue sees whether it is empty, and no value.
unsafe impl<T: Linked> Sync for Queue<T> {}

/// Empty, and the taker wants to be woken by the next push. No node has this address: nodes are aligned.
const IDLE: *mut Link = ptr::without_provenance_mut(1);

/// Closed for ever.
const CLOSED: *mut Link = ptr::without_provenance_mut(2);

fn is_node(head: *mut Link) -> bool {
    head.addr() > CLOSED.addr()
}

/// Whether a push must wake the taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    Quietly,
    TakerSleeps,
}

impl<T: Linked> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), values: PhantomData }
    }

    /// Puts `value` behind all that was pushed before; gives it back if the queue is closed.
    #[inline]
    pub(crate) fn push(&self, value: T) -> Result<Pushed, T> {
        let node = value.into_link();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                // SAFETY: made above and never published.
                return Err(unsafe { T::from_link(node) });
            }
            let next = if is_node(head) { head } else { ptr::null_mut() };
            // SAFETY: the node is not published yet, so nobody else sees it.
            unsafe { (*node.as_ptr()).next = next };
            match self.head.compare_exchange_weak(head, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) if head == IDLE => return Ok(Pushed::TakerSleeps),
                Ok(_) => return Ok(Pushed::Quietly),
                Err(changed) => head = changed,
            }
        }
    }

    /// Says whether there is something to take.
    #[inline]
    pub(crate) fn has_arrivals(&self) -> bool {
        is_node(self.head.load(Ordering::Relaxed))
    }

    /// Takes all that is there.
    #[inline]
    pub(crate) fn take(&self) -> Queue<T> {
        let head = self.head.load(Ordering::Relaxed);
        if !is_node(head) {
            return Queue::default();
        }
        // Only the taker replaces a node by something else, so what is swapped out is a node.
        turn_round(self.head.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Lets the next push say that the taker sleeps; says no if there is something to take, or nothing ever will be.
    #[inline]
    pub(crate) fn park(&self) -> bool {
        match self.head.compare_exchange(ptr::null_mut(), IDLE, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(head) => head == IDLE,
        }
    }

    /// Refuses all pushes from here on, and takes what is there.
    pub(crate) fn close(&self) -> Queue<T> {
        turn_round(self.head.swap(CLOSED, Ordering::AcqRel))
    }
}

/// Reverses the list that begins with `newest`.
fn turn_round<T: Linked>(newest: *mut Link) -> Queue<T> {
    let (mut from, mut first) = (newest, ptr::null_mut());
    let last = if is_node(newest) { newest } else { ptr::null_mut() };
    while is_node(from) {
        // SAFETY: the nodes were taken off the stack as a whole and belong to this function alone.
        let next = unsafe { std::mem::replace(&mut (*from).next, first) };
        (first, from) = (from, next);
    }
    Queue { first, last, values: PhantomData }
}

impl<T: Linked> Queue<T> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    pub(crate) fn push(&mut self, value: T) {
        let node = value.into_link().as_ptr();
        // SAFETY: the node was just given to this queue.
        unsafe { (*node).next = ptr::null_mut() };
        if self.first.is_null() {
            self.first = node;
        } else {
            // SAFETY: `last` is a node of this queue while there is a first one.
            unsafe { (*self.last).next = node };
        }
        self.last = node;
    }
}

impl<T: Linked> Queue<T> {
    /// Takes the first value out of which `is_it` is true, and leaves the others in their order.
    pub(crate) fn take_first(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let mut before = Self::default();
        let mut found = None;
        for value in self.by_ref() {
            if is_it(&value) {
                found = Some(value);
                break;
            }
            before.push(value);
        }
        before.append(std::mem::take(self));
        *self = before;
        found
    }

    /// Takes over the values at the front of `other` for which `is_it` is true, up to the first for which it isn't.
    pub(crate) fn take_front(&mut self, other: &mut Self, is_it: impl Fn(&T) -> bool) {
        let (mut last, mut rest) = (ptr::null_mut(), other.first);
        while let Some(node) = NonNull::new(rest) {
            // SAFETY: a node of `other`, looked at and left there.
            let value = ManuallyDrop::new(unsafe { T::from_link(node) });
            if !is_it(&value) {
                break;
            }
            last = rest;
            // SAFETY: as above.
            rest = unsafe { (*node.as_ptr()).next };
        }
        if last.is_null() {
            return;
        }
        // SAFETY: `last` is the last node that is taken.
        unsafe { (*last).next = ptr::null_mut() };
        let front = Self { first: other.first, last, values: PhantomData };
        other.first = rest;
        self.append(front);
    }

    fn append(&mut self, other: Self) {
        if other.first.is_null() {
            return;
        }
        let other = ManuallyDrop::new(other);
        if self.first.is_null() {
            self.first = other.first;
        } else {
            // SAFETY: `last` is a node of this queue while there is a first one; the others become nodes of it.
            unsafe { (*self.last).next = other.first };
        }
        self.last = other.last;
    }
}

impl<T: Linked> Default for Queue<T> {
    fn default() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut(), values: PhantomData }
    }
}

impl<T: Linked> Iterator for Queue<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let node = NonNull::new(self.first)?;
        // SAFETY: a node of this queue, left out of it from here on.
        unsafe {
            self.first = (*node.as_ptr()).next;
            Some(T::from_link(node))
        }
    }
}

impl<T: Linked> Drop for Queue<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<T: Linked> Drop for Mailbox<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

#[cfg(test)]
mod tests;
