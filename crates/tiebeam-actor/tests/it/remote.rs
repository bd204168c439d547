use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiebeam_actor::{
    Actor, CallError, Config, Ctx, Deferred, Dest, ExitReason, Handler, Info, NoConnection, Pid, Ref, RemoteSignal,
    ReplyTo, Room, Router, System, Table,
};
use tiebeam_wire::{Incarnation, NodeId, codec};

use crate::probe::{Ear, Heard, Note, probe, settle, system};

/// One way of a connection between two systems: encodes, keeps order, can hold back and can break.
struct Way {
    from: NodeId,
    to: System,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_held: bool,
    held: Vec<Vec<u8>>,
}

impl Way {
    fn new(from: &System, to: &System) -> Arc<Self> {
        let way = Arc::new(Self { from: from.node(), to: to.clone(), state: Mutex::default() });
        from.install_router(Arc::clone(&way) as Arc<dyn Router>);
        way
    }

    fn hold(&self) {
        self.state.lock().unwrap().is_held = true;
    }

    /// Delivers what was held back.
    fn release(&self) {
        let held = {
            let mut state = self.state.lock().unwrap();
            state.is_held = false;
            std::mem::take(&mut state.held)
        };
        held.iter().for_each(|bytes| self.deliver(bytes));
    }

    /// Loses what was held back and refuses the rest.
    fn cut(&self) {
        *self.state.lock().unwrap() = State { is_cut: true, ..State::default() };
    }

    fn deliver(&self, bytes: &[u8]) {
        self.to.deliver(self.from, codec::decode(1, bytes).unwrap());
    }
}

impl Router for Way {
    fn route(&self, to: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        let bytes = codec::encode(1, &signal);
        {
            let mut state = self.state.lock().unwrap();
            if state.is_cut || to != self.to.node() {
                return Err(NoConnection);
            }
            if state.is_held {
                state.held.push(bytes);
                return Ok(None);
            }
        }
        self.deliver(&bytes);
        Ok(None)
    }
}

/// Two nodes and the ways between them.
pub(crate) struct Pair {
    pub(crate) near: System,
    pub(crate) far: System,
    there: Arc<Way>,
    back: Arc<Way>,
}

pub(crate) fn pair() -> Pair {
    let (near, far) = (system(1), system(2));
    let (there, back) = (Way::new(&near, &far), Way::new(&far, &near));
    Pair { near, far, there, back }
}

impl Pair {
    /// Breaks the connection; both sides notice.
    pub(crate) fn cut(&self) {
        self.there.cut();
        self.back.cut();
        self.near.node_down(NodeId(2), Incarnation(1));
        self.far.node_down(NodeId(1), Incarnation(1));
    }
}

/// Counts, and answers from afar.
#[derive(Default)]
struct Counter {
    sum: u32,
    waiting: Vec<ReplyTo<u32>>,
}

#[derive(Serialize, Deserialize)]
struct Add(u32);
#[derive(Serialize, Deserialize)]
struct AwaitSum;
#[derive(Serialize, Deserialize)]
struct Tell;
#[derive(Serialize, Deserialize)]
struct Sleep;
/// Not in the table.
struct Secret;
/// Written by a version that put something else under `Add`'s tag.
#[derive(Serialize, Deserialize)]
struct Stranger(String, String);

impl Actor for Counter {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self::default())
    }

    fn table() -> Table<Self> {
        Table::new().call::<Add>(1).call_deferred::<AwaitSum>(2).cast::<Tell>(3).cast::<Sleep>(4)
    }
}

impl Handler<Add> for Counter {
    type Reply = u32;

    async fn handle(&mut self, Add(number): Add, _: &mut Ctx<Self>) -> u32 {
        assert!(number < 1000, "too much");
        self.sum += number;
        self.sum
    }
}

impl Deferred<AwaitSum> for Counter {
    type Reply = u32;

    async fn handle_call(&mut self, _: AwaitSum, reply_to: ReplyTo<u32>, _: &mut Ctx<Self>) {
        self.waiting.push(reply_to);
    }
}

