use super::*;

/// A value in a node of its own.
#[repr(C)]
struct Boxed<V> {
    link: Link,
    value: V,
}

struct Owned<V>(Box<Boxed<V>>);

// SAFETY: its link is its own.
unsafe impl<V: Send> Send for Owned<V> {}

// SAFETY: a box is valid until it is made a box again, and `Boxed` is aligned like the pointer it begins with.
unsafe impl<V: Send> Linked for Owned<V> {
    fn into_link(self) -> NonNull<Link> {
        NonNull::from(Box::leak(self.0)).cast()
    }

    unsafe fn from_link(link: NonNull<Link>) -> Self {
        // SAFETY: made by `into_link`.
        Self(unsafe { Box::from_raw(link.as_ptr().cast()) })
    }
}

fn node<V>(value: V) -> Owned<V> {
    Owned(Box::new(Boxed { link: Link::new(), value }))
}

fn values<V: Send>(queue: Queue<Owned<V>>) -> Vec<V> {
    queue.map(|node| node.0.value).collect()
}

#[cfg(not(tiebeam_loom))]
mod alone {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mailbox = Mailbox::new();
        for n in 0..5 {
            assert_eq!(mailbox.push(node(n)).ok(), Some(Pushed::Quietly));
        }
        let mut queue = mailbox.take();
        let _ = mailbox.push(node(5));
        assert_eq!(queue.by_ref().take(2).map(|node| node.0.value).collect::<Vec<_>>(), [0, 1]);
        queue.push(node(6));
        assert_eq!(values(queue), [2, 3, 4, 6]);
        assert_eq!(values(mailbox.take()), [5]);
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn only_the_push_that_finds_the_taker_asleep_says_so() {
        let mailbox = Mailbox::new();
        let _ = mailbox.push(node(1));
        assert!(!mailbox.park(), "there is something to take");
        drop(mailbox.take());
        assert!(mailbox.park() && mailbox.park());
        assert!(mailbox.take().is_empty());
        assert_eq!(mailbox.push(node(2)).ok(), Some(Pushed::TakerSleeps));
        assert_eq!(mailbox.push(node(3)).ok(), Some(Pushed::Quietly));
    }

    #[test]
    fn closed_queue_gives_back_what_is_pushed() {
        let mailbox = Mailbox::new();
        let _ = mailbox.push(node(1));
        assert_eq!(values(mailbox.close()), [1]);
        assert_eq!(mailbox.push(node(2)).err().map(|node| node.0.value), Some(2));
        assert!(mailbox.take().is_empty() && !mailbox.park());
    }

    #[test]
    fn queue_that_was_emptied_can_be_filled_again() {
        let mut queue = Queue::default();
        for n in 0..3 {
            queue.push(node(n));
            assert_eq!(queue.next().map(|node| node.0.value), Some(n));
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn front_is_taken_over_up_to_the_first_that_does_not_fit() {
        for fit in 0..=3 {
            let (mut to, mut from) = (Queue::default(), Queue::default());
            to.push(node(9));
            (0..3).for_each(|n| from.push(node(n)));
            to.take_front(&mut from, |node| node.0.value < fit);
            from.push(node(3));
            to.push(node(8));
            assert_eq!(values(to), [vec![9], (0..fit).collect(), vec![8]].concat());
            assert_eq!(values(from), (fit..4).collect::<Vec<_>>());
        }
    }

    #[test]
    fn value_is_taken_from_the_middle() {
        for (wanted, rest) in [(0, [1, 2]), (1, [0, 2]), (2, [0, 1])] {
            let mut queue = Queue::default();
            (0..3).for_each(|n| queue.push(node(n)));
            assert_eq!(queue.take_first(|node| node.0.value == wanted).map(|node| node.0.value), Some(wanted));
            assert!(queue.take_first(|_| false).is_none());
            queue.push(node(9));
            assert_eq!(values(queue), [rest[0], rest[1], 9]);
        }
    }

    /// Fails, or is reported by a sanitizer, if a node is lost, taken twice or left behind.
    #[test]
    fn many_push_while_one_takes_and_closes() {
        for round in 0..50 {
            let mailbox = Arc::new(Mailbox::new());
            let pushers: Vec<_> = (0..4_u64)
                .map(|pusher| {
                    let mailbox = Arc::clone(&mailbox);
                    std::thread::spawn(move || {
                        (0..500).filter(|n| mailbox.push(node((pusher, Box::new(*n)))).is_ok()).count()
                    })
                })
                .collect();
            let mut seen = Vec::new();
            while seen.len() < 900 {
                seen.extend(values(mailbox.take()));
            }
            seen.extend(values(mailbox.close()));
            let pushed: usize = pushers.into_iter().map(|p| p.join().unwrap()).sum();
            assert_eq!(seen.len(), pushed, "round {round}");
            for pusher in 0..4 {
                let of: Vec<_> = seen.iter().filter(|(p, _)| *p == pusher).map(|(_, n)| **n).collect();
                assert_eq!(of, (0..of.len()).collect::<Vec<_>>(), "round {round}");
            }
        }
    }
}

#[cfg(tiebeam_loom)]
mod with_loom {
    use loom::sync::Arc;
    use loom::thread;

    use super::super::super::word::Word;
    use super::*;

    /// Fails if a value is lost or doubled when two push, or if neither wakes a taker that sleeps.
    #[test]
    fn two_push_to_a_sleeping_taker() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new());
            assert!(mailbox.park());
            let push = |n: u32| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.push(node(n)).ok() == Some(Pushed::TakerSleeps))
            };
            let (one, two) = (push(1), push(2));
            let woken = u32::from(one.join().unwrap()) + u32::from(two.join().unwrap());
            assert_eq!(woken, 1);
            let mut all = values(mailbox.take());
            all.sort_unstable();
            assert_eq!(all, [1, 2]);
        });
    }

    /// Fails if a push and a close miss each other.
    #[test]
    fn push_while_the_queue_is_closed() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new());
            let pusher = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.push(node(1)).is_ok())
            };
            let taken = values(mailbox.close()).len();
            let pushed = pusher.join().unwrap();
            assert_eq!(taken == 1, pushed);
        });
    }

    /// Fails if a process sleeps though something was pushed: the whole way from a push to the next turn.
    #[test]
    fn pushed_value_has_a_turn() {
        loom::model(|| {
            let shared = Arc::new((Mailbox::new(), Word::new()));
            assert!(shared.1.begin());
            let pusher = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let pushed = shared.0.push(node(1));
                    pushed.ok() == Some(Pushed::TakerSleeps) && shared.1.notify()
                })
            };
            let mut seen = 0;
            let mut turn = || loop {
                seen += values(shared.0.take()).len();
                if shared.0.park() {
                    return shared.1.sleep();
                }
            };
            let mut again = turn();
            let queued = pusher.join().unwrap();
            assert!(!(again && queued), "in two queues");
            again |= queued;
            if again {
                assert!(shared.1.begin());
                assert!(!turn());
            }
            assert_eq!(seen, 1);
        });
    }
}
