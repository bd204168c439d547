//! Looking into processes and holding them.

use std::time::Duration;

use tiebeam_actor::{
    Actor, CallError, CodeChange, Ctx, ExitReason, Exported, Handler, Info, Pid, ProcessTree, Status, TraceKind,
    TraceLimits,
};

use crate::probe::{Ear, Heard, Note, child, probe, settle, system};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Counter(u64);

struct Add(u64);

impl Actor for Counter {
    type Args = u64;

    async fn init(start: u64, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(start))
    }

    fn format_status(&self) -> Option<String> {
        Some(format!("count is {}", self.0))
    }
}

impl Handler<Add> for Counter {
    type Reply = u64;

    async fn handle(&mut self, Add(by): Add, _: &mut Ctx<Self>) -> u64 {
        self.0 += by;
        self.0
    }
}

/// Fails if a suspended actor handles a message, or if an exit does not reach it.
#[tokio::test(start_paused = true)]
async fn suspended_actor_handles_nothing_until_it_is_resumed() {
    let system = system(1);
    let mut a = probe(&system).await;
    let pid = a.addr.pid();
    system.suspend(pid).await.unwrap();
    a.addr.try_cast(Note(1)).unwrap();
    assert_eq!(a.heard().await, []);
    assert_eq!(system.process_info(pid).unwrap().status, Status::Suspended);
    system.resume(pid).await.unwrap();
    assert_eq!(a.heard().await, [Heard::Note(1)]);
    system.suspend(pid).await.unwrap();
    system.exit(pid, ExitReason::Shutdown);
    assert_eq!(a.heard().await, [Heard::Dropped]);
    assert_eq!(system.suspend(pid).await, Err(CallError::NoProc));
}

/// As `sys` of OTP. Fails if an operator could make a process that nobody can stop in order.
#[tokio::test(start_paused = true)]
async fn suspended_actor_still_obeys_whoever_may_stop_it() {
    let system = system(1);
    let mut a = probe(&system).await;
    system.suspend(a.addr.pid()).await.unwrap();
    a.addr.try_cast(Note(1)).unwrap();
    assert_eq!(a.addr.stop(ExitReason::Shutdown).await, Ok(ExitReason::Shutdown));
    assert_eq!(a.heard().await, [Heard::Terminate(ExitReason::Shutdown), Heard::Dropped]);

    let parent = probe(&system).await;
    let mut b = child(&parent).await;
    b.run(|ctx| ctx.trap_exit()).await;
    system.suspend(b.addr.pid()).await.unwrap();
    b.addr.try_cast(Note(1)).unwrap();
    system.exit(parent.addr.pid(), ExitReason::Shutdown);
    assert_eq!(b.heard().await, [Heard::Terminate(ExitReason::Shutdown), Heard::Dropped]);
}

/// Fails if what was handled counts as waiting until its credits are given back.
#[tokio::test(start_paused = true)]
async fn queue_holds_only_what_waits() {
    let system = system(1);
    let a = probe(&system).await;
    let pid = a.addr.pid();
    a.addr.try_cast(Note(1)).unwrap();
    a.addr.try_cast(Note(2)).unwrap();
    let own = a.run(move |ctx| ctx.system().process_info(pid).unwrap()).await;
    assert_eq!((own.queue_len, own.handled), (0, 3));
}

/// Fails if a child is missing, comes twice, or if an orphan is lost.
#[tokio::test(start_paused = true)]
async fn trees_hold_every_process_below_its_parent() {
    fn text(trees: &[ProcessTree]) -> String {
        let tree = |tree: &ProcessTree| format!("{}({})", tree.process.pid.serial, text(&tree.children));
        trees.iter().map(tree).collect()
    }
    let system = system(1);
    let a = probe(&system).await;
    let b = child(&a).await;
    let c = child(&b).await;
    let _d = child(&a).await;
    let _e = probe(&system).await;
    assert_eq!(text(&system.trees()), "1(2(3())4())5()");
    c.run(|ctx| ctx.trap_exit()).await;
    b.run(|ctx| ctx.unlink(Pid { serial: 1, ..ctx.pid() })).await;
    let (b, c) = (b.addr.pid(), c.addr.pid());
    // It outlives its parent, which is not told: a trapped exit of a parent ends through `terminate`.
    Ear::new(system.addr(c)).run(move |ctx| ctx.unlink(b)).await;
    system.exit(b, ExitReason::Kill);
    settle().await;
    assert_eq!(text(&system.trees()), "1(4())3()5()");
}

