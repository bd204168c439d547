//! How many messages wait for a process, and whether one more may.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use tokio::sync::Notify;

/// Set once no message is taken any more.
const CLOSED: u32 = 1 << 31;

/// The credits of one mailbox. Signals and replies need none.
pub(crate) struct Credits {
    /// Messages that wait, and [`CLOSED`].
    waiting: AtomicU32,
    limit: u32,
    /// Senders that wait for room; made by the first that does.
    room: OnceLock<Box<Notify>>,
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
        loop {
            match self.try_take() {
                Err(NoCredit::Full) => {}
                taken => return taken,
            }
            let mut room = std::pin::pin!(self.room.get_or_init(Box::default).notified());
            room.as_mut().enable();
            // Whoever gives a credit back looks for waiters after it, and this looks for credits after it waits: one of
            // the two sees the other.
            fence(Ordering::SeqCst);
            match self.try_take() {
                Err(NoCredit::Full) => room.await,
                taken => return taken,
            }
        }
    }

    /// Gives the credit of a taken message back.
    pub(crate) fn give_back(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if let Some(room) = self.room.get() {
            room.notify_one();
        }
    }

    /// Grants nothing any more; who waits is told.
    pub(crate) fn close(&self) {
        self.waiting.fetch_or(CLOSED, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if let Some(room) = self.room.get() {
            room.notify_waiters();
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
