use tiebeam_actor::{Actor, CallError, Ctx, ExitReason, Info, RegisterError, System};
use tokio::sync::mpsc;

use crate::probe::{Note, Probe, probe, system};

/// Looks a name up in the moment in which it hears of a death.
struct Watcher {
    system: System,
    seen: mpsc::UnboundedSender<Option<tiebeam_actor::Pid>>,
}

impl Actor for Watcher {
    type Args = (System, tiebeam_actor::Pid, mpsc::UnboundedSender<Option<tiebeam_actor::Pid>>);

    async fn init((system, pid, seen): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.monitor(pid);
        Ok(Self { system, seen })
    }

    async fn info(&mut self, _: Info, _: &mut Ctx<Self>) {
        let _ = self.seen.send(self.system.whereis("store"));
    }
}

/// Fails if `Down` is sent first: a restart would find its own name taken. Many threads, so that the gap would be met.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_is_free_before_down() {
    let system = system(1);
    let (heard, _ear) = mpsc::unbounded_channel();
    for _ in 0..200 {
        let named = system.starter().named("store").spawn::<Probe>(heard.clone()).await.unwrap();
        let (seen, mut see) = mpsc::unbounded_channel();
        let watcher = system.spawn::<Watcher>((system.clone(), named.pid(), seen)).await.unwrap();
        system.exit(named.pid(), ExitReason::Kill);
        assert_eq!(see.recv().await, Some(None));
        watcher.stop(ExitReason::Normal).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn name_has_one_holder_until_it_ends() {
    let system = system(1);
    let (a, b) = (probe(&system).await, probe(&system).await);
    system.register("store", a.addr.pid()).unwrap();
    system.register("store", a.addr.pid()).unwrap();
    let taken = system.register("store", b.addr.pid());
    assert_eq!(taken, Err(RegisterError::Taken { name: "store".into(), holder: a.addr.pid() }));
    a.addr.stop(ExitReason::Normal).await.unwrap();
    system.register("store", b.addr.pid()).unwrap();
    assert_eq!(system.whereis("store"), Some(b.addr.pid()));
    assert_eq!(system.unregister("store"), Some(b.addr.pid()));
    assert_eq!(system.whereis("store"), None);
    let gone = a.addr.pid();
    assert_eq!(system.register("store", gone), Err(RegisterError::NoProc { pid: gone }));
}

#[tokio::test(start_paused = true)]
async fn start_under_a_taken_name_fails() {
    let system = system(1);
    let a = probe(&system).await;
    system.register("store", a.addr.pid()).unwrap();
    let (heard, _ear) = mpsc::unbounded_channel();
    let started = system.starter().named("store").spawn::<Probe>(heard).await;
    assert!(matches!(started, Err(ExitReason::Other(text)) if text.contains("store")));
    assert_eq!(system.process_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn named_address_finds_the_present_holder() {
    let system = system(1);
    let named = system.named::<Probe>(system.node(), "store");
    assert_eq!(named.call(Note(1)).await, Err(CallError::NoProc));
    let mut a = probe(&system).await;
    system.register("store", a.addr.pid()).unwrap();
    named.call(Note(2)).await.unwrap();
    named.cast(Note(3)).await;
    assert_eq!(a.heard().await.len(), 2);
    a.addr.stop(ExitReason::Normal).await.unwrap();
    assert_eq!(named.call(Note(4)).await, Err(CallError::NoProc));
}
