//! How many messages wait for a process, and whether one more may.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::{CallError, Overflow};

/// Set once no message is taken any more.
const CLOSED: u32 = 1 << 31;

/// How many credits a process may gather before it gives them back, at most.
const GATHERED_MAX: u32 = 64;

/// The credits of one mailbox. Signals and replies need none.
pub(crate) struct Credits {
    /// Messages that wait, and [`CLOSED`].
    waiting: AtomicU32,
    limit: u32,
    /// Senders that wait for room.
    senders: AtomicU32,
    overflow: Overflow,
    /// Made when the mailbox is full for the first time.
    full: OnceLock<Box<Full>>,
}

/// What a mailbox needs once it was full.
#[derive(Default)]
struct Full {
    room: Notify,
    refused: AtomicU64,
    dropped: AtomicU64,
    /// Whether other nodes were told that it is full, and not yet that it has room.
    pressed: AtomicBool,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It has a credit.
    Granted,
    /// Its sender is to wait for room.
    Wait,
    /// There is no room for it, and its sender is to know.
    Refused,
    /// There is no room for it, and its sender need not know.
    Dropped,
    /// There is no room for it, and that ends the actor.
    Stop,
}

/// Why there is no credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCredit {
    Full,
    Closed,
}

impl Credits {
    /// Lets `limit` messages wait.
    pub(crate) const fn new(limit: u32, overflow: Overflow) -> Self {
        let limit = if limit < CLOSED { limit } else { CLOSED - 1 };
        Self { waiting: AtomicU32::new(0), limit, senders: AtomicU32::new(0), overflow, full: OnceLock::new() }
    }

    /// Takes a credit for one message.
    #[inline]
    pub(crate) fn try_take(&self) -> Result<(), NoCredit> {
        self.take_below(self.limit)
    }

    /// Takes a credit for one message, or says what is to become of it.
    ///
    /// # Errors
    /// [`CallError::NoProc`] if no message is taken any more.
    pub(crate) fn admit(&self) -> Result<Admission, CallError> {
        let admission = match (self.try_take(), self.overflow) {
            (Ok(()), _) => return Ok(Admission::Granted),
            (Err(NoCredit::Closed), _) => return Err(CallError::NoProc),
            (Err(NoCredit::Full), Overflow::Block) => return Ok(Admission::Wait),
            (Err(NoCredit::Full), Overflow::Fail) => Admission::Refused,
            (Err(NoCredit::Full), Overflow::DropNewest) => Admission::Dropped,
            (Err(NoCredit::Full), Overflow::DropOldest) => match self.overfill() {
                Ok(()) => return Ok(Admission::Granted),
                Err(NoCredit::Closed) => return Err(CallError::NoProc),
                Err(NoCredit::Full) => Admission::Dropped,
            },
            (Err(NoCredit::Full), Overflow::Stop) => Admission::Stop,
        };
        match admission {
            Admission::Dropped => self.count_dropped(),
            _ => self.count_refused(),
        }
        Ok(admission)
    }

    pub(crate) fn count_refused(&self) {
        self.full().refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_dropped(&self) {
        self.full().dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages were refused, and how many dropped.
    pub(crate) fn losses(&self) -> (u64, u64) {
        let full = self.full.get();
        full.map_or((0, 0), |full| (full.refused.load(Ordering::Relaxed), full.dropped.load(Ordering::Relaxed)))
    }

    /// Says whether the oldest message is to be dropped, with `gathered` credits not given back yet.
    pub(crate) fn is_overdrawn(&self, gathered: u32) -> bool {
        self.overflow == Overflow::DropOldest && self.waiting().saturating_sub(gathered) > self.limit
    }

    fn full(&self) -> &Full {
        self.full.get_or_init(Box::default)
    }

    /// Takes a credit though there may be none: for what an actor sends to itself.
    pub(crate) fn overdraw(&self) -> Result<(), NoCredit> {
        self.take_below(CLOSED - 1)
    }

    /// Takes a credit as long as at most as many again wait as may.
    pub(crate) fn overfill(&self) -> Result<(), NoCredit> {
        self.take_below(self.limit.saturating_mul(2))
    }

    /// Notes that other nodes were told that there is no room.
    pub(crate) fn press(&self) {
        self.full().pressed.store(true, Ordering::SeqCst);
    }

    /// Says, once, that other nodes are to be told that there is room, or that nothing is taken any more. To be asked after
    /// each change in either direction: whoever comes last sees both.
    #[inline]
    pub(crate) fn is_relieved(&self) -> bool {
        let Some(full) = self.full.get() else { return false };
        if !full.pressed.load(Ordering::SeqCst) {
            return false;
        }
        let waiting = self.waiting.load(Ordering::SeqCst);
        let has_room = waiting & CLOSED != 0 || waiting <= self.limit / 2;
        has_room && full.pressed.swap(false, Ordering::SeqCst)
    }

    /// Takes a credit, and waits for one. Cancel safe.
    pub(crate) async fn take(&self) -> Result<(), NoCredit> {
        struct Waits<'a>(&'a AtomicU32);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        loop {
            match self.try_take() {
                Err(NoCredit::Full) => {}
                taken => return taken,
            }
            let mut notified = std::pin::pin!(self.full().room.notified());
            notified.as_mut().enable();
            // Whoever gives credits back looks for senders after it, and this looks for credits after it waits, both in
            // the one order of all that is sequentially consistent: one of the two sees the other.
            self.senders.fetch_add(1, Ordering::SeqCst);
            let _waits = Waits(&self.senders);
            match self.try_take() {
                Err(NoCredit::Full) => notified.await,
                taken => return taken,
            }
        }
    }

    /// How many credits to gather before they are given back: a word that senders write to is not touched for each
    /// message, and yet they see room long before the queue is empty.
    #[inline]
    pub(crate) fn gather(&self) -> u32 {
        (self.limit / 8).clamp(1, GATHERED_MAX)
    }

    /// Gives the credits of taken messages back. Senders that wait are woken once half of the mailbox is free: each then
    /// has room for many messages, and is not woken for every few.
    pub(crate) fn give_back(&self, count: u32) {
        let before = self.waiting.fetch_sub(count, Ordering::SeqCst) & !CLOSED;
        let senders = self.senders.load(Ordering::SeqCst);
        let (after, half) = (before - count, self.limit / 2);
        if senders == 0 || after > half {
            return;
        }
        let Some(full) = self.full.get() else { return };
        // Those who find no credit left wait on, and are due with those that are given back later.
        let due = if before > half { self.limit - after } else { count };
        for _ in 0..senders.min(due) {
            full.room.notify_one();
        }
    }

    /// Grants nothing any more; who waits is told.
    pub(crate) fn close(&self) {
        self.waiting.fetch_or(CLOSED, Ordering::SeqCst);
        if self.senders.load(Ordering::SeqCst) > 0
            && let Some(full) = self.full.get()
        {
            full.room.notify_waiters();
        }
    }

    /// How many messages wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed) & !CLOSED
    }

    #[inline]
    fn take_below(&self, limit: u32) -> Result<(), NoCredit> {
        let take = |waiting: u32| (waiting < limit).then(|| waiting + 1);
        match self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(waiting) if waiting & CLOSED != 0 => Err(NoCredit::Closed),
            Err(_) => Err(NoCredit::Full),
        }
    }
}