/// Fails if suspending answers while a handler is still under way.
#[tokio::test(start_paused = true)]
async fn suspend_waits_for_the_handler_in_hand() {
    let system = system(1);
    let a = probe(&system).await;
    let gate = a.block().await;
    let suspend = system.suspend(a.addr.pid());
    let mut suspend = std::pin::pin!(suspend);
    assert!(tiebeam_world::timeout(Duration::from_secs(1), &mut suspend).await.is_err());
    drop(gate);
    suspend.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn state_is_read_and_replaced_between_messages_also_of_a_suspended_actor() {
    let system = system(1);
    let counter = system.spawn::<Counter>(3).await.unwrap();
    system.suspend(counter.pid()).await.unwrap();
    counter.try_cast(Add(1)).unwrap();
    assert_eq!(counter.get_state().await, Ok(Counter(3)));
    assert_eq!(counter.replace_state(Counter(10)).await, Ok(Counter(3)));
    assert_eq!(system.status_text(counter.pid()).await, Ok(Some("count is 10".to_owned())));
    system.resume(counter.pid()).await.unwrap();
    assert_eq!(counter.call(Add(1)).await, Ok(12));
}

#[tokio::test(start_paused = true)]
async fn trace_tells_what_a_process_handles_within_its_limits() {
    let system = system(1);
    let counter = system.spawn::<Counter>(0).await.unwrap();
    let limits = TraceLimits { events_max: 3, events_per_second_max: 2 };
    let mut trace = system.trace(counter.pid(), limits).unwrap();
    for _ in 0..5 {
        counter.call(Add(1)).await.unwrap();
    }
    tiebeam_world::sleep(Duration::from_secs(1)).await;
    system.exit(counter.pid(), ExitReason::Shutdown);
    settle().await;
    let mut kinds = Vec::new();
    while let Some(event) = trace.next().await {
        kinds.push(event.kind);
    }
    let handles = TraceKind::Handles(std::any::type_name::<Add>());
    assert_eq!(kinds[..2], [handles.clone(), handles]);
    assert!(matches!(&kinds[2..], [TraceKind::Signal(text)] if text.contains("shutdown")), "{kinds:?}");
    assert_eq!(trace.lost(), 3);
}

#[tokio::test(start_paused = true)]
async fn trace_ends_with_its_process() {
    let system = system(1);
    let counter = system.spawn::<Counter>(0).await.unwrap();
    let mut trace = system.trace(counter.pid(), TraceLimits::default()).unwrap();
    counter.stop(ExitReason::Normal).await.unwrap();
    let mut last = None;
    while let Some(event) = trace.next().await {
        last = Some(event.kind);
    }
    assert_eq!(last, Some(TraceKind::Ended(ExitReason::Normal)));
}

/// Counts in twos, and takes over what the first version wrote.
struct Pairs(u64);

impl Actor for Pairs {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(0))
    }
}

impl Handler<Add> for Pairs {
    type Reply = u64;

    async fn handle(&mut self, Add(by): Add, _: &mut Ctx<Self>) -> u64 {
        self.0 += by;
        self.0
    }
}

impl CodeChange for Counter {
    const VERSION: u32 = 1;

    fn export(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    async fn import(exported: Exported, _: u64, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let state = exported.state.try_into().map_err(|_| ExitReason::Other("state is not eight bytes".into()))?;
        Ok(Self(u64::from_le_bytes(state)))
    }
}

impl CodeChange for Pairs {
    const VERSION: u32 = 2;

