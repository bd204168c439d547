use std::time::Duration;

use tiebeam_actor::{CallError, ExitReason};
use tokio::sync::mpsc;

use crate::probe::{Ear, Heard, Note, Probe, probe, settle, system};

#[tokio::test(start_paused = true)]
async fn full_mailbox_makes_cast_wait_and_refuses_the_rest() {
    let system = system(1);
    let (heard, mut ear) = mpsc::unbounded_channel();
    let addr = system.starter().mailbox_messages_max(2).spawn::<Probe>(heard).await.unwrap();
    let (gate, wait) = tokio::sync::oneshot::channel();
    addr.cast(crate::probe::Block(wait)).await;
    settle().await;
    addr.try_cast(Note(1)).unwrap();
    addr.try_cast(Note(2)).unwrap();
    assert_eq!(addr.try_cast(Note(3)), Err(CallError::Overloaded));
    assert_eq!(addr.call(Note(4)).timeout(Duration::from_secs(1)).await, Err(CallError::Overloaded));
    let waiting = futures::future::join(addr.cast(Note(5)), async { drop(gate) });
    waiting.await;
    settle().await;
    let heard: Vec<_> = std::iter::from_fn(|| ear.try_recv().ok()).collect();
    assert_eq!(heard, [Heard::Note(1), Heard::Note(2), Heard::Note(5)]);
    // All credits came back.
    addr.try_cast(Note(6)).unwrap();
    addr.try_cast(Note(7)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn default_mailbox_holds_1024_messages() {
    let system = system(1);
    let a = probe(&system).await;
    let _gate = a.block().await;
    let sent = (0..).take_while(|number| a.addr.try_cast(Note(*number)).is_ok()).count();
    assert_eq!(sent, 1024);
    assert_eq!(system.process_info(a.addr.pid()).unwrap().queue_len, 1024);
}

/// Fails if signals need credits: nobody could stop an overloaded actor.
#[tokio::test(start_paused = true)]
async fn signals_pass_a_full_mailbox() {
    let system = system(1);
    let (a, mut b) = (probe(&system).await, probe(&system).await);
    let _gate = a.block().await;
    while a.addr.try_cast(Note(0)).is_ok() {}
    let pid = a.addr.pid();
    b.run(move |ctx| ctx.monitor(pid)).await;
    system.exit(pid, ExitReason::Shutdown);
    assert_eq!(b.heard().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn actor_never_waits_for_room_in_its_own_mailbox() {
    let system = system(1);
    let (heard, mut ear) = mpsc::unbounded_channel();
    let addr = system.starter().mailbox_messages_max(1).spawn::<Probe>(heard).await.unwrap();
    let own = addr.clone();
    let casts = move |ctx: &mut tiebeam_actor::Ctx<Probe>| {
        let (own, _pid) = (own.clone(), ctx.pid());
        ctx.spawn_task(async move {
            for number in 0..10 {
                own.cast(Note(number)).await;
            }
        });
    };
    let a = Ear::new(addr.clone());
    a.run(casts).await;
    settle().await;
    assert_eq!(std::iter::from_fn(|| ear.try_recv().ok()).count(), 10);
    addr.try_cast(Note(11)).unwrap();
    assert_eq!(addr.try_cast(Note(12)), Err(CallError::Overloaded), "uncredited messages must not make credits");
}

#[tokio::test(start_paused = true)]
async fn cast_that_waits_ends_with_the_actor() {
    let system = system(1);
    let a = probe(&system).await;
    let _gate = a.block().await;
    while a.addr.try_cast(Note(0)).is_ok() {}
    let (pid, inner) = (a.addr.pid(), system.clone());
    futures::join!(a.addr.cast(Note(1)), async move { inner.exit(pid, ExitReason::Kill) });
    assert_eq!(a.addr.try_cast(Note(2)), Err(CallError::NoProc));
}
