//! Actors that must not run after a moment, and calls that are carried as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, CallError, Ctx, DEADLINE_OVER, Deadline, ExitReason, Handler, Info, Starter, Table};

use crate::probe::system;

/// Counts what it does.
struct Counter(Arc<AtomicU32>);

#[derive(Serialize, Deserialize)]
struct Count;
/// Counts once, waits, and counts again.
#[derive(Serialize, Deserialize)]
struct Slow(u64);

impl Actor for Counter {
    type Args = Arc<AtomicU32>;

    async fn init(counted: Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        counted.fetch_add(1, Ordering::SeqCst);
        ctx.send_after(Duration::from_secs(100), 0);
        Ok(Self(counted))
    }

    async fn info(&mut self, _: Info, _: &mut Ctx<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn table() -> Table<Self> {
        Table::new().call::<Count>(1).call::<Slow>(2)
    }
}

impl Handler<Count> for Counter {
    type Reply = u32;

    async fn handle(&mut self, _: Count, _: &mut Ctx<Self>) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Handler<Slow> for Counter {
    type Reply = u32;

    async fn handle(&mut self, Slow(ms): Slow, _: &mut Ctx<Self>) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst);
        tiebeam_world::sleep(Duration::from_millis(ms)).await;
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

fn in_a_second(starter: Starter) -> (Starter, Deadline) {
    let deadline = Deadline::new(tiebeam_world::now() + Duration::from_secs(1));
    (starter.until(deadline.clone()), deadline)
}

fn over() -> ExitReason {
    ExitReason::Other(DEADLINE_OVER.to_owned())
}

#[tokio::test(start_paused = true)]
async fn actor_handles_nothing_after_its_deadline() {
    let (system, counted) = (system(1), Arc::default());
    let (starter, deadline) = in_a_second(system.starter());
    let counter = starter.spawn::<Counter>(Arc::clone(&counted)).await.unwrap();
    assert_eq!(counter.call(Count).await, Ok(2));
    // Put off in time it is as if there were none; an earlier one changes nothing.
    deadline.put_off(tiebeam_world::now() + Duration::from_secs(10));
    deadline.put_off(tiebeam_world::now());
    tiebeam_world::sleep(Duration::from_secs(5)).await;
    assert_eq!(counter.call(Count).await, Ok(3));
    tiebeam_world::sleep(Duration::from_secs(5)).await;
    assert!(deadline.is_over());
    assert_eq!(counter.call(Count).await, Err(CallError::Exit(over())));
    assert_eq!(counted.load(Ordering::SeqCst), 3);
    assert!(!system.is_alive(counter.pid()));
}

/// A process that was paused in the middle of a handler must not go on as if nothing had been.
#[tokio::test(start_paused = true)]
async fn handler_that_waited_does_not_go_on_after_the_deadline() {
    let (system, counted) = (system(1), Arc::default());
    let (starter, _) = in_a_second(system.starter());
    let counter = starter.spawn::<Counter>(Arc::clone(&counted)).await.unwrap();
    assert_eq!(counter.call(Slow(900)).await, Ok(3));
    assert_eq!(counter.call(Slow(900)).await, Err(CallError::Exit(over())));
    assert_eq!(counted.load(Ordering::SeqCst), 4, "it began and did not end");
}

#[tokio::test(start_paused = true)]
async fn timer_tells_nothing_after_the_deadline() {
    let (system, counted) = (system(1), Arc::default());
    let (starter, _) = in_a_second(system.starter());
    let counter = starter.spawn::<Counter>(Arc::clone(&counted)).await.unwrap();
    assert_eq!(system.wait(counter.pid()).await, over(), "woken by its timer");
    assert_eq!(counted.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn actor_whose_deadline_is_over_does_not_start() {
    let (system, counted) = (system(1), Arc::<AtomicU32>::default());
    let deadline = Deadline::new(tiebeam_world::now());
    let started = system.starter().until(deadline).spawn::<Counter>(Arc::clone(&counted)).await;
    assert_eq!(started.unwrap_err(), over());
    assert_eq!((counted.load(Ordering::SeqCst), system.process_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn call_can_be_carried_as_bytes() {
    let (system, second) = (system(1), Duration::from_secs(1));
    let counter = system.spawn::<Counter>(Arc::default()).await.unwrap();
    let (tag, body) = Table::<Counter>::encode(&Count).unwrap();
    let answer = system.forward_call(counter.pid(), tag, body.clone().into(), second).unwrap().await.unwrap();
    assert_eq!(Table::<Counter>::decode_answer::<Count, _>(&answer), Some(2));
    assert_eq!(Table::<Counter>::decode_answer::<Count, _>(&[9, 9]), None);
    system.forward_cast(counter.pid(), tag, body.clone().into()).unwrap();
    assert_eq!(counter.call(Count).await, Ok(4));
    let (slow, message) = Table::<Counter>::encode(&Slow(2000)).unwrap();
    let late = system.forward_call(counter.pid(), slow, message.into(), second).unwrap();
    assert_eq!(late.await, Err(CallError::Timeout));
    // What it didn't get is said at once.
    let unknown = system.forward_call(counter.pid(), 9, body.clone().into(), second).map(drop);
    assert_eq!(unknown, Err(CallError::Incompatible));
    system.exit(counter.pid(), ExitReason::Kill);
    system.wait(counter.pid()).await;
    assert_eq!(system.forward_cast(counter.pid(), tag, body.clone().into()), Err(CallError::NoProc));
    assert_eq!(system.forward_call(counter.pid(), tag, body.into(), second).map(drop), Err(CallError::NoProc));
}
