//! One queue for everything that reaches a process: anybody pushes, its own task takes.
//!
//! A stack of nodes that the taker takes as a whole and turns round, so that it comes out in the order in which it went
//! in. One word tells the whole state: empty, empty with a taker that sleeps, closed, or the newest node. So closing and
//! pushing can't miss each other: what is pushed is either taken by whoever closed or comes back to whoever pushed.
//!
//! Invariants: a node is owned by the stack from a successful push until it is taken, and by nobody else; `next` of a
//! node is written before it is published and read after it is taken.
#![expect(unsafe_code, reason = "an intrusive lock-free stack; ADR 0023")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;

struct Node<T> {
    next: *mut Self,
    value: T,
}

/// The queue of one process.
pub(crate) struct Mailbox<T> {
    head: AtomicPtr<Node<T>>,
    taker: AtomicWaker,
}

/// What was in the queue, oldest first.
pub(crate) struct Batch<T> {
    first: *mut Node<T>,
}

// SAFETY: the mailbox owns its values and hands each to one thread; it gives no references to them.
unsafe impl<T: Send> Send for Mailbox<T> {}
// SAFETY: as above; all changes of `head` are atomic.
unsafe impl<T: Send> Sync for Mailbox<T> {}
// SAFETY: a batch owns its nodes alone.
unsafe impl<T: Send> Send for Batch<T> {}

/// Empty, and the taker wants to be woken by the next push. No node has this address: nodes are aligned.
const fn idle<T>() -> *mut Node<T> {
    ptr::without_provenance_mut(1)
}

/// Closed for ever.
const fn closed<T>() -> *mut Node<T> {
    ptr::without_provenance_mut(2)
}

fn is_node<T>(head: *mut Node<T>) -> bool {
    head.addr() > closed::<T>().addr()
}

impl<T> Mailbox<T> {
    pub(crate) const fn new() -> Self {
        const { assert!(align_of::<Node<T>>() > 2, "the small addresses must be free for the marks") };
        Self { head: AtomicPtr::new(ptr::null_mut()), taker: AtomicWaker::new() }
    }

    /// Puts `value` behind all that was pushed before; gives it back if the queue is closed.
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let node = Box::into_raw(Box::new(Node { next: ptr::null_mut(), value }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                // SAFETY: the node was made above and never published.
                return Err(unsafe { Box::from_raw(node) }.value);
            }
            let next = if is_node(head) { head } else { ptr::null_mut() };
            // SAFETY: the node is not published yet, so nobody else sees it.
            unsafe { (*node).next = next };
            // Acquire: whoever finds the taker asleep must see the waker that it left.
            match self.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if head == idle() => {
                    self.taker.wake();
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(changed) => head = changed,
            }
        }
    }

    /// Takes all that is there.
    pub(crate) fn take(&self) -> Batch<T> {
        let head = self.head.load(Ordering::Relaxed);
        if !is_node(head) {
            return Batch::default();
        }
        // Only a taker replaces a node by something else, so what is swapped out is a node or, with another taker, null.
        turn_round(self.head.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Lets the next push wake `waker`; says no if there is something to take, or nothing ever will be.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        self.taker.register(waker);
        match self.head.compare_exchange(ptr::null_mut(), idle(), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => true,
            Err(head) => head == idle(),
        }
    }

    /// Drops the waker of a taker that will never take.
    pub(crate) fn forget_taker(&self) {
        drop(self.taker.take());
    }

    /// Refuses all pushes from here on, and takes what is there.
    pub(crate) fn close(&self) -> Batch<T> {
        turn_round(self.head.swap(closed(), Ordering::AcqRel))
    }
}

/// Reverses the list that begins with `newest`.
fn turn_round<T>(newest: *mut Node<T>) -> Batch<T> {
    let (mut from, mut first) = (newest, ptr::null_mut());
    while is_node(from) {
        // SAFETY: the nodes were taken off the stack as a whole and belong to this function alone.
        let next = unsafe { std::mem::replace(&mut (*from).next, first) };
        (first, from) = (from, next);
    }
    Batch { first }
}

impl<T> Batch<T> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_null()
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { first: ptr::null_mut() }
    }
}

impl<T> Iterator for Batch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.first.is_null() {
            return None;
        }
        // SAFETY: made by `Box::into_raw`, owned by this batch and left out of it from here on.
        let node = unsafe { Box::from_raw(self.first) };
        self.first = node.next;
        Some(node.value)
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mailbox = Mailbox::new();
        (0..5).for_each(|n| mailbox.push(n).unwrap());
        let mut batch = mailbox.take();
        mailbox.push(5).unwrap();
        assert_eq!(batch.by_ref().take(2).collect::<Vec<_>>(), [0, 1]);
        drop(batch);
        assert_eq!(mailbox.take().collect::<Vec<_>>(), [5]);
        assert_eq!(mailbox.take().count(), 0);
    }

    #[test]
    fn only_the_push_that_finds_the_taker_asleep_wakes_it() {
        let (mailbox, (count, waker)) = (Mailbox::new(), waker());
        mailbox.push(1).unwrap();
        assert!(!mailbox.park(&waker), "there is something to take");
        mailbox.take().for_each(drop);
        assert!(mailbox.park(&waker) && mailbox.park(&waker));
        assert_eq!(mailbox.take().count(), 0);
        mailbox.push(2).unwrap();
        mailbox.push(3).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn closed_queue_gives_back_what_is_pushed() {
        let (mailbox, (_, waker)) = (Mailbox::new(), waker());
        mailbox.push(1).unwrap();
        assert_eq!(mailbox.close().collect::<Vec<_>>(), [1]);
        assert_eq!(mailbox.push(2), Err(2));
        assert_eq!(mailbox.take().count(), 0);
        assert!(!mailbox.park(&waker));
    }

    /// Would fail, or be reported by a sanitizer, if a node were lost, taken twice or left behind.
    #[test]
    fn many_push_while_one_takes_and_closes() {
        for round in 0..50 {
            let mailbox = Arc::new(Mailbox::new());
            let pushers: Vec<_> = (0..4_u64)
                .map(|pusher| {
                    let mailbox = Arc::clone(&mailbox);
                    std::thread::spawn(move || {
                        (0..500).filter(|n| mailbox.push((pusher, Box::new(*n))).is_ok()).count()
                    })
                })
                .collect();
            let mut seen = Vec::new();
            while seen.len() < 900 {
                seen.extend(mailbox.take());
            }
            seen.extend(mailbox.close());
            let pushed: usize = pushers.into_iter().map(|p| p.join().unwrap()).sum();
            assert_eq!(seen.len(), pushed, "round {round}");
            for pusher in 0..4 {
                let of: Vec<_> = seen.iter().filter(|(p, _)| *p == pusher).map(|(_, n)| **n).collect();
                assert_eq!(of, (0..of.len()).collect::<Vec<_>>(), "round {round}");
            }
        }
    }
}
