//! Each policy of a full mailbox, with every message accounted for.

use tiebeam_actor::{Addr, CallError, Overflow, ProcessInfo, System};
use tokio::sync::mpsc;

use crate::probe::{Block, Heard, Note, Probe, settle, system};

const LIMIT: u32 = 8;
const FLOOD: u32 = 1_000;

struct Flooded {
    system: System,
    addr: Addr<Probe>,
    ear: mpsc::UnboundedReceiver<Heard>,
    /// What the senders were told.
    taken: u64,
    overloaded: u64,
    gate: Option<tokio::sync::oneshot::Sender<()>>,
}

/// Floods a probe that waits in a handler.
async fn flood(overflow: Overflow) -> Flooded {
    let system = system(1);
    let (heard, ear) = mpsc::unbounded_channel();
    let starter = system.starter().mailbox_messages_max(LIMIT).overflow(overflow);
    let addr = starter.spawn::<Probe>(heard).await.unwrap();
    let (gate, wait) = tokio::sync::oneshot::channel();
    addr.cast(Block(wait)).await;
    settle().await;
    let mut flooded = Flooded { system, addr, ear, taken: 0, overloaded: 0, gate: Some(gate) };
    for number in 0..FLOOD {
        match flooded.addr.try_cast(Note(number)) {
            Ok(()) => flooded.taken += 1,
            Err(CallError::Overloaded) => flooded.overloaded += 1,
            Err(error) => assert_eq!((overflow, error), (Overflow::Stop, CallError::NoProc)),
        }
    }
    settle().await;
    flooded
}

impl Flooded {
    fn info(&self) -> ProcessInfo {
        self.system.process_info(self.addr.pid()).unwrap()
    }

    /// Lets the probe go on, and returns the notes that reached it.
    async fn delivered(&mut self) -> Vec<u32> {
        drop(self.gate.take());
        settle().await;
        let heard = std::iter::from_fn(|| self.ear.try_recv().ok());
        heard.filter_map(|heard| if let Heard::Note(number) = heard { Some(number) } else { None }).collect()
    }

    /// Holds that each message of the flood was delivered, refused or dropped, and that all credits came back.
    async fn check_accounts(&mut self, expected: impl Iterator<Item = u32>) {
        assert!(self.info().queue_len <= u64::from(2 * LIMIT));
        let delivered = self.delivered().await;
        assert_eq!(delivered, expected.collect::<Vec<_>>());
        let info = self.info();
        assert_eq!(delivered.len() as u64 + info.refused + info.dropped, u64::from(FLOOD));
        assert_eq!((self.taken, self.overloaded), (u64::from(FLOOD) - info.refused, info.refused));
        assert_eq!((info.handled, info.queue_len), (delivered.len() as u64 + 1, 0));
        for number in 0..LIMIT {
            self.addr.try_cast(Note(number)).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn block_and_fail_refuse_what_does_not_fit() {
    for overflow in [Overflow::Block, Overflow::Fail] {
        let mut flooded = flood(overflow).await;
        assert_eq!(flooded.info().refused, u64::from(FLOOD - LIMIT));
        flooded.check_accounts(0..LIMIT).await;
    }
}

/// Fails if a caller waits for room in a mailbox whose senders must not wait, or if a cast does.
#[tokio::test(start_paused = true)]
async fn fail_lets_nobody_wait() {
    let flooded = flood(Overflow::Fail).await;
    let before = tiebeam_world::now();
    flooded.addr.cast(Note(0)).await;
    assert_eq!(flooded.addr.call(Note(0)).await, Err(CallError::Overloaded));
    assert_eq!(tiebeam_world::now(), before);
    assert_eq!(flooded.info().refused, u64::from(FLOOD - LIMIT) + 2);
}

#[tokio::test(start_paused = true)]
async fn newest_are_dropped_and_only_callers_hear_of_it() {
    let mut flooded = flood(Overflow::DropNewest).await;
    assert_eq!(flooded.info().dropped, u64::from(FLOOD - LIMIT));
    flooded.check_accounts(0..LIMIT).await;
    let flooded = flood(Overflow::DropNewest).await;
    assert_eq!(flooded.addr.call(Note(0)).await, Err(CallError::Overloaded));
}

/// The probe waits in a handler, so it takes what arrives and drops the oldest at once. Fails if a newer one goes.
#[tokio::test(start_paused = true)]
async fn oldest_are_dropped() {
    let system = system(1);
    let (heard, mut ear) = mpsc::unbounded_channel();
    let starter = system.starter().mailbox_messages_max(LIMIT).overflow(Overflow::DropOldest);
    let addr = starter.spawn::<Probe>(heard).await.unwrap();
    let (gate, wait) = tokio::sync::oneshot::channel();
    addr.cast(Block(wait)).await;
    settle().await;
    for number in 0..FLOOD {
        addr.try_cast(Note(number)).unwrap();
        settle().await;
    }
    drop(gate);
    settle().await;
    let heard: Vec<_> = std::iter::from_fn(|| ear.try_recv().ok()).collect();
    assert_eq!(heard, (FLOOD - LIMIT..FLOOD).map(Heard::Note).collect::<Vec<_>>());
    let info = system.process_info(addr.pid()).unwrap();
    assert_eq!((info.dropped, info.refused, info.queue_len), (u64::from(FLOOD - LIMIT), 0, 0));
}

/// While the actor takes nothing at all, the newest go once as many again wait: nothing grows without bound.
#[tokio::test(start_paused = true)]
async fn oldest_can_not_be_dropped_by_an_actor_that_does_not_run() {
    let mut flooded = flood(Overflow::DropOldest).await;
    flooded.check_accounts(LIMIT..2 * LIMIT).await;
}

#[tokio::test(start_paused = true)]
async fn actor_with_a_full_mailbox_is_stopped_if_its_policy_says_so() {
    let flooded = flood(Overflow::Stop).await;
    assert!(flooded.overloaded >= 1);
    assert_eq!(flooded.system.process_info(flooded.addr.pid()), None);
}
