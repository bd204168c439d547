//! Defects of other actor libraries that no other test here holds off; each test names where it was found. The rest have
//! their test beside the rule that they break.

use std::time::Duration;

use tiebeam_actor::{Actor, ChildSpec, ChildState, Ctx, ExitReason, Handler, Info, Pid, Supervisor, SupervisorSpec};
use tokio::sync::mpsc;

use crate::probe::{Block, Ear, Heard, Note, Probe, probe, settle, system};

/// The notes and infos that a child of a supervisor has heard, over all its lives.
fn supervised(heard: &mpsc::UnboundedSender<Heard>) -> SupervisorSpec {
    SupervisorSpec::one_for_one().child(ChildSpec::actor::<Probe>("child", heard.clone()))
}

async fn child_of(supervisor: &tiebeam_actor::Addr<Supervisor>) -> Pid {
    match supervisor.which_children().await.unwrap()[..] {
        [ref child] => match child.state {
            ChildState::Running(pid) => pid,
            other => panic!("the child is {other:?}"),
        },
        ref other => panic!("not one child: {other:?}"),
    }
}

/// kameo tells of a link's end by a task of its own, so the notice and the last messages arrive in any order; ractor's
/// has a channel of its own and overtakes them.
#[tokio::test(start_paused = true)]
async fn last_messages_of_a_linked_actor_come_before_its_exit() {
    let system = system(1);
    let (mut watcher, worker) = (probe(&system).await, probe(&system).await);
    let pid = worker.addr.pid();
    watcher
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(pid);
        })
        .await;
    let gate = watcher.block().await;
    let to = watcher.addr.clone();
    worker
        .go(move |ctx| {
            to.try_cast(Note(1)).unwrap();
            to.try_cast(Note(2)).unwrap();
            ctx.stop(ExitReason::Normal);
        })
        .await;
    system.wait(pid).await;
    drop(gate);
    let exit = Heard::Info(Info::Exit { from: pid, reason: ExitReason::Normal });
    assert_eq!(watcher.heard().await, [Heard::Note(1), Heard::Note(2), exit]);
}

/// In kameo the notice of a death waits for room in the mailbox, for ever if two full actors wait for each other.
#[tokio::test(start_paused = true)]
async fn death_is_told_to_an_actor_whose_mailbox_is_full() {
    let system = system(1);
    let (heard, mut ear) = mpsc::unbounded_channel();
    let addr = system.starter().mailbox_messages_max(1).spawn::<Probe>(heard).await.unwrap();
    let (watcher, worker) = (Ear::new(addr.clone()), probe(&system).await);
    let pid = worker.addr.pid();
    let monitor = watcher
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(pid);
            ctx.monitor(pid)
        })
        .await;
    let (gate, wait) = tokio::sync::oneshot::channel();
    addr.cast(Block(wait)).await;
    settle().await;
    addr.try_cast(Note(1)).unwrap();
    assert!(addr.try_cast(Note(2)).is_err(), "the mailbox must be full");
    system.exit(pid, ExitReason::Shutdown);
    assert_eq!(system.wait(pid).await, ExitReason::NoProc, "the dying actor must not wait for its watcher");
    drop(gate);
    settle().await;
    let heard: Vec<_> = std::iter::from_fn(|| ear.try_recv().ok()).collect();
    let told = [
        Heard::Info(Info::Exit { from: pid, reason: ExitReason::Shutdown }),
        Heard::Info(Info::Down { monitor, pid, reason: ExitReason::Shutdown }),
    ];
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert_eq!(heard[0], Heard::Note(1));
    assert!(told.iter().all(|told| heard.contains(told)), "{heard:?}");
}

/// ractor knows one supervisor per actor instead of links.
#[tokio::test(start_paused = true)]
async fn actor_may_be_linked_to_many() {
    let system = system(1);
    let (hub, mut others) = (probe(&system).await, Vec::new());
    for _ in 0..10 {
        let other = probe(&system).await;
        let pid = other.addr.pid();
        other.run(|ctx| ctx.trap_exit()).await;
        hub.run(move |ctx| ctx.link(pid)).await;
        others.push(other);
    }
    let from = hub.addr.pid();
    system.exit(from, ExitReason::Other("broke".into()));
    for mut other in others {
        let exit = Info::Exit { from, reason: ExitReason::Other("broke".into()) };
        assert_eq!(other.heard().await, [Heard::Info(exit)]);
    }
}