impl Handler<Tell> for Counter {
    type Reply = ();

    async fn handle(&mut self, _: Tell, _: &mut Ctx<Self>) {
        let sum = self.sum;
        self.waiting.drain(..).for_each(|reply_to| reply_to.send(sum));
    }
}

impl Handler<Sleep> for Counter {
    type Reply = ();

    async fn handle(&mut self, _: Sleep, _: &mut Ctx<Self>) {
        tiebeam_world::sleep(Duration::from_secs(60)).await;
    }
}

impl Handler<Secret> for Counter {
    type Reply = ();

    async fn handle(&mut self, _: Secret, _: &mut Ctx<Self>) {}
}

/// The same actor as a node of another version sees it.
struct OtherCounter;

impl Actor for OtherCounter {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }

    fn table() -> Table<Self> {
        Table::new().call::<Stranger>(1).call::<Add>(77)
    }
}

impl Handler<Stranger> for OtherCounter {
    type Reply = u32;

    async fn handle(&mut self, _: Stranger, _: &mut Ctx<Self>) -> u32 {
        0
    }
}

impl Handler<Add> for OtherCounter {
    type Reply = u32;

    async fn handle(&mut self, _: Add, _: &mut Ctx<Self>) -> u32 {
        0
    }
}

async fn counter(pair: &Pair) -> (tiebeam_actor::Addr<Counter>, Pid) {
    let pid = pair.far.spawn::<Counter>(()).await.unwrap().pid();
    (pair.near.addr(pid), pid)
}

#[tokio::test(start_paused = true)]
async fn call_and_cast_reach_another_node_by_pid_and_by_name() {
    let pair = pair();
    let (addr, pid) = counter(&pair).await;
    assert!(!addr.is_local());
    assert_eq!(addr.call(Add(2)).await, Ok(2));
    pair.far.register("counter", pid).unwrap();
    let named = pair.near.named::<Counter>(NodeId(2), "counter");
    assert_eq!(named.call(Add(3)).await, Ok(5));
    let (sum, ()) = futures::join!(addr.call(AwaitSum).into_future(), async {
        settle().await;
        addr.cast(Tell).await;
    });
    assert_eq!(sum, Ok(5), "answered later");
    assert_eq!(pair.near.named::<Counter>(NodeId(2), "nobody").call(Add(1)).await, Err(CallError::NoProc));
}

#[tokio::test(start_paused = true)]
async fn remote_callers_hear_why_the_callee_ended() {
    let pair = pair();
    let (addr, _) = counter(&pair).await;
    let (deferred, crashed, queued) = futures::join!(
        addr.call(AwaitSum).into_future(),
        addr.call(Add(1000)).into_future(),
        addr.call(Add(1)).into_future()
    );
    let reason = CallError::Exit(ExitReason::Panic("too much".into()));
    assert_eq!((deferred, crashed, queued), (Err(reason.clone()), Err(reason.clone()), Err(reason)));
    assert_eq!(addr.call(Add(1)).await, Err(CallError::NoProc));
}

/// Its `Deserialize` panics.
struct Trap;

impl Serialize for Trap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(0)
    }
}

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a trap")
    }
}

impl Handler<Trap> for Trapped {
    type Reply = ();

    async fn handle(&mut self, _: Trap, _: &mut Ctx<Self>) {}
}

struct Trapped;

impl Actor for Trapped {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }

    fn table() -> Table<Self> {
        Table::new().call::<Trap>(1)
    }
}

/// Fails if such a process neither lives on nor ends: its names would never be free, and nobody would hear of it.
#[tokio::test(start_paused = true)]
async fn panic_while_a_message_is_decoded_ends_the_actor() {
    let pair = pair();
    let pid = pair.far.spawn::<Trapped>(()).await.unwrap().pid();
    let ended = pair.far.wait(pid);
    let answer = pair.near.addr::<Trapped>(pid).call(Trap).await;
    assert_eq!(ended.await, ExitReason::Panic("a trap".into()));
    assert_eq!(answer, Err(CallError::Exit(ExitReason::Panic("a trap".into()))));
}

