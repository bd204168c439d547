use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::{
    Actor, Addr, AutoShutdown, ChildCounts, ChildError, ChildSpec, ChildState, Ctx, DynamicSpec, DynamicSupervisor,
    ExitReason, Intensity, Pid, Restart, Shutdown, Supervisor, SupervisorSpec, System,
};
use tiebeam_world::now;

use crate::probe::{settle, system};

/// Writes down starts and ends.
#[derive(Clone, Default)]
struct Diary {
    lines: Arc<Mutex<Vec<String>>>,
    /// How many starts of a name will fail.
    failures: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Diary {
    fn write(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
    }

    async fn read(&self) -> Vec<String> {
        settle().await;
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    fn fail(&self, name: &str, times: u32) {
        self.failures.lock().unwrap().insert(name.into(), times);
    }

    /// A child that is stopped in an orderly way, so that its end is written down in order.
    fn child(&self, name: &'static str) -> ChildSpec {
        ChildSpec::actor::<Worker>(name, (name, self.clone(), true))
    }
}

struct Worker {
    name: &'static str,
    diary: Diary,
}

impl Actor for Worker {
    type Args = (&'static str, Diary, bool);

    async fn init((name, diary, traps): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if traps {
            ctx.trap_exit();
        }
        if let Some(left) = diary.failures.lock().unwrap().get_mut(name).filter(|left| **left > 0) {
            *left -= 1;
            return Err(ExitReason::Other("not yet".into()));
        }
        diary.write(format!("+{name}"));
        Ok(Self { name, diary })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.diary.write(format!("-{}", self.name));
    }
}

async fn start(system: &System, spec: SupervisorSpec) -> Addr<Supervisor> {
    system.spawn::<Supervisor>(spec).await.unwrap()
}

fn abc(spec: SupervisorSpec, diary: &Diary) -> SupervisorSpec {
    spec.child(diary.child("a")).child(diary.child("b")).child(diary.child("c"))
}

async fn pid_of(supervisor: &Addr<Supervisor>, id: &str) -> Pid {
    let children = supervisor.which_children().await.unwrap();
    match children.iter().find(|child| child.id == id).map(|child| child.state) {
        Some(ChildState::Running(pid)) => pid,
        other => panic!("child {id} is {other:?}"),
    }
}

async fn kill(system: &System, supervisor: &Addr<Supervisor>, id: &str) {
    system.exit(pid_of(supervisor, id).await, ExitReason::Kill);
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_stop_in_reverse() {
    let (system, diary) = (system(1), Diary::default());
    let supervisor = start(&system, abc(SupervisorSpec::one_for_one(), &diary)).await;
    assert_eq!(diary.read().await, ["+a", "+b", "+c"]);
    supervisor.stop(ExitReason::Shutdown).await.unwrap();
    assert_eq!(diary.read().await, ["-c", "-b", "-a"]);
    assert_eq!(system.process_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn failed_start_stops_those_that_started() {
    let (system, diary) = (system(1), Diary::default());
    diary.fail("c", 1);
    let started = system.spawn::<Supervisor>(abc(SupervisorSpec::one_for_one(), &diary)).await;
    assert!(matches!(started, Err(ExitReason::Other(text)) if text.contains("\"c\"") && text.contains("not yet")));
    assert_eq!(diary.read().await, ["+a", "+b", "-b", "-a"]);
    assert_eq!(system.process_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn strategies_restart_whom_they_must() {
    let cases = [
        (SupervisorSpec::one_for_one(), vec!["-b", "+b"]),
        (SupervisorSpec::rest_for_one(), vec!["-b", "-c", "+b", "+c"]),
        (SupervisorSpec::one_for_all(), vec!["-b", "-c", "-a", "+a", "+b", "+c"]),
    ];
    for (spec, expected) in cases {
        let (system, diary) = (system(1), Diary::default());
        let supervisor = start(&system, abc(spec, &diary)).await;
        diary.read().await;
        let before = pid_of(&supervisor, "b").await;
        kill(&system, &supervisor, "b").await;
        assert_eq!(diary.read().await, expected);
        assert_ne!(pid_of(&supervisor, "b").await, before, "a restarted actor has a new pid");
        assert_eq!(supervisor.count_children().await.unwrap().active, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn restart_types_decide_by_reason() {
    let cases = [
        (Restart::Permanent, ExitReason::Normal, true, true),
        (Restart::Permanent, ExitReason::Kill, true, true),
        (Restart::Transient, ExitReason::Normal, false, true),
        (Restart::Transient, ExitReason::Shutdown, false, true),
        (Restart::Transient, ExitReason::Other("broke".into()), true, true),
        (Restart::Temporary, ExitReason::Other("broke".into()), false, false),
        (Restart::Temporary, ExitReason::Normal, false, false),
    ];
    for (restart, reason, runs, stays) in cases {
        let (system, diary) = (system(1), Diary::default());
        let child = diary.child("a");
        let child = match restart {
            Restart::Permanent => child.permanent(),
            Restart::Transient => child.transient(),
            Restart::Temporary => child.temporary(),
        };
        let supervisor = start(&system, SupervisorSpec::one_for_one().child(child)).await;
        let worker = system.addr::<Worker>(pid_of(&supervisor, "a").await);
        worker.stop(reason.clone()).await.unwrap_or_else(|error| panic!("{error}"));
        settle().await;
        let counts = supervisor.count_children().await.unwrap();
        assert_eq!((counts.active == 1, counts.specs == 1), (runs, stays), "{restart:?} {reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn temporary_child_that_goes_with_the_others_stays_gone() {
    let (system, diary) = (system(1), Diary::default());
    let spec = SupervisorSpec::one_for_all().child(diary.child("a")).child(diary.child("t").temporary());
    let supervisor = start(&system, spec.child(diary.child("c"))).await;
    diary.read().await;
    kill(&system, &supervisor, "a").await;
    assert_eq!(diary.read().await, ["-a", "-c", "-t", "+a", "+c"]);
    assert_eq!(supervisor.count_children().await.unwrap().specs, 2);
}

/// Fails if restarts are counted per child: no child restarts more than twice here.
#[tokio::test(start_paused = true)]
async fn intensity_is_per_supervisor() {
    let (system, diary) = (system(1), Diary::default());
    let supervisor = start(&system, abc(SupervisorSpec::one_for_one(), &diary)).await;
    let ended = system.wait(supervisor.pid());
    for id in ["a", "b", "c"] {
        kill(&system, &supervisor, id).await;
    }
    assert_eq!(supervisor.count_children().await.unwrap().active, 3, "three restarts in five seconds are allowed");
    kill(&system, &supervisor, "a").await;
    assert_eq!(ended.await, ExitReason::Shutdown);
    assert_eq!(system.process_count(), 0, "those that still ran were stopped");
}

#[tokio::test(start_paused = true)]
async fn restarts_are_forgotten_after_the_period() {
    let (system, diary) = (system(1), Diary::default());
    let spec = SupervisorSpec::one_for_one().intensity(1, Duration::from_secs(5)).child(diary.child("a"));
    let supervisor = start(&system, spec).await;
    for _ in 0..10 {
        kill(&system, &supervisor, "a").await;
        tiebeam_world::sleep(Duration::from_secs(6)).await;
    }
    assert!(system.is_alive(supervisor.pid()));
}

#[tokio::test(start_paused = true)]
async fn reached_intensity_escalates_to_the_next_supervisor() {
    let (system, diary) = (system(1), Diary::default());
    let inner = SupervisorSpec::one_for_one().intensity(0, Duration::from_secs(5)).child(diary.child("a"));
    let outer = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let supervisor = start(&system, outer).await;
    let first = pid_of(&supervisor, "inner").await;
    let counts = ChildCounts { specs: 1, active: 1, supervisors: 1, workers: 0 };
    assert_eq!(supervisor.count_children().await, Ok(counts));
    kill(&system, &system.addr(first), "a").await;
    let second = pid_of(&supervisor, "inner").await;
    assert_ne!(first, second);
    assert_eq!(diary.read().await, ["+a", "-a", "+a"]);
    let seen = system.process_info(supervisor.pid()).unwrap().children;
    assert_eq!((seen[0].id.as_str(), seen[0].state), ("inner", ChildState::Running(second)));
}

#[tokio::test(start_paused = true)]
async fn failed_restart_counts_and_is_tried_again() {
    let (system, diary) = (system(1), Diary::default());
    let supervisor = start(&system, abc(SupervisorSpec::rest_for_one(), &diary)).await;
    diary.read().await;
    diary.fail("b", 2);
    kill(&system, &supervisor, "a").await;
    assert_eq!(diary.read().await, ["-a", "-c", "-b", "+a", "+b", "+c"]);
    // The two failures used up the rest of the three that are allowed.
    kill(&system, &supervisor, "c").await;
    assert!(!system.is_alive(supervisor.pid()));
}

#[tokio::test(start_paused = true)]
async fn child_that_never_restarts_ends_the_supervisor() {
    let (system, diary) = (system(1), Diary::default());
    let supervisor = start(&system, abc(SupervisorSpec::one_for_one(), &diary)).await;
    let ended = system.wait(supervisor.pid());
    diary.fail("b", u32::MAX);
    system.exit(pid_of(&supervisor, "b").await, ExitReason::Kill);
    assert_eq!(ended.await, ExitReason::Shutdown);
    assert_eq!(diary.read().await, ["+a", "+b", "+c", "-b", "-c", "-a"]);
}

/// Does not end when it is asked to.
struct Stubborn;

impl Actor for Stubborn {
    type Args = ();

    async fn init((): (), ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        Ok(Self)
    }

    async fn terminate(&mut self, _: &ExitReason, _: &mut Ctx<Self>) {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_as_long_as_it_must_and_then_kills() {
    for (shutdown, secs) in [(Shutdown::Timeout(Duration::from_secs(7)), 7), (Shutdown::BrutalKill, 0)] {
        let system = system(1);
        let child = ChildSpec::actor::<Stubborn>("stubborn", ()).shutdown(shutdown);
        let supervisor = start(&system, SupervisorSpec::one_for_one().child(child)).await;
        let ended = system.wait(pid_of(&supervisor, "stubborn").await);
        let began = now();
        supervisor.stop(ExitReason::Shutdown).await.unwrap();
        assert_eq!(now().since(began).as_secs(), secs);
        assert_eq!(ended.await, ExitReason::Killed);
    }
}

#[tokio::test(start_paused = true)]
async fn killed_supervisor_takes_its_children_along() {
    let (system, diary) = (system(1), Diary::default());
    let inner = abc(SupervisorSpec::one_for_one(), &diary);
    let outer = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("inner", inner));
    let supervisor = start(&system, outer).await;
    system.exit(supervisor.pid(), ExitReason::Kill);
    settle().await;
    assert_eq!(system.process_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn children_come_and_go_at_run_time() {
    let (system, diary) = (system(1), Diary::default());
    let supervisor = start(&system, SupervisorSpec::one_for_one()).await;
    let pid = supervisor.start_child(diary.child("a")).await.unwrap();
    assert_eq!(supervisor.start_child(diary.child("a")).await, Err(ChildError::Exists { id: "a".into() }));
    assert_eq!(supervisor.restart_child("a").await, Err(ChildError::Running { id: "a".into() }));
    assert_eq!(supervisor.delete_child("a").await, Err(ChildError::Running { id: "a".into() }));
    supervisor.stop_child("a").await.unwrap();
    assert_eq!(supervisor.which_children().await.unwrap()[0].state, ChildState::Stopped);
    assert!(!system.is_alive(pid));
    let again = supervisor.restart_child("a").await.unwrap();
    assert!(system.is_alive(again));
    supervisor.stop_child("a").await.unwrap();
    supervisor.delete_child("a").await.unwrap();
    assert_eq!(supervisor.stop_child("a").await, Err(ChildError::Missing { id: "a".into() }));
    diary.fail("b", 1);
    let failed = supervisor.start_child(diary.child("b")).await;
    assert_eq!(failed, Err(ChildError::Start { reason: ExitReason::Other("not yet".into()) }));
    assert_eq!(supervisor.count_children().await, Ok(ChildCounts::default()));
}

#[tokio::test(start_paused = true)]
async fn two_children_may_not_share_an_id() {
    let (system, diary) = (system(1), Diary::default());
    let spec = SupervisorSpec::one_for_one().child(diary.child("a")).child(diary.child("a"));
    assert!(system.spawn::<Supervisor>(spec).await.is_err());
    assert_eq!(diary.read().await, [] as [&str; 0]);
}

/// Chooses not to run while it is told so.
struct Idle;

impl Actor for Idle {
    type Args = Arc<AtomicBool>;

    async fn init(is_idle: Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if is_idle.load(Ordering::SeqCst) { Err(ExitReason::Ignore) } else { Ok(Self) }
    }
}

/// Fails if a start that is ignored counts as failed, if its spec is lost, or if that of a temporary child stays.
#[tokio::test(start_paused = true)]
async fn child_that_chooses_not_to_run_keeps_its_spec() {
    let (system, is_idle) = (system(1), Arc::new(AtomicBool::new(true)));
    let child = |id: &str| ChildSpec::actor::<Idle>(id, Arc::clone(&is_idle));
    let spec = SupervisorSpec::one_for_one().intensity(1, Duration::from_secs(5));
    let supervisor = start(&system, spec.child(child("a")).child(child("t").temporary())).await;
    let ignored = Err(ChildError::Start { reason: ExitReason::Ignore });
    assert_eq!(supervisor.start_child(child("b")).await, ignored);
    assert_eq!(supervisor.start_child(child("u").temporary()).await, ignored);
    assert_eq!(supervisor.restart_child("a").await, ignored);
    let counts = |specs, active| Ok(ChildCounts { specs, active, supervisors: 0, workers: specs });
    assert_eq!(supervisor.count_children().await, counts(2, 0));
    is_idle.store(false, Ordering::SeqCst);
    let pid = supervisor.restart_child("a").await.unwrap();
    is_idle.store(true, Ordering::SeqCst);
    system.exit(pid, ExitReason::Kill);
    settle().await;
    assert_eq!(supervisor.count_children().await, counts(2, 0));
}

/// Ends `id` in the orderly way; says whether the supervisor is alive then.
async fn outlives(system: &System, supervisor: &Addr<Supervisor>, id: &str) -> bool {
    let worker = system.addr::<Worker>(pid_of(supervisor, id).await);
    worker.stop(ExitReason::Normal).await.unwrap();
    settle().await;
    system.is_alive(supervisor.pid())
}

/// Fails if a child that is not significant counts, if the first of several ends a supervisor that waits for all, or if
/// the others are not stopped.
#[tokio::test(start_paused = true)]
async fn significant_children_end_their_supervisor() {
    let cases = [(AutoShutdown::AnySignificant, vec!["a"]), (AutoShutdown::AllSignificant, vec!["a", "b"])];
    for (auto_shutdown, ends) in cases {
        let (system, diary) = (system(1), Diary::default());
        let significant = |name| diary.child(name).transient().significant();
        let spec = SupervisorSpec::one_for_one().auto_shutdown(auto_shutdown).child(significant("a"));
        let spec = spec.child(significant("b")).child(diary.child("c")).child(diary.child("d").transient());
        let supervisor = start(&system, spec).await;
        let ended = system.wait(supervisor.pid());
        assert!(outlives(&system, &supervisor, "d").await, "{auto_shutdown:?}");
        let (last, first) = ends.split_last().unwrap();
        for id in first {
            assert!(outlives(&system, &supervisor, id).await, "{auto_shutdown:?} {id}");
        }
        assert!(!outlives(&system, &supervisor, last).await, "{auto_shutdown:?} {last}");
        assert_eq!(ended.await, ExitReason::Shutdown);
        assert_eq!(system.process_count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn child_that_is_stopped_by_hand_ends_nobody() {
    let (system, diary) = (system(1), Diary::default());
    let child = diary.child("a").temporary().significant();
    let spec = SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AnySignificant).child(child);
    let supervisor = start(&system, spec).await;
    supervisor.stop_child("a").await.unwrap();
    settle().await;
    assert!(system.is_alive(supervisor.pid()));
}

#[tokio::test(start_paused = true)]
async fn child_that_cannot_be_significant_is_refused() {
    let (system, diary) = (system(1), Diary::default());
    let permanent = diary.child("a").significant();
    let any = SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
    let refused = system.spawn::<Supervisor>(any.clone().child(permanent.clone())).await;
    assert!(matches!(refused, Err(ExitReason::Other(text)) if text.contains("\"a\"")));
    let without = SupervisorSpec::one_for_one().child(permanent.clone().temporary());
    assert!(system.spawn::<Supervisor>(without).await.is_err());
    let supervisor = start(&system, any).await;
    assert_eq!(supervisor.start_child(permanent).await, Err(ChildError::Significant { id: "a".into() }));
    assert_eq!(diary.read().await, [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn dynamic_supervisor_keeps_its_limit() {
    let (system, diary) = (system(1), Diary::default());
    let spec = DynamicSpec { children_max: 2, ..DynamicSpec::default() };
    let supervisor = system.spawn::<DynamicSupervisor<Worker>>(spec).await.unwrap();
    let a = supervisor.start_child(("a", diary.clone(), false)).await.unwrap();
    supervisor.start_child(("b", diary.clone(), false)).await.unwrap();
    let refused = supervisor.start_child(("c", diary.clone(), false)).await;
    assert_eq!(refused, Err(ChildError::TooMany { limit: 2 }));
    a.stop(ExitReason::Normal).await.unwrap();
    settle().await;
    let c = supervisor.start_child(("c", diary.clone(), false)).await.unwrap();
    supervisor.stop_child(c.pid()).await.unwrap();
    assert_eq!(supervisor.count_children().await.unwrap().active, 1);
    supervisor.stop(ExitReason::Shutdown).await.unwrap();
    assert_eq!(system.process_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn dynamic_supervisor_restarts_and_escalates() {
    let (system, diary) = (system(1), Diary::default());
    let intensity = Intensity { restarts: 2, period: Duration::from_secs(5) };
    let spec = DynamicSpec { restart: Restart::Permanent, intensity, ..DynamicSpec::default() };
    let supervisor = system.spawn::<DynamicSupervisor<Worker>>(spec).await.unwrap();
    let ended = system.wait(supervisor.pid());
    let a = supervisor.start_child(("a", diary.clone(), false)).await.unwrap();
    diary.fail("a", 1);
    system.exit(a.pid(), ExitReason::Kill);
    settle().await;
    let children = supervisor.which_children().await.unwrap();
    let ChildState::Running(second) = children[0].state else { panic!("{children:?}") };
    assert_ne!(second, a.pid());
    system.exit(second, ExitReason::Kill);
    assert_eq!(ended.await, ExitReason::Shutdown);
}

/// One after the other, ten stubborn children would take fifty seconds.
#[tokio::test(start_paused = true)]
async fn dynamic_supervisor_stops_all_at_the_same_time() {
    let system = system(1);
    let supervisor = system.spawn::<DynamicSupervisor<Stubborn>>(DynamicSpec::default()).await.unwrap();
    for _ in 0..10 {
        supervisor.start_child(()).await.unwrap();
    }
    let began = now();
    supervisor.stop(ExitReason::Shutdown).await.unwrap();
    assert_eq!(now().since(began).as_secs(), 5);
    assert_eq!(system.process_count(), 0);
}
