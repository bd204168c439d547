//! Inspection: look into an actor that runs, hold it, and watch what it does.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use tiebeam::{
    Actor, CallError, Ctx, ExitReason, Handler, Incarnation, NodeId, Status, System, TraceKind, TraceLimits,
};

/// Its state can be copied, which `get_state` needs.
#[derive(Clone, Debug, PartialEq)]
struct Till {
    cents: u64,
}

struct Pay(u64);

/// By hand, to show the traits that `#[tiebeam::actor]` implements.
impl Actor for Till {
    type Args = u64;

    async fn init(cents: u64, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { cents })
    }

    /// For people: in crash reports too, so it says what may be read by whoever reads those.
    fn format_status(&self) -> Option<String> {
        Some(format!("{} cents", self.cents))
    }
}

impl Handler<Pay> for Till {
    type Reply = u64;

    async fn handle(&mut self, Pay(cents): Pay, _: &mut Ctx<Self>) -> u64 {
        self.cents += cents;
        self.cents
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let till = system.starter().named("till").spawn::<Till>(100).await?;
    till.call(Pay(50)).await?;

    // What can be seen of any process, whatever its type, without asking it.
    let info = system.process_info(till.pid()).ok_or("the till runs")?;
    println!("{:?} is a {}, has handled {}, traps exits: {}", info.names, info.kind, info.handled, info.traps_exit);
    assert_eq!(info.handled, 1);
    println!("its status: {:?}", system.status_text(till.pid()).await?);

    // A suspended process handles no message. Returns when that is so, after the handler in hand.
    system.suspend(till.pid()).await?;
    till.try_cast(Pay(7))?;
    let info = system.process_info(till.pid()).ok_or("the till runs")?;
    println!("{:?}, has still handled {}", info.status, info.handled);
    assert_eq!((info.status, info.handled), (Status::Suspended, 1));

    // Its state can still be read, and mended. Both happen between two messages.
    println!("its state: {:?}", till.get_state().await?);
    let former = till.replace_state(Till { cents: 1000 }).await?;
    assert_eq!(former, Till { cents: 150 });
    println!("a part of it: {}", till.with_state(|till| till.cents / 100).await?);

    // It goes on with the new state, and with what waited.
    system.resume(till.pid()).await?;
    let cents = till.call(Pay(1)).await?;
    println!("after the resume: {cents}");
    assert_eq!(cents, 1008);

    // A trace tells what a process handles, and what signals reach it. Its limits keep a busy actor from drowning us.
    let mut trace = system.trace(till.pid(), TraceLimits { events_max: 100, ..TraceLimits::default() })?;
    till.call(Pay(2)).await?;
    till.stop(ExitReason::Normal).await?;
    let mut kinds = Vec::new();
    // The trace ends with the process.
    while let Some(event) = trace.next().await {
        println!("trace of {}: {:?}", event.pid, event.kind);
        kinds.push(event.kind);
    }
    assert!(matches!(kinds.first(), Some(TraceKind::Handles(message)) if message.ends_with("Pay")));
    assert_eq!(kinds.last(), Some(&TraceKind::Ended(ExitReason::Normal)));
    assert_eq!(trace.lost(), 0);

    let gone = till.get_state().await;
    println!("a process that is gone: {gone:?}");
    assert_eq!(gone, Err(CallError::NoProc));
    Ok(())
}
