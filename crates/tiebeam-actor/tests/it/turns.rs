//! Who has a turn when.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{
    Actor, Addr, Ctx, ExitReason, Handler, NoConnection, Pid, RemoteSignal, Room, Router, System, Table,
};
use tiebeam_wire::{Incarnation, NodeId};

use crate::probe::system;

/// What happened, in order.
type Log = Arc<Mutex<Vec<&'static str>>>;

/// Notes what it does.
struct Noter(Log);

/// Noted when it is handled.
struct Note;
/// Sends so many large bodies to another node, and notes each.
struct Flood(usize, Addr<Noter>);
/// Gives way again and again, and notes each turn.
struct Spin;

#[derive(Serialize, Deserialize)]
struct Load(Bytes);

impl Actor for Noter {
    type Args = Log;

    async fn init(log: Log, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(log))
    }

    fn table() -> Table<Self> {
        Table::new().cast::<Load>(1)
    }
}

impl Handler<Note> for Noter {
    type Reply = ();

    async fn handle(&mut self, _: Note, _: &mut Ctx<Self>) {
        self.0.lock().unwrap().push("note");
    }
}

impl Handler<Load> for Noter {
    type Reply = ();

    async fn handle(&mut self, _: Load, _: &mut Ctx<Self>) {}
}

impl Handler<Flood> for Noter {
    type Reply = ();

    async fn handle(&mut self, Flood(count, other): Flood, ctx: &mut Ctx<Self>) {
        let far = Pid { node: NodeId(2), incarnation: Incarnation(1), serial: 5 };
        let far = ctx.system().addr::<Self>(far);
        other.cast(Note).await;
        for _ in 0..count {
            far.cast(Load(Bytes::from_static(&[7; 64 * 1024]))).await;
            self.0.lock().unwrap().push("load");
        }
    }
}

impl Handler<Spin> for Noter {
    type Reply = ();

    async fn handle(&mut self, _: Spin, _: &mut Ctx<Self>) {
        poll_fn(|cx| {
            self.0.lock().unwrap().push("spin");
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await;
    }
}

/// Takes everything.
struct Sink;

impl Router for Sink {
    fn route(&self, _: NodeId, _: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        Ok(None)
    }
}

async fn two(system: &System) -> (Log, Addr<Noter>, Addr<Noter>) {
    let log = Log::default();
    let one = system.spawn::<Noter>(Arc::clone(&log)).await.unwrap();
    let other = system.spawn::<Noter>(Arc::clone(&log)).await.unwrap();
    (log, one, other)
}

/// Without it a pair that floods keeps all others of its worker waiting until it has sent all that it has.
#[tokio::test(start_paused = true)]
async fn who_sends_much_to_another_node_lets_others_have_their_turn() {
    let system = system(1);
    system.install_router(Arc::new(Sink));
    let (log, one, other) = two(&system).await;
    one.call(Flood(8, other)).await.unwrap();
    let log = log.lock().unwrap();
    let noted = log.iter().position(|what| *what == "note");
    assert!(noted.is_some_and(|noted| noted <= 1), "{log:?}");
    assert_eq!(log.len(), 9);
}

/// Without it whatever arrives from elsewhere waits for 61 turns of those that are always ready.
#[tokio::test(start_paused = true)]
async fn what_comes_from_outside_goes_first_after_others_had_the_thread() {
    let (log, one, other) = two(&system(1)).await;
    one.cast(Spin).await;
    tokio::task::yield_now().await;
    for _ in 0..10 {
        // From here the workers have not run.
        log.lock().unwrap().clear();
        other.cast(Note).await;
        tokio::task::yield_now().await;
        let log = log.lock().unwrap();
        let noted = log.iter().position(|what| *what == "note");
        assert!(noted.is_some_and(|noted| noted <= 1), "{noted:?} of {}", log.len());
    }
}