/// kameo#392: a restart keeps id and mailbox, so who held the actor from before kills the task that is gone, or the one
/// that is none of its business.
#[tokio::test(start_paused = true)]
async fn pid_and_address_from_before_a_restart_reach_nobody() {
    let system = system(1);
    let (heard, mut ear) = mpsc::unbounded_channel();
    let supervisor = system.spawn::<Supervisor>(supervised(&heard)).await.unwrap();
    let old = child_of(&supervisor).await;
    let addr = system.addr::<Probe>(old);
    system.exit(old, ExitReason::Kill);
    settle().await;
    let new = child_of(&supervisor).await;
    assert_ne!(old, new);
    system.exit(old, ExitReason::Kill);
    addr.cast(Note(1)).await;
    assert!(addr.call(Note(2)).await.is_err());
    settle().await;
    assert_eq!(child_of(&supervisor).await, new, "the new life is not the old one's");
    assert_eq!(std::iter::from_fn(|| ear.try_recv().ok()).collect::<Vec<_>>(), [Heard::Dropped]);
}

/// kameo's restarted actor goes on with the mailbox of the one before, and so with the message that it crashes on.
#[tokio::test(start_paused = true)]
async fn restarted_child_begins_with_an_empty_mailbox() {
    let system = system(1);
    let (heard, mut ear) = mpsc::unbounded_channel();
    let supervisor = system.spawn::<Supervisor>(supervised(&heard)).await.unwrap();
    let pid = child_of(&supervisor).await;
    let child = Ear::new(system.addr::<Probe>(pid));
    let _gate = child.block().await;
    child.addr.cast(Note(1)).await;
    system.exit(pid, ExitReason::Kill);
    settle().await;
    let restarted = system.addr::<Probe>(child_of(&supervisor).await);
    restarted.call(Note(2)).await.unwrap();
    assert_eq!(std::iter::from_fn(|| ear.try_recv().ok()).collect::<Vec<_>>(), [Heard::Dropped, Heard::Note(2)]);
}

/// kameo tells the links of a supervised actor only if its supervisor gives it up.
#[tokio::test(start_paused = true)]
async fn links_and_monitors_of_a_child_fire_though_it_is_restarted() {
    let system = system(1);
    let (heard, _ear) = mpsc::unbounded_channel();
    let supervisor = system.spawn::<Supervisor>(supervised(&heard)).await.unwrap();
    let pid = child_of(&supervisor).await;
    let mut friend = probe(&system).await;
    let monitor = friend
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(pid);
            ctx.monitor(pid)
        })
        .await;
    system.exit(pid, ExitReason::Kill);
    let heard = friend.heard().await;
    assert_ne!(child_of(&supervisor).await, pid);
    let exit = Heard::Info(Info::Exit { from: pid, reason: ExitReason::Killed });
    let down = Heard::Info(Info::Down { monitor, pid, reason: ExitReason::Killed });
    assert!(heard.len() == 2 && heard.contains(&exit) && heard.contains(&down), "{heard:?}");
}

/// kameo counts restarts per child and then leaves the child dead under a supervisor that looks well.
#[tokio::test(start_paused = true)]
async fn supervisor_that_can_not_keep_a_child_alive_does_not_live_on() {
    let system = system(1);
    let (heard, _ear) = mpsc::unbounded_channel();
    let spec = supervised(&heard).intensity(1, Duration::from_secs(60));
    let supervisor = system.spawn::<Supervisor>(spec).await.unwrap();
    let ended = system.wait(supervisor.pid());
    for _ in 0..2 {
        system.exit(child_of(&supervisor).await, ExitReason::Kill);
        settle().await;
    }
    assert_eq!(ended.await, ExitReason::Shutdown);
    assert_eq!(system.process_count(), 0);
}

/// actix and xtra let a panic unwind through the task that runs the actor: nobody hears of it.
#[tokio::test(start_paused = true)]
async fn panic_breaks_links_and_is_restarted_like_any_end() {
    struct Fragile;
    impl Actor for Fragile {
        type Args = ();
        async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
            Ok(Self)
        }
    }
    impl Handler<()> for Fragile {
        type Reply = ();
        async fn handle(&mut self, (): (), _: &mut Ctx<Self>) {
            panic!("glass");
        }
    }
    let system = system(1);
    let spec = SupervisorSpec::one_for_one().child(ChildSpec::actor::<Fragile>("child", ()).transient());
    let supervisor = system.spawn::<Supervisor>(spec).await.unwrap();
    let pid = child_of(&supervisor).await;
    let mut friend = probe(&system).await;
    friend
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(pid);
        })
        .await;
    system.addr::<Fragile>(pid).cast(()).await;
    let exit = Info::Exit { from: pid, reason: ExitReason::Panic("glass".into()) };
    assert_eq!(friend.heard().await, [Heard::Info(exit)]);
    assert_ne!(child_of(&supervisor).await, pid);
}
