//! Bounded mailboxes: a slow actor slows its senders down, or they are told.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use tiebeam::{CallError, ExitReason, Incarnation, NodeId, System};

/// Writes lines, and sometimes waits for the printer.
struct Printer {
    lines: u64,
}

#[tiebeam::actor]
impl Printer {
    fn init() -> Self {
        Self { lines: 0 }
    }

    #[cast]
    fn print(&mut self, line: String) {
        self.lines += 1;
        println!("  printed: {line}");
    }

    #[cast]
    async fn wait_for_paper(&self, paper: oneshot::Receiver<()>) {
        let _ = paper.await;
    }

    #[call]
    fn lines(&self) -> u64 {
        self.lines
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    // The default is 1,024 messages, `Config::mailbox_messages_max`.
    let printer = system.starter().mailbox_messages_max(2).spawn::<Printer>(()).await?;

    // The printer is out of paper: this message is in hand, and the mailbox takes two more.
    let (paper, wait) = oneshot::channel();
    printer.wait_for_paper(wait).await;
    while system.process_info(printer.pid()).is_some_and(|info| info.queue_len > 0) {
        tokio::task::yield_now().await;
    }
    printer.print("one".into()).await;
    printer.print("two".into()).await;

    // Who must not wait is told that there is no room.
    let refused = printer.try_print("three".into());
    println!("without waiting: {refused:?}");
    assert_eq!(refused, Err(CallError::Overloaded));

    // A call waits for room within its timeout; then it certainly was not handled, so trying again is safe.
    let overloaded = printer.lines().timeout(Duration::from_millis(20)).await;
    println!("a call: {overloaded:?}");
    assert!(overloaded.is_err_and(|error| error.is_unhandled()));

    // A cast waits as long as it takes. That is the backpressure: the sender is as slow as the printer.
    let mut third = Box::pin(printer.print("three".into()));
    println!("cast is sent: {}", third.as_mut().now_or_never().is_some());
    let _ = paper.send(());
    third.await;
    println!("lines printed: {}", printer.lines().await?);

    // Signals need no room: also behind a full mailbox an exit acts at once.
    let (_paper, wait) = oneshot::channel();
    printer.wait_for_paper(wait).await;
    printer.print("never".into()).await;
    let ended = system.wait(printer.pid());
    system.exit(printer.pid(), ExitReason::Shutdown);
    println!("printer ended: {}", ended.await);
    Ok(())
}