    fn export(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    async fn import(exported: Exported, (): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let state = exported.state.try_into().map_err(|_| ExitReason::Other("state is not eight bytes".into()))?;
        let count = u64::from_le_bytes(state);
        match exported.version {
            1 => Ok(Self(count / 2)),
            2 => Ok(Self(count)),
            version => Err(ExitReason::Other(format!("version {version} is newer than this code"))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn newer_code_takes_over_the_state_of_older_code() {
    let system = system(1);
    let old = system.spawn::<Counter>(8).await.unwrap();
    system.suspend(old.pid()).await.unwrap();
    let exported = old.export().await.unwrap();
    assert_eq!(exported.version, 1);
    let new = system.starter().import::<Pairs>(exported.clone(), ()).await.unwrap();
    assert_eq!(new.call(Add(1)).await, Ok(5));
    let future = Exported { version: 3, ..exported };
    let refused = system.starter().import::<Pairs>(future, ()).await.unwrap_err();
    assert_eq!(refused, ExitReason::Other("version 3 is newer than this code".into()));
}

#[tokio::test(start_paused = true)]
async fn message_by_way_of_an_alias_is_dropped_once_it_is_taken_back() {
    let system = system(1);
    let mut a = probe(&system).await;
    let alias = a.run(|ctx| ctx.alias()).await;
    let gate = a.block().await;
    alias.try_cast(Note(1)).unwrap();
    a.addr.try_cast(Note(2)).unwrap();
    assert!(alias.deactivate() && !alias.deactivate());
    assert_eq!(alias.try_cast(Note(3)), Err(CallError::NoProc));
    drop(gate);
    assert_eq!(a.heard().await, [Heard::Note(2)]);
    assert_eq!(system.process_info(a.addr.pid()).unwrap().dropped, 1);
}

/// EEP 76. Fails if an urgent message waits behind others, or if two of them change places.
#[tokio::test(start_paused = true)]
async fn urgent_messages_go_first_and_keep_their_order() {
    let system = system(1);
    let mut a = probe(&system).await;
    let urgent = a.run(|ctx| ctx.priority_alias()).await;
    let gate = a.block().await;
    a.addr.try_cast(Note(1)).unwrap();
    urgent.try_cast(Note(2)).unwrap();
    a.addr.try_cast(Note(3)).unwrap();
    urgent.try_cast(Note(4)).unwrap();
    drop(gate);
    assert_eq!(a.heard().await, [Heard::Note(2), Heard::Note(4), Heard::Note(1), Heard::Note(3)]);
}

#[tokio::test(start_paused = true)]
async fn timeout_comes_only_if_nothing_else_does() {
    let system = system(1);
    let mut a = probe(&system).await;
    a.run(|ctx| ctx.set_timeout(Duration::from_secs(1))).await;
    a.addr.cast(Note(1)).await;
    tiebeam_world::sleep(Duration::from_secs(2)).await;
    assert_eq!(a.heard().await, [Heard::Note(1)]);
    a.run(|ctx| ctx.set_timeout(Duration::from_secs(1))).await;
    tiebeam_world::sleep(Duration::from_secs(2)).await;
    assert_eq!(a.heard().await, [Heard::Info(Info::Timeout)]);
}

#[tokio::test(start_paused = true)]
async fn continued_message_goes_before_what_waits() {
    let system = system(1);
    let mut a = probe(&system).await;
    let gate = a.block().await;
    let run = a.go(|ctx| {
        ctx.continue_with(Note(1));
        ctx.continue_with(Note(2));
    });
    futures::join!(run, async { a.addr.cast(Note(3)).await });
    drop(gate);
    assert_eq!(a.heard().await, [Heard::Note(1), Heard::Note(2), Heard::Note(3)]);
}

/// Leaves what takes long for after its `init`.
struct Late(bool);

struct Load;

struct IsLoaded;

impl Actor for Late {
    type Args = ();

    async fn init((): (), ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.continue_with(Load);
        Ok(Self(false))
    }
}

impl Handler<Load> for Late {
    type Reply = ();

    async fn handle(&mut self, _: Load, _: &mut Ctx<Self>) {
        self.0 = true;
    }
}

impl Handler<IsLoaded> for Late {
    type Reply = bool;

    async fn handle(&mut self, _: IsLoaded, _: &mut Ctx<Self>) -> bool {
        self.0
    }
}

/// As OTP's `{ok, State, {continue, ..}}`. Fails if what `init` left waits until somebody else sends something.
#[tokio::test(start_paused = true)]
async fn what_init_leaves_for_later_is_done_without_a_message() {
    let system = system(1);
    let late = system.spawn::<Late>(()).await.unwrap();
    settle().await;
    assert_eq!(system.process_info(late.pid()).unwrap().handled, 1);
    assert_eq!(late.call(IsLoaded).await, Ok(true));
}

/// Says that it is not needed.
struct Unneeded;

impl Actor for Unneeded {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Err(ExitReason::Ignore)
    }
}

/// As OTP's `ignore`. Fails if the parent, or a watcher, hears of anything but a normal end.
#[tokio::test(start_paused = true)]
async fn actor_may_choose_not_to_run() {
    let system = system(1);
    let mut parent = probe(&system).await;
    parent.run(|ctx| ctx.trap_exit()).await;
    let starter = parent.run(|ctx| ctx.starter()).await;
    assert_eq!(starter.named("unneeded").spawn::<Unneeded>(()).await.unwrap_err(), ExitReason::Ignore);
    assert_eq!((system.process_count(), system.whereis("unneeded")), (1, None));
    assert_eq!(parent.heard().await, []);
}

#[tokio::test(start_paused = true)]
async fn blocking_work_is_done_elsewhere_and_its_panic_is_a_reason() {
    let system = system(1);
    assert_eq!(system.blocking(|| 7).await, Ok(7));
    let failed: Result<(), _> = system.blocking(|| panic!("no disk")).await;
    assert_eq!(failed, Err(ExitReason::Panic("no disk".into())));
}
