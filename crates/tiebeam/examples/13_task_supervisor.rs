//! Task supervisors: work in processes of its own, whose crash is a value and harms nobody.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::channel::oneshot;
use tiebeam::task::{StreamConfig, TaskError};
use tiebeam::{Addr, ChildError, DynamicSpec, ExitReason, Incarnation, NodeId, System, TaskSupervisor};

/// Asks for prices, and doesn't want to die of a shop's mistakes.
struct Buyer {
    tasks: Addr<TaskSupervisor>,
    asked: u64,
}

#[tiebeam::actor]
impl Buyer {
    fn init(tasks: Addr<TaskSupervisor>) -> Self {
        Self { tasks, asked: 0 }
    }

    #[call]
    async fn price(&mut self, article: u32) -> Result<u32, TaskError> {
        self.asked += 1;
        // No link: `Task::spawn(ctx.starter(), ..)` would tie the two together, and a panic would end the buyer too.
        self.tasks.async_nolink(price(article)).await?.await
    }

    #[call]
    fn asked(&self) -> u64 {
        self.asked
    }
}

/// Stands for a network.
async fn slow() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

async fn price(article: u32) -> u32 {
    slow().await;
    assert!(article != 13, "no price for {article}");
    article * 100
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let tasks = system.spawn::<TaskSupervisor>(DynamicSpec::default()).await?;

    let buyer = system.spawn::<Buyer>(tasks.clone()).await?;
    println!("article 7: {:?}", buyer.price(7).await?);
    let failed = buyer.price(13).await?;
    println!("article 13: {failed:?}; the buyer has asked {} times", buyer.asked().await?);
    assert_eq!(failed, Err(TaskError::Exit(ExitReason::Panic("no price for 13".into()))));

    // Who waits says how long; a task that takes longer is ended.
    let endless = tasks.async_nolink(pending::<u32>()).await?;
    let ended = system.wait(endless.pid());
    let late = endless.timeout(Duration::from_millis(10)).await;
    println!("a task that never ends: {late:?}; it ended: {}", ended.await);
    assert_eq!(late, Err(TaskError::Timeout));

    // Or looks in for a moment, and leaves the task running.
    let (finish, finished) = oneshot::channel();
    let mut patient = tasks.async_nolink(async { finished.await.unwrap_or(0) }).await?;
    println!("not yet: {:?}", patient.yield_for(Duration::from_millis(1)).await?);
    let _ = finish.send(5);
    println!("now: {:?}", patient.await?);

    // Work whose result nobody wants.
    let (tell, told) = oneshot::channel();
    tasks.start(async { tell.send("sent").expect("somebody waits") }).await?;
    println!("in the background: {}", told.await?);

    // A task for each item, a few at a time. Results come in the order of the items unless told otherwise.
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let peak = Arc::clone(&most);
    let config = StreamConfig { concurrency_max: 2, ..StreamConfig::default() };
    let mut prices = tasks.async_stream(10..16, config, move |article| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            slow().await;
            running.fetch_sub(1, Ordering::SeqCst);
            // One that panics is an error among the results.
            price(article).await
        }
    });
    let mut results = Vec::new();
    while let Some(result) = prices.next().await {
        results.push(result.ok());
    }
    let peak = peak.load(Ordering::SeqCst);
    println!("prices {results:?}, at most {peak} at a time");
    assert_eq!(results, [Some(1000), Some(1100), Some(1200), None, Some(1400), Some(1500)]);
    assert!(peak <= 2, "{peak} tasks ran at the same time");

    // A supervisor says how many tasks it runs; beyond that a start fails at once.
    let few = system.spawn::<TaskSupervisor>(DynamicSpec { children_max: 1, ..DynamicSpec::default() }).await?;
    few.start(pending()).await?;
    let refused = few.start(pending()).await;
    println!("one too many: {refused:?}");
    assert_eq!(refused, Err(ChildError::TooMany { limit: 1 }));
    // Its tasks end with it.
    few.stop(ExitReason::Shutdown).await?;
    Ok(())
}
