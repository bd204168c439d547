use super::*;

#[cfg(not(tiebeam_loom))]
mod alone {
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

    fn poll<T>(receiver: &mut Receiver<T>, count: &Arc<Count>) -> Poll<Option<T>> {
        let waker = Waker::from(Arc::clone(count));
        Pin::new(receiver).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn value_reaches_whoever_waits_and_wakes_it_once() {
        let (count, (sender, mut receiver)) = (Arc::new(Count::default()), slot());
        assert!(poll(&mut receiver, &count).is_pending() && poll(&mut receiver, &count).is_pending());
        assert!(!sender.is_closed());
        sender.send(Box::new(7));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut receiver, &count), Poll::Ready(Some(Box::new(7))));
        assert_eq!(Arc::strong_count(&count), 1, "the slot keeps no waker");
    }

    #[test]
    fn last_waker_is_woken() {
        let (one, two) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (sender, mut receiver) = slot::<u8>();
        assert!(poll(&mut receiver, &one).is_pending() && poll(&mut receiver, &two).is_pending());
        drop(sender);
        assert_eq!((one.0.load(Ordering::SeqCst), two.0.load(Ordering::SeqCst)), (0, 1));
        assert_eq!(poll(&mut receiver, &two), Poll::Ready(None));
    }

    #[test]
    fn sender_sees_that_the_receiver_is_gone() {
        let (sender, receiver) = slot();
        drop(receiver);
        assert!(sender.is_closed());
        sender.send(Box::new(1));
    }

    #[test]
    fn value_that_nobody_takes_is_dropped() {
        let value = Arc::new(());
        let (sender, receiver) = slot();
        sender.send(Arc::clone(&value));
        drop(receiver);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    /// Fails, or is reported by a sanitizer, if an end touches what the other freed.
    #[test]
    fn ends_live_in_two_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for round in 0..2000_u64 {
            let (sender, receiver) = slot();
            let thread = std::thread::spawn(move || {
                if !round.is_multiple_of(3) {
                    sender.send(Box::new(round));
                }
            });
            if !round.is_multiple_of(5) {
                let value = runtime.block_on(receiver);
                assert_eq!(value.map(|value| *value), (!round.is_multiple_of(3)).then_some(round));
            }
            thread.join().unwrap();
        }
    }
}

#[cfg(tiebeam_loom)]
mod with_loom {
    use loom::future::block_on;
    use loom::thread;

    use super::*;

    /// Fails if the receiver sleeps though the value is there, or if the value is lost.
    #[test]
    fn sent_value_arrives() {
        loom::model(|| {
            let (sender, receiver) = slot();
            let thread = thread::spawn(move || sender.send(Box::new(7)));
            assert_eq!(block_on(receiver), Some(Box::new(7)));
            thread.join().unwrap();
        });
    }

    /// Fails if a receiver waits for a sender that is gone.
    #[test]
    fn dropped_sender_is_noticed() {
        loom::model(|| {
            let (sender, receiver) = slot::<Box<u8>>();
            let thread = thread::spawn(move || drop(sender));
            assert_eq!(block_on(receiver), None);
            thread.join().unwrap();
        });
    }

    /// Fails if the memory or the value is freed twice or never.
    #[test]
    fn both_ends_leave_at_once() {
        loom::model(|| {
            let (sender, mut receiver) = slot();
            let thread = thread::spawn(move || sender.send(Box::new(7)));
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut receiver).poll(&mut cx);
            let _ = Pin::new(&mut receiver).poll(&mut cx);
            drop(receiver);
            thread.join().unwrap();
        });
    }
}
