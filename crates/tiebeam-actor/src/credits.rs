//! How many messages wait for a process, and whether one more may.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use tokio::sync::Notify;

/// Set once no message is taken any more.
const CLOSED: u32 = 1 << 31;

/// How many credits a process may gather before it gives them back, at most.
const GATHERED_MAX: u32 = 64;

/// The credits of one mailbox. Signals and replies need none.
pub(crate) struct Credits {
    /// Messages that wait, and [`CLOSED`].
    waiting: AtomicU32,
    limit: u32,
    /// Where senders wait for room; made by the first that does.
    room: OnceLock<Box<Room>>,
}

#[derive(Default)]
struct Room {
    senders: AtomicU32,
    notify: Notify,
}

/// Why there is no credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCredit {
    Full,
    Closed,
}

impl Credits {
    /// Lets `limit` messages wait.
    pub(crate) const fn new(limit: u32) -> Self {
        let limit = if limit < CLOSED { limit } else { CLOSED - 1 };
        Self { waiting: AtomicU32::new(0), limit, room: OnceLock::new() }
    }

    /// Takes a credit for one message.
    pub(crate) fn try_take(&self) -> Result<(), NoCredit> {
        self.take_below(self.limit)
    }

    /// Takes a credit though there may be none: for what an actor sends to itself.
    pub(crate) fn overdraw(&self) -> Result<(), NoCredit> {
        self.take_below(CLOSED - 1)
    }

    /// Takes a credit, and waits for one. Cancel safe.
    pub(crate) async fn take(&self) -> Result<(), NoCredit> {
        struct Waits<'a>(&'a Room);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.senders.fetch_sub(1, Ordering::Relaxed);
            }
        }
        loop {
            match self.try_take() {
                Err(NoCredit::Full) => {}
                taken => return taken,
            }
            let room = self.room.get_or_init(Box::default);
            room.senders.fetch_add(1, Ordering::Relaxed);
            let _waits = Waits(room);
            let mut notified = std::pin::pin!(room.notify.notified());
            notified.as_mut().enable();
            // Whoever gives credits back looks for waiters after it, and this looks for credits after it waits: one of
            // the two sees the other.
            fence(Ordering::SeqCst);
            match self.try_take() {
                Err(NoCredit::Full) => notified.await,
                taken => return taken,
            }
        }
    }

    /// How many credits to gather before they are given back: a word that senders write to is not touched for each
    /// message, and yet they see room long before the queue is empty.
    pub(crate) fn gather(&self) -> u32 {
        (self.limit / 8).clamp(1, GATHERED_MAX)
    }

    /// Gives the credits of taken messages back.
    pub(crate) fn give_back(&self, count: u32) {
        self.waiting.fetch_sub(count, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if let Some(room) = self.room.get() {
            for _ in 0..room.senders.load(Ordering::Relaxed).min(count) {
                room.notify.notify_one();
            }
        }
    }

    /// Grants nothing any more; who waits is told.
    pub(crate) fn close(&self) {
        self.waiting.fetch_or(CLOSED, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if let Some(room) = self.room.get() {
            room.notify.notify_waiters();
        }
    }

    /// How many messages wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed) & !CLOSED
    }

    fn take_below(&self, limit: u32) -> Result<(), NoCredit> {
        let take = |waiting: u32| (waiting < limit).then(|| waiting + 1);
        match self.waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(waiting) if waiting & CLOSED != 0 => Err(NoCredit::Closed),
            Err(_) => Err(NoCredit::Full),
        }
    }
}
