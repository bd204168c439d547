//! Overflow: what becomes of messages for which a mailbox has no room, and who hears of it.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use tiebeam::{Addr, CallError, ExitReason, Incarnation, NodeId, Overflow, System};

const ROOM: u32 = 3;
const SENT: u64 = 5;

struct Gauge {
    seen: Vec<u64>,
}

#[tiebeam::actor]
impl Gauge {
    fn init() -> Self {
        Self { seen: Vec::new() }
    }

    #[cast]
    fn sample(&mut self, value: u64) {
        self.seen.push(value);
    }

    #[call]
    fn seen(&self) -> Vec<u64> {
        self.seen.clone()
    }
}

/// Starts a gauge that takes nothing for now, so that its mailbox fills.
async fn held(system: &System, overflow: Overflow) -> Result<Addr<Gauge>, Box<dyn Error>> {
    let gauge = system.starter().mailbox_messages_max(ROOM).overflow(overflow).spawn::<Gauge>(()).await?;
    system.suspend(gauge.pid()).await?;
    Ok(gauge)
}

/// What came of 5 samples for a mailbox that has room for 3.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// To how many the sender was told that there is no room.
    overloaded: usize,
    /// What the node counts of it, for whoever looks later.
    refused: u64,
    dropped: u64,
    seen: Vec<u64>,
}

async fn flood(system: &System, overflow: Overflow) -> Result<Outcome, Box<dyn Error>> {
    let gauge = held(system, overflow).await?;
    let told: Vec<_> = (1..=SENT).map(|value| gauge.try_sample(value)).collect();
    let overloaded = told.iter().filter(|told| **told == Err(CallError::Overloaded)).count();
    system.resume(gauge.pid()).await?;
    // Asked sooner, a question would take the place of a sample, or find no place.
    while system.process_info(gauge.pid()).is_some_and(|info| info.queue_len > 0) {
        tokio::task::yield_now().await;
    }
    let seen = gauge.seen().await?;
    let info = system.process_info(gauge.pid()).ok_or("the gauge runs")?;
    let outcome = Outcome { overloaded, refused: info.refused, dropped: info.dropped, seen };
    println!("{overflow:?}: {outcome:?}");
    gauge.stop(ExitReason::Normal).await?;
    Ok(outcome)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // The default: who can wait does, and `try_` is told. That is backpressure, and nothing is lost unknown.
    let block = flood(&system, Overflow::Block).await?;
    assert_eq!(block, Outcome { overloaded: 2, refused: 2, dropped: 0, seen: vec![1, 2, 3] });

    // Nobody ever waits: also a call fails at once, and a cast that finds no room is gone, which is counted.
    assert_eq!(flood(&system, Overflow::Fail).await?, block);
    let gauge = held(&system, Overflow::Fail).await?;
    for value in 1..=SENT {
        gauge.sample(value).await;
    }
    let refused = gauge.seen().await;
    println!("a call to a full mailbox that fails: {refused:?}");
    assert_eq!(refused, Err(CallError::Overloaded));
    assert_eq!(system.process_info(gauge.pid()).map(|info| (info.queue_len, info.refused)), Some((3, 3)));

    // Any samples will do: what doesn't fit is dropped, and the sender need not know.
    let newest = flood(&system, Overflow::DropNewest).await?;
    assert_eq!(newest, Outcome { overloaded: 0, refused: 0, dropped: 2, seen: vec![1, 2, 3] });

    // The last samples count: the oldest make room. The actor drops them itself when it next looks into its mailbox.
    let oldest = flood(&system, Overflow::DropOldest).await?;
    assert_eq!(oldest, Outcome { overloaded: 0, refused: 0, dropped: 2, seen: vec![3, 4, 5] });

    // The backlog is worthless: the actor is killed, and its supervisor would start it anew.
    let gauge = held(&system, Overflow::Stop).await?;
    let ended = system.wait(gauge.pid());
    let told: Vec<_> = (1..=u64::from(ROOM) + 1).map(|value| gauge.try_sample(value)).collect();
    let reason = ended.await;
    println!("{:?}: {told:?}, ended: {reason}", Overflow::Stop);
    assert_eq!(told.last(), Some(&Err(CallError::Overloaded)));
    assert_eq!(reason, ExitReason::Killed);
    Ok(())
}