#[tokio::test(start_paused = true)]
async fn message_outside_the_table_is_incompatible() {
    let pair = pair();
    let (addr, pid) = counter(&pair).await;
    assert_eq!(addr.call(Secret).await, Err(CallError::Incompatible), "refused before it leaves");
    let other = pair.near.addr::<OtherCounter>(pid);
    assert_eq!(other.call(Add(1)).await, Err(CallError::Incompatible), "unknown tag");
    let stranger = Stranger("a".into(), "b".into());
    assert_eq!(other.call(stranger).await, Err(CallError::Incompatible), "other bytes under a known tag");
    assert_eq!(addr.call(Add(1)).await, Ok(1), "the callee lives on");
}

#[tokio::test(start_paused = true)]
async fn full_mailbox_refuses_a_remote_call() {
    let pair = pair();
    let far = pair.far.starter().mailbox_messages_max(1).spawn::<Counter>(()).await.unwrap();
    let addr = pair.near.addr::<Counter>(far.pid());
    addr.cast(Sleep).await;
    settle().await;
    addr.cast(Tell).await;
    assert_eq!(addr.call(Add(1)).await, Err(CallError::Overloaded));
}

/// The deadline travels as time left, so that clocks need not agree.
#[tokio::test(start_paused = true)]
async fn remote_call_whose_caller_gave_up_is_skipped() {
    let pair = pair();
    let (addr, _) = counter(&pair).await;
    addr.cast(Sleep).await;
    assert_eq!(addr.call(Add(1)).timeout(Duration::from_secs(1)).await, Err(CallError::Timeout));
    tiebeam_world::sleep(Duration::from_secs(60)).await;
    assert_eq!(addr.call(Add(5)).await, Ok(5), "the call before it was not handled");
}

#[tokio::test(start_paused = true)]
async fn late_reply_of_another_node_is_dropped() {
    let pair = pair();
    let (addr, _) = counter(&pair).await;
    pair.back.hold();
    assert_eq!(addr.call(Add(1)).timeout(Duration::from_secs(1)).await, Err(CallError::Timeout));
    pair.back.release();
    assert_eq!(addr.call(Add(1)).await, Ok(2));
}

/// Fails if a call that was given up is remembered: the node would run out of calls.
#[tokio::test(start_paused = true)]
async fn calls_given_up_make_room() {
    let near = System::with_config(NodeId(1), Incarnation(1), Config { remote_calls_max: 1, ..Config::default() });
    let far = system(2);
    let (_there, _back) = (Way::new(&near, &far), Way::new(&far, &near));
    let addr = near.addr::<Counter>(far.spawn::<Counter>(()).await.unwrap().pid());
    let (given_up, refused) = futures::join!(addr.call(AwaitSum).into_future(), async {
        settle().await;
        addr.call(Add(1)).await
    });
    assert_eq!((given_up, refused), (Err(CallError::Timeout), Err(CallError::Overloaded)));
    assert_eq!(addr.call(Add(1)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn without_a_router_there_is_no_connection() {
    let system = system(1);
    let mut a = probe(&system).await;
    let pid = Pid { node: NodeId(9), incarnation: Incarnation(1), serial: 1 };
    assert_eq!(system.addr::<Counter>(pid).call(Add(1)).await, Err(CallError::NoConnection));
    assert_eq!(system.addr::<Counter>(pid).try_cast(Add(1)), Err(CallError::NoConnection));
    let monitor = a
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(pid);
            ctx.monitor(pid)
        })
        .await;
    let reason = ExitReason::NoConnection;
    let exit = Heard::Info(Info::Exit { from: pid, reason: reason.clone() });
    assert_eq!(a.heard().await, [exit, Heard::Info(Info::Down { monitor, pid, reason })]);
}

#[tokio::test(start_paused = true)]
async fn links_and_monitors_work_across_nodes() {
    let pair = pair();
    let (mut near, mut far) = (probe(&pair.near).await, probe(&pair.far).await);
    let (near_pid, far_pid) = (near.addr.pid(), far.addr.pid());
    let monitor = near
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(far_pid);
            ctx.monitor(far_pid)
        })
        .await;
    settle().await;
    assert_eq!(pair.far.process_info(far_pid).unwrap().links, [near_pid]);
    far.run(|ctx| ctx.trap_exit()).await;
    pair.near.exit(far_pid, ExitReason::Shutdown);
    assert_eq!(far.heard().await.len(), 1, "trapped");
    pair.near.exit(far_pid, ExitReason::Kill);
    let reason = ExitReason::Killed;
    let exit = Heard::Info(Info::Exit { from: far_pid, reason: reason.clone() });
    assert_eq!(near.heard().await, [exit, Heard::Info(Info::Down { monitor, pid: far_pid, reason })]);
}

