use tiebeam_actor::{ExitReason, Info};

use crate::probe::{Heard, Note, child, probe, settle, system};

#[tokio::test(start_paused = true)]
async fn link_takes_the_other_end_along_in_both_directions() {
    let system = system(1);
    for first_dies in [true, false] {
        let (a, b) = (probe(&system).await, probe(&system).await);
        let to = b.addr.pid();
        a.run(move |ctx| ctx.link(to)).await;
        let (victim, other) = if first_dies { (&a, &b) } else { (&b, &a) };
        let other = system.wait(other.addr.pid());
        system.exit(victim.addr.pid(), ExitReason::Other("broke".into()));
        assert_eq!(other.await, ExitReason::Other("broke".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn normal_end_takes_nobody_along() {
    let system = system(1);
    let (a, b) = (probe(&system).await, probe(&system).await);
    let to = b.addr.pid();
    a.run(move |ctx| ctx.link(to)).await;
    a.addr.stop(ExitReason::Normal).await.unwrap();
    settle().await;
    assert!(system.is_alive(to));
    let info = system.process_info(to).unwrap();
    assert_eq!(info.links, [], "the end of a link must not stay");
}

#[tokio::test(start_paused = true)]
async fn link_to_a_dead_process_is_an_exit_with_noproc() {
    let system = system(1);
    let (mut a, b) = (probe(&system).await, probe(&system).await);
    let dead = b.addr.pid();
    b.addr.stop(ExitReason::Normal).await.unwrap();
    a.run(move |ctx| {
        ctx.trap_exit();
        ctx.link(dead);
    })
    .await;
    assert_eq!(a.heard().await, [Heard::Info(Info::Exit { from: dead, reason: ExitReason::NoProc })]);
}

/// Fails if links are counted: the second `link` would have to be undone as well.
#[tokio::test(start_paused = true)]
async fn one_unlink_undoes_two_links() {
    let system = system(1);
    let (mut a, b) = (probe(&system).await, probe(&system).await);
    let to = b.addr.pid();
    a.run(move |ctx| {
        ctx.trap_exit();
        ctx.link(to);
        ctx.link(to);
        ctx.unlink(to);
    })
    .await;
    system.exit(to, ExitReason::Kill);
    assert_eq!(a.heard().await, []);
}

/// The exit is in the queue when `unlink` runs in the handler before it; OTP promises that it never acts.
#[tokio::test(start_paused = true)]
async fn no_exit_of_a_link_acts_after_unlink() {
    let system = system(1);
    let (a, b) = (probe(&system).await, probe(&system).await);
    let (to, inner) = (b.addr.pid(), system.clone());
    a.run(move |ctx| ctx.link(to)).await;
    let ended = system.wait(to);
    a.run(move |ctx| {
        inner.exit(to, ExitReason::Other("broke".into()));
        ctx.unlink(to);
    })
    .await;
    assert_eq!(ended.await, ExitReason::Other("broke".into()));
    settle().await;
    assert!(system.is_alive(a.addr.pid()));
}

#[tokio::test(start_paused = true)]
async fn exit_acts_behind_a_long_queue() {
    let system = system(1);
    let mut a = probe(&system).await;
    let _gate = a.block().await;
    for number in 0..1000 {
        a.addr.cast(Note(number)).await;
    }
    let ended = system.wait(a.addr.pid());
    system.exit(a.addr.pid(), ExitReason::Shutdown);
    assert_eq!(ended.await, ExitReason::Shutdown);
    assert_eq!(a.heard().await, [Heard::Dropped], "no message may be handled first, and terminate is not for this");
}

/// Fails if signals are read only while a handler waits: this one never waits long.
#[tokio::test(start_paused = true)]
async fn handler_that_is_always_ready_again_can_be_killed() {
    struct Busy;
    impl tiebeam_actor::Actor for Busy {
        type Args = ();
        async fn init((): (), _: &mut tiebeam_actor::Ctx<Self>) -> Result<Self, ExitReason> {
            Ok(Self)
        }
    }
    impl tiebeam_actor::Handler<()> for Busy {
        type Reply = ();
        async fn handle(&mut self, (): (), _: &mut tiebeam_actor::Ctx<Self>) {
            loop {
                tokio::task::yield_now().await;
            }
        }
    }
    let system = system(1);
    let busy = system.spawn::<Busy>(()).await.unwrap();
    busy.cast(()).await;
    tokio::task::yield_now().await;
    let ended = system.wait(busy.pid());
    system.exit(busy.pid(), ExitReason::Kill);
    assert_eq!(ended.await, ExitReason::Killed);
}

#[tokio::test(start_paused = true)]
async fn kill_can_not_be_trapped_and_becomes_killed() {
    let system = system(1);
    let (mut a, b) = (probe(&system).await, probe(&system).await);
    let to = b.addr.pid();
    b.run(|ctx| ctx.trap_exit()).await;
    a.run(move |ctx| {
        ctx.trap_exit();
        ctx.link(to);
    })
    .await;
    system.exit(to, ExitReason::Kill);
    let told = Info::Exit { from: to, reason: ExitReason::Killed };
    assert_eq!(a.heard().await, [Heard::Info(told)], "through the link it is a reason that can be trapped");
}

#[tokio::test(start_paused = true)]
async fn trapped_exits_are_told_in_the_order_of_messages() {
    let system = system(1);
    let mut a = probe(&system).await;
    a.run(|ctx| ctx.trap_exit()).await;
    let gate = a.block().await;
    a.addr.cast(Note(1)).await;
    system.exit(a.addr.pid(), ExitReason::Shutdown);
    a.addr.cast(Note(2)).await;
    drop(gate);
    let heard = a.heard().await;
    assert!(matches!(&heard[..], [Heard::Note(1), Heard::Info(Info::Exit { .. }), Heard::Note(2)]), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn exit_of_the_parent_ends_a_trapping_child_through_terminate() {
    let system = system(1);
    let parent = probe(&system).await;
    let mut child = child(&parent).await;
    child.run(|ctx| ctx.trap_exit()).await;
    system.exit(parent.addr.pid(), ExitReason::Other("gone".into()));
    assert_eq!(child.heard().await, [Heard::Terminate(ExitReason::Other("gone".into())), Heard::Dropped]);
}

/// A starter may be used when its actor is gone; a child that then lived without parent would never be stopped.
#[tokio::test(start_paused = true)]
async fn child_of_a_dead_parent_does_not_live() {
    let system = system(1);
    let parent = probe(&system).await;
    let starter = parent.run(|ctx| ctx.starter()).await;
    parent.addr.stop(ExitReason::Normal).await.unwrap();
    let (heard, _ear) = tokio::sync::mpsc::unbounded_channel();
    let started = starter.spawn::<crate::probe::Probe>(heard).await;
    assert_eq!(started.unwrap_err(), ExitReason::NoProc);
    assert_eq!(system.process_count(), 0);
}
