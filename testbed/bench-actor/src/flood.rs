//! A flood of casts at a bounded mailbox under each policy: what becomes of each message, and what it does to memory.

use anyhow::ensure;
use tiebeam_actor::{Actor, Addr, CallError, Ctx, ExitReason, Handler, Overflow, Pid, ProcessInfo, System};
use tiebeam_wire::{Incarnation, NodeId};

use crate::watch::resident_bytes;

const MESSAGES: u64 = 5_000_000;
const MAILBOX: u32 = 1_024;
/// How often memory is looked at.
const LOOKS: u64 = 50;

/// Takes its time over each message, so that the flood is faster.
struct Slow;

struct Drop64([u64; 8]);

pub(crate) async fn show() -> anyhow::Result<()> {
    println!("{MESSAGES} casts of 64 bytes, as fast as they go, at a mailbox of {MAILBOX}");
    for overflow in [Overflow::Block, Overflow::Fail, Overflow::DropNewest, Overflow::DropOldest, Overflow::Stop] {
        once(overflow).await?;
    }
    Ok(())
}

async fn once(overflow: Overflow) -> anyhow::Result<()> {
    let system = System::new(NodeId(1), Incarnation(1));
    let starter = system.starter().mailbox_messages_max(MAILBOX).overflow(overflow);
    let slow = starter.spawn::<Slow>(()).await.map_err(|reason| anyhow::anyhow!("it did not start: {reason}"))?;
    let before = resident_bytes()?;
    let flood = Flood { slow: slow.clone(), overflow };
    let (mut sent, mut refused, mut most) = (0, 0, before);
    for _ in 0..LOOKS {
        let (more_sent, more_refused) = tokio::spawn(flood.clone().pour(MESSAGES / LOOKS)).await?;
        (sent, refused) = (sent + more_sent, refused + more_refused);
        most = most.max(resident_bytes()?);
    }
    let grown = most.saturating_sub(before) >> 10;
    let info = settled(&system, slow.pid()).await;
    let Some(info) = info else {
        ensure!(overflow == Overflow::Stop, "the actor ended");
        println!(
            "{:<11} killed after {sent} were sent; {refused} found nobody or no room; memory +{grown} KiB",
            "Stop"
        );
        return Ok(());
    };
    let accounted = info.handled + info.refused + info.dropped;
    println!(
        "{:<11} handled {}, refused {}, dropped {}: {accounted}; senders were told of {refused}; memory +{grown} KiB",
        format!("{overflow:?}"),
        info.handled,
        info.refused,
        info.dropped
    );
    ensure!(accounted == MESSAGES && refused == info.refused && sent == MESSAGES - refused, "{info:?}");
    Ok(())
}

#[derive(Clone)]
struct Flood {
    slow: Addr<Slow>,
    overflow: Overflow,
}

impl Flood {
    /// Sends, and returns how many were taken and how many not.
    async fn pour(self, count: u64) -> (u64, u64) {
        let (mut sent, mut refused) = (0, 0);
        for number in 0..count {
            let message = Drop64([number; 8]);
            if self.overflow == Overflow::Block {
                self.slow.cast(message).await;
                sent += 1;
                continue;
            }
            match self.slow.try_cast(message) {
                Ok(()) => sent += 1,
                Err(CallError::Overloaded | CallError::NoProc) => refused += 1,
                Err(error) => unreachable!("{error}"),
            }
        }
        (sent, refused)
    }
}

/// Waits until the mailbox is empty; none if the actor ended.
async fn settled(system: &System, pid: Pid) -> Option<ProcessInfo> {
    loop {
        let info = system.process_info(pid)?;
        if info.queue_len == 0 && info.handling.is_none() {
            return Some(info);
        }
        tokio::task::yield_now().await;
    }
}

impl Actor for Slow {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }
}

impl Handler<Drop64> for Slow {
    type Reply = ();

    async fn handle(&mut self, Drop64(words): Drop64, _: &mut Ctx<Self>) {
        for _ in 0..20 {
            std::hint::black_box(words.iter().sum::<u64>());
        }
    }
}