#[tokio::test(start_paused = true)]
async fn unlink_and_demonitor_work_across_nodes() {
    let pair = pair();
    let (mut near, far) = (probe(&pair.near).await, probe(&pair.far).await);
    let far_pid = far.addr.pid();
    near.run(move |ctx| {
        ctx.trap_exit();
        ctx.link(far_pid);
        let monitor = ctx.monitor(far_pid);
        ctx.unlink(far_pid);
        ctx.demonitor(monitor);
    })
    .await;
    settle().await;
    let info = pair.far.process_info(far_pid).unwrap();
    assert_eq!((info.links.len(), info.monitored_by.len()), (0, 0));
    pair.far.exit(far_pid, ExitReason::Kill);
    assert_eq!(near.heard().await, []);
}

/// Keeps what is sent.
struct Recorder(Arc<Mutex<Vec<RemoteSignal>>>);

impl Router for Recorder {
    fn route(&self, _: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        self.0.lock().unwrap().push(signal);
        Ok(None)
    }
}

/// Fails if the caller hears that it was forgotten: it may still look when the answer comes, and would take it for a fault.
#[tokio::test(start_paused = true)]
async fn call_whose_time_is_up_is_not_handled_and_told_so() {
    let pair = pair();
    let (_, pid) = counter(&pair).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    pair.far.install_router(Arc::new(Recorder(Arc::clone(&seen))));
    pair.far.suspend(pid).await.unwrap();
    let from = Pid { node: NodeId(1), incarnation: Incarnation(1), serial: 7 };
    let call = Ref { node: NodeId(1), incarnation: Incarnation(1), serial: 9 };
    let (to, body) = (Dest::Pid(pid), codec::encode(1, &Add(1)).into());
    pair.far.deliver(NodeId(1), RemoteSignal::Message { from, to, tag: 1, body, reply: Some(call), deadline_ms: 5 });
    tiebeam_world::sleep(Duration::from_millis(10)).await;
    pair.far.resume(pid).await.unwrap();
    settle().await;
    let result = Err(CallError::Timeout);
    assert_eq!(*seen.lock().unwrap(), [RemoteSignal::Reply { from: pid, to: from, call, result }]);
}

#[tokio::test(start_paused = true)]
async fn result_comes_before_down_across_nodes() {
    let pair = pair();
    let sink = probe(&pair.near).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let worker = probe(&pair.far).await;
    let (far_pid, sink_pid) = (worker.addr.pid(), sink.addr.pid());
    sink.run(move |ctx| ctx.monitor(far_pid)).await;
    pair.far.install_router(Arc::new(Recorder(Arc::clone(&seen))));
    let result = pair.far.addr::<Counter>(sink_pid);
    worker
        .go(move |ctx| {
            result.try_cast(Add(1)).unwrap();
            ctx.stop(ExitReason::Normal);
        })
        .await;
    settle().await;
    let seen = seen.lock().unwrap();
    assert!(matches!(&seen[..], [RemoteSignal::Message { .. }, RemoteSignal::Down { .. }]), "{seen:?}");
    // Lanes are chosen by sender and receiver: only the same pair keeps the order.
    assert_eq!(seen[0].pair(), (far_pid, Some(sink_pid)));
    assert_eq!(seen[0].pair(), seen[1].pair());
}

