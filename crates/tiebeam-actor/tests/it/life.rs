use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::{
    Actor, CallError, Config, Ctx, ExitReason, Handler, Info, NoConnection, Pid, Ref, RemoteSignal, Room, Router,
    System,
};
use tiebeam_wire::{Incarnation, NodeId};

use crate::probe::{Heard, Note, Probe, probe, settle, system};

/// Fails in the way it is told to.
struct Faulty(Fault);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Init,
    InitPanics,
    Terminate,
    Drop,
}

impl Actor for Faulty {
    type Args = Fault;

    async fn init(fault: Fault, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        match fault {
            Fault::Init => Err(ExitReason::Other("no disk".into())),
            Fault::InitPanics => panic!("no luck"),
            fault => Ok(Self(fault)),
        }
    }

    async fn terminate(&mut self, _: &ExitReason, _: &mut Ctx<Self>) {
        assert!(self.0 != Fault::Terminate, "bad end");
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        assert!(self.0 != Fault::Drop, "bad drop");
    }
}

impl Handler<()> for Faulty {
    type Reply = ();

    async fn handle(&mut self, (): (), _: &mut Ctx<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn failed_init_is_the_starters_result_and_nothing_else() {
    let system = system(1);
    let mut parent = probe(&system).await;
    parent.run(|ctx| ctx.trap_exit()).await;
    for (fault, reason) in
        [(Fault::Init, ExitReason::Other("no disk".into())), (Fault::InitPanics, ExitReason::Panic("no luck".into()))]
    {
        let starter = parent.run(|ctx| ctx.starter()).await;
        let started = starter.named("faulty").spawn::<Faulty>(fault).await;
        assert_eq!(started.unwrap_err(), reason);
        assert_eq!(system.whereis("faulty"), None);
    }
    assert_eq!(parent.heard().await, [], "an exit signal would tell it twice");
    assert_eq!(system.process_info(parent.addr.pid()).unwrap().links, []);
    assert_eq!(system.process_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn panic_in_terminate_or_drop_ends_only_the_actor() {
    let system = system(1);
    let terminate = system.spawn::<Faulty>(Fault::Terminate).await.unwrap();
    let reason = terminate.stop(ExitReason::Normal).await;
    assert_eq!(reason, Ok(ExitReason::Panic("bad end".into())));
    let dropped = system.spawn::<Faulty>(Fault::Drop).await.unwrap();
    assert_eq!(dropped.stop(ExitReason::Normal).await, Ok(ExitReason::Normal));
    assert_eq!(system.process_count(), 0);
    assert!(probe(&system).await.addr.call(Note(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_handler_is_the_exit_reason() {
    let system = system(1);
    let (mut watcher, mut a) = (probe(&system).await, probe(&system).await);
    let pid = a.addr.pid();
    let monitor = watcher.run(move |ctx| ctx.monitor(pid)).await;
    a.go(|_| panic!("bad luck")).await;
    let reason = ExitReason::Panic("bad luck".into());
    assert_eq!(watcher.heard().await, [Heard::Info(Info::Down { monitor, pid, reason })]);
    assert_eq!(a.heard().await, [Heard::Dropped], "a state that crashed is not asked to terminate");
}

#[tokio::test(start_paused = true)]
async fn stop_waits_its_turn_and_terminates() {
    let system = system(1);
    let mut a = probe(&system).await;
    let gate = a.block().await;
    a.addr.cast(Note(1)).await;
    let (ended, ()) = futures::join!(a.addr.stop(ExitReason::Shutdown), async {
        settle().await;
        a.addr.cast(Note(2)).await;
        drop(gate);
    });
    assert_eq!(ended, Ok(ExitReason::Shutdown));
    assert_eq!(a.heard().await, [Heard::Note(1), Heard::Terminate(ExitReason::Shutdown), Heard::Dropped]);
}

#[tokio::test(start_paused = true)]
async fn dropping_addresses_stops_nothing() {
    let system = system(1);
    let a = probe(&system).await;
    let pid = a.addr.pid();
    let addr = a.addr.clone();
    drop((a, addr));
    settle().await;
    system.addr::<Probe>(pid).call(Note(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn start_that_is_given_up_leaves_no_actor() {
    struct Slow;
    impl Actor for Slow {
        type Args = ();
        async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
            tiebeam_world::sleep(Duration::from_secs(60)).await;
            Ok(Self)
        }
    }
    let system = system(1);
    let mut parent = probe(&system).await;
    let starter = parent.run(|ctx| ctx.starter()).await;
    let started = tiebeam_world::timeout(Duration::from_secs(1), starter.spawn::<Slow>(())).await;
    assert!(started.is_err());
    tiebeam_world::sleep(Duration::from_secs(100)).await;
    assert_eq!(system.process_count(), 1);
    assert_eq!(parent.heard().await, [], "the parent gave up by itself");
    parent.addr.call(Note(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn timers_are_told_in_time_and_can_be_cancelled() {
    let system = system(1);
    let mut a = probe(&system).await;
    let cancelled = a
        .run(|ctx| {
            ctx.send_after(Duration::from_secs(2), 2);
            let cancelled = ctx.send_after(Duration::from_secs(3), 3);
            ctx.send_after(Duration::from_secs(1), 1);
            cancelled
        })
        .await;
    tiebeam_world::sleep(Duration::from_secs(2)).await;
    assert_eq!(a.heard().await, [Heard::Info(Info::Timer(1)), Heard::Info(Info::Timer(2))]);
    // It goes off while the actor is busy, and is cancelled by what stands before it in the queue.
    let gate = a.block().await;
    a.go(move |ctx| assert!(ctx.cancel_timer(cancelled))).await;
    tiebeam_world::sleep(Duration::from_secs(2)).await;
    drop(gate);
    assert_eq!(a.heard().await, []);
}

/// Counts as alive until it is dropped.
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A signal, and who had the name, whether the task was there, and how many processes there were in that moment.
type Seen = (RemoteSignal, Option<Pid>, bool, u64);

/// A watcher of another node hears through its router, on the spot: what is not free by then is free too late.
struct FarWatcher {
    system: System,
    is_held: Arc<AtomicBool>,
    seen: Mutex<Vec<Seen>>,
}

impl Router for FarWatcher {
    fn route(&self, _: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        let (holder, is_held) = (self.system.whereis("listener"), self.is_held.load(Ordering::SeqCst));
        self.seen.lock().unwrap().push((signal, holder, is_held, self.system.process_count()));
        Ok(None)
    }
}

/// Fails if a restarted listener could find its own name, port or file still taken.
#[tokio::test(start_paused = true)]
async fn what_an_actor_held_is_free_before_anybody_hears_of_its_end() {
    let system = system(1);
    let a = probe(&system).await;
    let pid = a.addr.pid();
    system.register("listener", pid).unwrap();
    let is_held = Arc::new(AtomicBool::new(true));
    let held = Alive(Arc::clone(&is_held));
    a.run(move |ctx| {
        ctx.spawn_task(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
    })
    .await;
    let far = Arc::new(FarWatcher { system: system.clone(), is_held: Arc::clone(&is_held), seen: Mutex::default() });
    system.install_router(Arc::clone(&far) as Arc<dyn Router>);
    let from = Pid { node: NodeId(2), incarnation: Incarnation(1), serial: 1 };
    let monitor = Ref { node: NodeId(2), incarnation: Incarnation(1), serial: 1 };
    system.deliver(NodeId(2), RemoteSignal::Monitor { from, to: pid, monitor });
    settle().await;
    assert!(is_held.load(Ordering::SeqCst));
    system.exit(pid, ExitReason::Kill);
    settle().await;
    let down = RemoteSignal::Down { from: pid, to: from, monitor, reason: ExitReason::Killed };
    assert_eq!(*far.seen.lock().unwrap(), [(down, None, false, 0)]);
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_task_is_an_exit_signal_to_its_actor() {
    let system = system(1);
    let a = probe(&system).await;
    let ended = system.wait(a.addr.pid());
    a.run(|ctx| ctx.spawn_task(async { panic!("task broke") })).await;
    assert_eq!(ended.await, ExitReason::Panic("task broke".into()));
}

#[tokio::test(start_paused = true)]
async fn too_many_processes_are_refused() {
    let config = Config { processes_max: 1, ..Config::default() };
    let system = System::with_config(NodeId(1), Incarnation(1), config);
    let a = probe(&system).await;
    let refused = system.spawn::<Faulty>(Fault::Drop).await;
    assert!(matches!(refused, Err(ExitReason::Other(text)) if text.contains("limit")));
    a.addr.stop(ExitReason::Normal).await.unwrap();
    assert_eq!(probe(&system).await.addr.call(Note(1)).await, Ok::<(), CallError>(()));
}

#[tokio::test(start_paused = true)]
async fn processes_can_be_seen() {
    let system = system(1);
    let (a, b) = (probe(&system).await, probe(&system).await);
    system.register("store", b.addr.pid()).unwrap();
    let pid = b.addr.pid();
    a.run(move |ctx| {
        ctx.link(pid);
        ctx.monitor(pid);
    })
    .await;
    let _gate = b.block().await;
    b.addr.cast(Note(1)).await;
    let seen = system.processes();
    assert_eq!(seen.iter().map(|info| info.pid).collect::<Vec<_>>(), [a.addr.pid(), pid]);
    assert_eq!((&seen[0].links[..], &seen[0].monitors[..]), (&[pid][..], &[pid][..]));
    assert_eq!((&seen[1].names[..], seen[1].queue_len), (&["store".to_owned()][..], 1));
    assert_eq!(seen[1].monitored_by, [a.addr.pid()]);
    assert!(seen[1].handling.is_some_and(|message| message.ends_with("Block")), "{:?}", seen[1].handling);
    assert!(seen[1].kind.ends_with("Probe"));
}
