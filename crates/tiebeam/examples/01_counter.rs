//! Calls and casts: methods of the state are the actor's messages.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use tiebeam::{CallError, Ctx, ExitReason, Incarnation, NodeId, System};

/// The state. It belongs to one process, which handles one message at a time, so it needs no lock.
struct Counter {
    n: u64,
}

#[tiebeam::actor]
impl Counter {
    async fn init(n: u64, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        println!("counter {} starts at {n}", ctx.pid());
        Ok(Self { n })
    }

    /// A call is answered.
    #[call]
    fn add(&mut self, by: u64) -> u64 {
        self.n += by;
        self.n
    }

    /// A cast is not.
    #[cast]
    fn reset(&mut self) {
        self.n = 0;
    }

    /// A handler may wait. Meanwhile the actor takes no other message.
    #[call]
    async fn never(&self) {
        std::future::pending().await
    }

    /// Told before an end that was asked for.
    fn terminate(&mut self, reason: &ExitReason) {
        println!("counter ends at {}: {reason}", self.n);
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let counter = system.spawn::<Counter>(40).await?;

    // The answer is a result: the actor may be gone, overloaded, crash, or take too long.
    println!("40 + 2 = {}", counter.add(2).await?);

    // A cast and a call of the same sender arrive in this order.
    counter.reset().await;
    println!("after a reset, 0 + 1 = {}", counter.add(1).await?);

    // An address is a value: clones name the same actor, and dropping them stops nothing.
    let same = counter.clone();
    println!("by another address, 1 + 1 = {}", same.add(1).await?);

    counter.stop(ExitReason::Normal).await?;
    println!("a call to who is gone: {:?}", counter.add(1).await);

    // A call waits 5 s unless told otherwise.
    let counter = system.spawn::<Counter>(0).await?;
    let late = counter.never().timeout(Duration::from_millis(20)).await;
    println!("a handler that never returns: {late:?}");
    assert_eq!(late, Err(CallError::Timeout));

    // The handler still waits, so only a signal ends the actor: it acts at once, also while a handler waits.
    let ended = system.wait(counter.pid());
    system.exit(counter.pid(), ExitReason::Shutdown);
    println!("counter ended: {}", ended.await);
    Ok(())
}