/// Fails if a lost connection and a late `Down` are both told, or if links, monitors or calls hang for ever.
#[tokio::test(start_paused = true)]
async fn node_down_fires_once_for_every_link_monitor_and_call() {
    let pair = pair();
    let (mut near, mut far) = (probe(&pair.near).await, probe(&pair.far).await);
    let (near_pid, far_pid) = (near.addr.pid(), far.addr.pid());
    far.run(|ctx| ctx.trap_exit()).await;
    let monitors = near
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(far_pid);
            [ctx.monitor(far_pid), ctx.monitor(far_pid)]
        })
        .await;
    let (addr, _) = counter(&pair).await;
    settle().await;
    let (lost, ()) = futures::join!(addr.call(AwaitSum).into_future(), async {
        settle().await;
        pair.cut();
        pair.near.node_down(NodeId(2), Incarnation(1));
    });
    assert_eq!(lost, Err(CallError::NoConnection));
    let reason = ExitReason::NoConnection;
    let mut expected: Vec<_> =
        monitors.map(|monitor| Heard::Info(Info::Down { monitor, pid: far_pid, reason: reason.clone() })).into();
    expected.push(Heard::Info(Info::Exit { from: far_pid, reason: reason.clone() }));
    assert_eq!(near.heard().await, expected);
    assert_eq!(far.heard().await, [Heard::Info(Info::Exit { from: near_pid, reason })]);
    assert_eq!(pair.far.process_info(far_pid).unwrap().monitored_by, []);
    // Words of the lost connection that were still under way.
    let late = RemoteSignal::Down { from: far_pid, to: near_pid, monitor: monitors[0], reason: ExitReason::Killed };
    pair.near.deliver(NodeId(2), late);
    assert_eq!(near.heard().await, []);
}

#[tokio::test(start_paused = true)]
async fn node_down_of_another_incarnation_fires_nothing() {
    let pair = pair();
    let (mut near, far) = (probe(&pair.near).await, probe(&pair.far).await);
    let far_pid = far.addr.pid();
    near.run(move |ctx| ctx.monitor(far_pid)).await;
    pair.near.node_down(NodeId(2), Incarnation(0));
    pair.near.node_down(NodeId(3), Incarnation(1));
    assert_eq!(near.heard().await, []);
}

/// The far node restarted: its serials begin again, and must not be taken for the ones of before.
#[tokio::test(start_paused = true)]
async fn signals_for_another_incarnation_are_answered_noproc() {
    let near = system(1);
    let far = System::new(NodeId(2), Incarnation(2));
    let (_there, _back) = (Way::new(&near, &far), Way::new(&far, &near));
    let now_there = far.spawn::<Counter>(()).await.unwrap();
    let stale = Pid { incarnation: Incarnation(1), ..now_there.pid() };
    let mut a = probe(&near).await;
    assert_eq!(near.addr::<Counter>(stale).call(Add(1)).await, Err(CallError::NoProc));
    let monitor = a
        .run(move |ctx| {
            ctx.trap_exit();
            ctx.link(stale);
            ctx.monitor(stale)
        })
        .await;
    near.exit(stale, ExitReason::Kill);
    let reason = ExitReason::NoProc;
    let exit = Heard::Info(Info::Exit { from: stale, reason: reason.clone() });
    assert_eq!(a.heard().await, [exit, Heard::Info(Info::Down { monitor, pid: stale, reason })]);
    assert_eq!(near.addr::<Counter>(now_there.pid()).call(Add(1)).await, Ok(1), "the new one was not hit");
}

#[tokio::test(start_paused = true)]
async fn node_can_not_speak_for_another() {
    let pair = pair();
    let a: Ear = probe(&pair.near).await;
    let forged = Pid { node: NodeId(3), incarnation: Incarnation(1), serial: 1 };
    let exit = RemoteSignal::Exit {
        from: forged,
        to: a.addr.pid(),
        reason: ExitReason::Kill,
        kind: tiebeam_actor::ExitKind::Sent,
    };
    pair.near.deliver(NodeId(2), exit);
    settle().await;
    a.addr.call(Note(1)).await.unwrap();
}
