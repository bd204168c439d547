//! Many threads, many deaths: what must hold however the race ends.

use std::time::Duration;

use tiebeam_actor::{Actor, CallError, Ctx, ExitReason, Handler, Info, Pid};
use tokio::sync::mpsc;

use crate::probe::{Note, Probe, system};

/// Monitors and links itself to whom it is told, and counts what comes of it.
struct Watcher {
    told: mpsc::UnboundedSender<Info>,
}

struct Watch(Pid);

impl Actor for Watcher {
    type Args = mpsc::UnboundedSender<Info>;

    async fn init(told: Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        Ok(Self { told })
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        let _ = self.told.send(info);
    }
}

impl Handler<Watch> for Watcher {
    type Reply = ();

    async fn handle(&mut self, Watch(pid): Watch, ctx: &mut Ctx<Self>) {
        ctx.monitor(pid);
        ctx.link(pid);
        ctx.monitor(pid);
    }
}

/// Fails if a monitor or a link is lost in the moment of death, fires twice, or if a caller waits for an actor that is
/// gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_monitor_link_and_call_ends_exactly_once() {
    const ROUNDS: usize = 2000;
    let system = system(1);
    let (told, mut tell) = mpsc::unbounded_channel();
    let watcher = system.spawn::<Watcher>(told).await.unwrap();
    let (heard, mut ear) = mpsc::unbounded_channel();
    for round in 0..ROUNDS {
        let victim = system.spawn::<Probe>(heard.clone()).await.unwrap();
        let pid = victim.pid();
        let killer = {
            let system = system.clone();
            tiebeam_world::spawn("test.kill", async move { system.exit(pid, ExitReason::Kill) })
        };
        let calls = (0..3).map(|number| {
            let victim = victim.clone();
            tiebeam_world::spawn("test.call", async move { victim.call(Note(number)).await })
        });
        let calls: Vec<_> = calls.collect();
        watcher.call(Watch(pid)).await.unwrap();
        for call in calls {
            let result = call.await.unwrap();
            let fair = [Ok(()), Err(CallError::NoProc), Err(CallError::Exit(ExitReason::Killed))];
            assert!(fair.contains(&result), "round {round}: {result:?}");
        }
        killer.await.unwrap();
        let mut told = Vec::new();
        for _ in 0..3 {
            let info = tiebeam_world::timeout(Duration::from_secs(5), tell.recv()).await;
            told.push(info.unwrap_or_else(|_| panic!("round {round}: only {told:?}")).unwrap());
        }
        let downs = told.iter().filter(|info| matches!(info, Info::Down { pid: of, .. } if *of == pid)).count();
        let exits = told.iter().filter(|info| matches!(info, Info::Exit { from, .. } if *from == pid)).count();
        assert_eq!((downs, exits), (2, 1), "round {round}: {told:?}");
        while ear.try_recv().is_ok() {}
    }
    watcher.call(Watch(watcher.pid())).await.unwrap();
    assert!(tell.try_recv().is_err(), "something was told twice");
    let seen = system.process_info(watcher.pid()).unwrap();
    assert_eq!(seen.links, [], "ends of dead links pile up");
    assert_eq!(system.process_count(), 1);
}
