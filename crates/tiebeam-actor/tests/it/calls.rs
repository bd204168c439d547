use std::future::IntoFuture;
use std::time::Duration;

use tiebeam_actor::{Actor, CallError, Ctx, Deferred, ExitReason, Handler, ReplyTo};
use tiebeam_world::now;

use crate::probe::{Heard, Note, Probe, probe, settle, system};

/// Gathers numbers and answers all callers together.
#[derive(Default)]
struct Batch {
    waiting: Vec<(u32, ReplyTo<u32>)>,
}

struct Flush;
struct Forget;
struct Crash;

impl Actor for Batch {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self::default())
    }
}

impl Deferred<u32> for Batch {
    type Reply = u32;

    async fn handle_call(&mut self, number: u32, reply_to: ReplyTo<u32>, _: &mut Ctx<Self>) {
        self.waiting.push((number, reply_to));
    }
}

impl Handler<Flush> for Batch {
    type Reply = u32;

    async fn handle(&mut self, _: Flush, _: &mut Ctx<Self>) -> u32 {
        let sum = self.waiting.iter().map(|(number, _)| number).sum();
        self.waiting.drain(..).for_each(|(_, reply_to)| reply_to.send(sum));
        sum
    }
}

impl Handler<Forget> for Batch {
    type Reply = ();

    async fn handle(&mut self, _: Forget, _: &mut Ctx<Self>) {
        self.waiting.clear();
    }
}

impl Handler<Crash> for Batch {
    type Reply = ();

    async fn handle(&mut self, _: Crash, _: &mut Ctx<Self>) {
        panic!("bad batch");
    }
}

#[tokio::test(start_paused = true)]
async fn actor_may_answer_later() {
    let system = system(1);
    let batch = system.spawn::<Batch>(()).await.unwrap();
    let (one, two, sum) = futures::join!(batch.call(1).into_future(), batch.call(2).into_future(), async {
        settle().await;
        batch.call(Flush).await
    });
    assert_eq!((one, two, sum), (Ok(3), Ok(3), Ok(3)));
}

#[tokio::test(start_paused = true)]
async fn call_waits_five_seconds_unless_told_otherwise() {
    let system = system(1);
    let batch = system.spawn::<Batch>(()).await.unwrap();
    let began = now();
    assert_eq!(batch.call(1).await, Err(CallError::Timeout));
    assert_eq!(now().since(began).as_secs(), 5);
    assert_eq!(batch.call(1).timeout(Duration::from_millis(70)).await, Err(CallError::Timeout));
    assert_eq!(now().since(began).as_millis(), 5070);
}

#[tokio::test(start_paused = true)]
async fn late_reply_is_dropped() {
    let system = system(1);
    let batch = system.spawn::<Batch>(()).await.unwrap();
    assert_eq!(batch.call(1).await, Err(CallError::Timeout));
    // Answers the call that was given up; the next one must get its own answer.
    let (late, flushed) = futures::join!(batch.call(10).into_future(), async {
        settle().await;
        batch.call(Flush).await
    });
    assert_eq!((late, flushed), (Ok(11), Ok(11)));
}

/// Fails if the callee works for callers that gave up: under overload it would do nothing else.
#[tokio::test(start_paused = true)]
async fn call_whose_caller_gave_up_is_skipped() {
    let system = system(1);
    let mut a = probe(&system).await;
    let gate = a.block().await;
    assert_eq!(a.addr.call(Note(1)).timeout(Duration::from_secs(1)).await, Err(CallError::Timeout));
    a.addr.cast(Note(2)).await;
    drop(gate);
    assert_eq!(a.heard().await, [Heard::Note(2)]);
}

#[tokio::test(start_paused = true)]
async fn call_to_a_dead_actor_is_noproc() {
    let system = system(1);
    let a = probe(&system).await;
    a.addr.stop(ExitReason::Normal).await.unwrap();
    assert_eq!(a.addr.call(Note(1)).await, Err(CallError::NoProc));
    assert_eq!(system.addr::<Probe>(a.addr.pid()).call(Note(1)).await, Err(CallError::NoProc));
    assert_eq!(a.addr.stop(ExitReason::Normal).await, Err(CallError::NoProc));
}

#[tokio::test(start_paused = true)]
async fn address_of_another_kind_of_actor_is_incompatible() {
    let system = system(1);
    let a = probe(&system).await;
    assert_eq!(system.addr::<Batch>(a.addr.pid()).call(Flush).await, Err(CallError::Incompatible));
}

/// Three callers: one in hand, one in the queue, one put off. Each must hear the reason, not a timeout.
#[tokio::test(start_paused = true)]
async fn callers_hear_why_the_callee_ended() {
    let system = system(1);
    let batch = system.spawn::<Batch>(()).await.unwrap();
    let (deferred, crashed, queued) =
        futures::join!(batch.call(1).into_future(), batch.call(Crash).into_future(), batch.call(Flush).into_future());
    let reason = ExitReason::Panic("bad batch".into());
    assert_eq!(deferred, Err(CallError::Exit(reason.clone())));
    assert_eq!(crashed, Err(CallError::Exit(reason.clone())));
    assert_eq!(queued, Err(CallError::Exit(reason)));
}

#[tokio::test(start_paused = true)]
async fn forgotten_call_fails_at_once() {
    let system = system(1);
    let batch = system.spawn::<Batch>(()).await.unwrap();
    let (forgotten, ()) = futures::join!(batch.call(1).into_future(), async {
        settle().await;
        batch.call(Forget).await.unwrap();
    });
    assert_eq!(forgotten, Err(CallError::Unanswered));
}
