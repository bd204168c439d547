use tiebeam_actor::{ExitReason, Info, Pid, Ref};

use crate::probe::{Ear, Heard, Note, probe, settle, system};

async fn monitor(watcher: &Ear, pid: Pid) -> Ref {
    watcher.run(move |ctx| ctx.monitor(pid)).await
}

fn down(monitor: Ref, pid: Pid, reason: ExitReason) -> Heard {
    Heard::Info(Info::Down { monitor, pid, reason })
}

/// The defect of every runtime that gives signals a queue of their own.
#[tokio::test(start_paused = true)]
async fn result_comes_before_down() {
    let system = system(1);
    let (mut watcher, worker) = (probe(&system).await, probe(&system).await);
    let pid = worker.addr.pid();
    let watch = monitor(&watcher, pid).await;
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
    assert_eq!(watcher.heard().await, [Heard::Note(1), Heard::Note(2), down(watch, pid, ExitReason::Normal)]);
}

#[tokio::test(start_paused = true)]
async fn monitor_of_a_dead_pid_fires_at_once_with_noproc() {
    let system = system(1);
    let (mut watcher, worker) = (probe(&system).await, probe(&system).await);
    let pid = worker.addr.pid();
    worker.addr.stop(ExitReason::Normal).await.unwrap();
    let watch = monitor(&watcher, pid).await;
    assert_eq!(watcher.heard().await, [down(watch, pid, ExitReason::NoProc)]);
}

#[tokio::test(start_paused = true)]
async fn several_monitors_of_a_pair_fire_each_once() {
    let system = system(1);
    let (mut watcher, worker) = (probe(&system).await, probe(&system).await);
    let pid = worker.addr.pid();
    let (first, second) = (monitor(&watcher, pid).await, monitor(&watcher, pid).await);
    let ended = watcher.run(move |ctx| ctx.monitor(pid)).await;
    watcher.run(move |ctx| ctx.demonitor(ended)).await;
    system.exit(pid, ExitReason::Shutdown);
    let heard = watcher.heard().await;
    assert_eq!(heard, [down(first, pid, ExitReason::Shutdown), down(second, pid, ExitReason::Shutdown)]);
    system.exit(pid, ExitReason::Shutdown);
    assert_eq!(watcher.heard().await, []);
}

/// The `Down` waits behind the blocked handler when `demonitor` runs.
#[tokio::test(start_paused = true)]
async fn demonitor_flushes_a_down_that_waits() {
    let system = system(1);
    let (mut watcher, worker) = (probe(&system).await, probe(&system).await);
    let pid = worker.addr.pid();
    let watch = monitor(&watcher, pid).await;
    let gate = watcher.block().await;
    watcher.go(move |ctx| ctx.demonitor(watch)).await;
    system.exit(pid, ExitReason::Kill);
    settle().await;
    drop(gate);
    assert_eq!(watcher.heard().await, []);
    assert_eq!(system.process_info(watcher.addr.pid()).unwrap().monitors, []);
}

/// A monitor that is in the queue when its target dies must not be lost with the queue.
#[tokio::test(start_paused = true)]
async fn monitor_that_crosses_the_death_fires() {
    let system = system(1);
    let (mut watcher, worker) = (probe(&system).await, probe(&system).await);
    let (pid, inner) = (worker.addr.pid(), system.clone());
    let watch = watcher
        .run(move |ctx| {
            inner.exit(pid, ExitReason::Shutdown);
            ctx.monitor(pid)
        })
        .await;
    assert_eq!(watcher.heard().await, [down(watch, pid, ExitReason::NoProc)]);
}

#[tokio::test(start_paused = true)]
async fn pids_are_not_reused() {
    let system = system(1);
    let first = probe(&system).await;
    first.addr.stop(ExitReason::Normal).await.unwrap();
    let second = probe(&system).await;
    assert!(second.addr.pid() > first.addr.pid());
    assert!(!system.is_alive(first.addr.pid()));
}
