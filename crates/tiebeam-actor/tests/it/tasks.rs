use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tiebeam_actor::task::{OnTimeout, StreamConfig, TaskError, TaskStream};
use tiebeam_actor::{Addr, ChildError, DynamicSpec, ExitReason, System, Task, TaskSupervisor};
use tiebeam_world::{now, sleep};

use crate::probe::{Ear, Heard, probe, settle, system};

const SECOND: Duration = Duration::from_secs(1);

fn crash<T>(text: &'static str) -> T {
    std::panic::resume_unwind(Box::new(text))
}

async fn task_of<T: Send + 'static>(ear: &Ear, work: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task::spawn(ear.run(|ctx| ctx.starter()).await, work).await.unwrap()
}

async fn supervisor(system: &System, children_max: u32) -> Addr<TaskSupervisor> {
    system.spawn::<TaskSupervisor>(DynamicSpec { children_max, ..DynamicSpec::default() }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn awaited_task_gives_its_result_and_is_gone() {
    let system = system(1);
    let ear = probe(&system).await;
    let task = task_of(&ear, async { 1 + 1 }).await;
    let pid = task.pid();
    assert_eq!(task.await, Ok(2));
    settle().await;
    assert!(!system.is_alive(pid) && system.is_alive(ear.addr.pid()));
}

/// Fails if a link is missing in either direction.
#[tokio::test(start_paused = true)]
async fn task_and_its_actor_end_together() {
    let system = system(1);
    let mut ear = probe(&system).await;
    let task = task_of(&ear, async { crash::<()>("boom") }).await;
    assert_eq!(task.await, Err(TaskError::Exit(ExitReason::Panic("boom".into()))));
    assert_eq!(ear.heard().await, [Heard::Dropped]);
    assert!(!system.is_alive(ear.addr.pid()));

    let ear = probe(&system).await;
    let held = Arc::new(());
    let work = Arc::clone(&held);
    let starting = task_of(&ear, async move {
        pending::<()>().await;
        drop(work);
    });
    let task = starting.await;
    assert_eq!(Arc::strong_count(&held), 2);
    system.exit(ear.addr.pid(), ExitReason::Kill);
    assert_eq!(task.await, Err(TaskError::Exit(ExitReason::Killed)));
    assert_eq!(Arc::strong_count(&held), 1, "the work is dropped");
}

/// Fails if a task that was given up goes on, or if its end reaches the actor that gave it up.
#[tokio::test(start_paused = true)]
async fn task_that_takes_too_long_is_ended_and_its_actor_lives() {
    let system = system(1);
    let mut ear = probe(&system).await;
    let slow = task_of(&ear, pending::<()>()).await;
    let pid = slow.pid();
    let began = now();
    assert_eq!(slow.await, Err(TaskError::Timeout));
    assert_eq!(now().since(began).as_secs(), 5);
    let quick = task_of(&ear, pending::<()>()).await;
    assert_eq!(quick.timeout(SECOND).await, Err(TaskError::Timeout));
    assert_eq!(now().since(began).as_secs(), 6);
    assert_eq!(ear.heard().await, []);
    assert!(!system.is_alive(pid) && system.is_alive(ear.addr.pid()));
}

#[tokio::test(start_paused = true)]
async fn task_can_be_waited_for_in_turns() {
    let system = system(1);
    let task = Task::spawn(system.starter(), async {
        sleep(3 * SECOND).await;
        7
    });
    let mut task = task.await.unwrap();
    assert_eq!(task.yield_for(SECOND).await, Ok(None));
    assert_eq!(task.yield_for(SECOND).await, Ok(None));
    assert_eq!(task.yield_for(2 * SECOND).await, Ok(Some(7)));
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_what_is_there() {
    let system = system(1);
    let ear = probe(&system).await;
    let running = task_of(&ear, pending::<u32>()).await;
    assert_eq!(running.shutdown().await, Ok(None));
    let done = task_of(&ear, async { 7 }).await;
    settle().await;
    assert_eq!(done.shutdown().await, Ok(Some(7)));
    let killed = task_of(&ear, pending::<u32>()).await;
    ear.run(|ctx| ctx.trap_exit()).await;
    system.exit(killed.pid(), ExitReason::Kill);
    settle().await;
    assert_eq!(killed.shutdown().await, Err(TaskError::Exit(ExitReason::Killed)));
    settle().await;
    assert!(system.is_alive(ear.addr.pid()));
    assert_eq!(system.process_count(), 1);
}

/// Fails if a crash takes others along, or if it comes without its reason.
#[tokio::test(start_paused = true)]
async fn supervised_task_crashes_alone() {
    let system = system(1);
    let tasks = supervisor(&system, 8).await;
    let (crashed, fine) =
        (tasks.async_nolink(async { crash::<u32>("boom") }).await, tasks.async_nolink(async { 1 }).await);
    assert_eq!(crashed.unwrap().await, Err(TaskError::Exit(ExitReason::Panic("boom".into()))));
    assert_eq!(fine.unwrap().await, Ok(1));
    let killed = tasks.async_nolink(pending::<()>()).await.unwrap();
    system.exit(killed.pid(), ExitReason::Kill);
    assert_eq!(killed.await, Err(TaskError::Exit(ExitReason::Killed)));
    assert!(system.is_alive(tasks.pid()));
}

#[tokio::test(start_paused = true)]
async fn supervised_tasks_are_children_and_bounded() {
    let system = system(1);
    let tasks = supervisor(&system, 2).await;
    let first = tasks.start(pending()).await.unwrap();
    tasks.start(pending()).await.unwrap();
    assert_eq!(tasks.start(async {}).await, Err(ChildError::TooMany { limit: 2 }));
    assert_eq!(tasks.count_children().await.unwrap().active, 2);
    let refused = tasks.async_nolink(async {}).await.map(drop);
    assert_eq!(refused, Err(TaskError::Start(ChildError::TooMany { limit: 2 })));
    tasks.stop_child(first).await.unwrap();
    assert_eq!(tasks.async_nolink(async { 3 }).await.unwrap().await, Ok(3));
    tasks.stop(ExitReason::Shutdown).await.unwrap();
    assert_eq!(system.process_count(), 0);
}

/// Waits as many seconds as each item says, and crashes at 0.
fn waiting(tasks: &Addr<TaskSupervisor>, secs: &'static [u64], config: StreamConfig) -> TaskStream<u64> {
    tasks.async_stream(secs.iter().copied(), config, |secs| async move {
        if secs == 0 {
            crash::<()>("zero");
        }
        sleep(secs as u32 * SECOND).await;
        secs
    })
}

async fn results(mut stream: TaskStream<u64>) -> Vec<Result<u64, TaskError>> {
    let mut results = Vec::new();
    while let Some(result) = stream.next().await {
        results.push(result);
    }
    results
}

/// Two at once: the order of the items, and the order in which they are done.
#[tokio::test(start_paused = true)]
async fn stream_gives_results_in_the_order_that_was_asked_for() {
    let system = system(1);
    let tasks = supervisor(&system, 8).await;
    let crashed = || Err(TaskError::Exit(ExitReason::Panic("zero".into())));
    let cases = [(true, [Ok(3), Ok(1), crashed(), Ok(1)]), (false, [Ok(1), crashed(), Ok(1), Ok(3)])];
    for (is_ordered, expected) in cases {
        let config = StreamConfig { concurrency_max: 2, is_ordered, ..StreamConfig::default() };
        assert_eq!(results(waiting(&tasks, &[3, 1, 0, 1], config)).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn stream_runs_so_many_at_once_and_no_more() {
    let system = system(1);
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = Arc::clone(&most);
    let config = StreamConfig { concurrency_max: 3, is_ordered: false, ..StreamConfig::default() };
    let mut stream = Task::stream(system.starter(), 0..20_u64, config, move |item| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(1 + item % 7)).await;
            running.fetch_sub(1, Ordering::SeqCst);
        }
    });
    let mut count = 0;
    while let Some(result) = stream.next().await {
        result.unwrap();
        count += 1;
    }
    assert_eq!((count, seen.load(Ordering::SeqCst)), (20, 3));
}

/// Fails if tasks that nobody waits for any more go on.
#[tokio::test(start_paused = true)]
async fn item_that_takes_too_long_ends_the_stream_or_only_its_task() {
    let system = system(1);
    let tasks = supervisor(&system, 8).await;
    let cases = [
        (OnTimeout::End, vec![Ok(1), Err(TaskError::Timeout)]),
        (OnTimeout::KillTask, vec![Ok(1), Err(TaskError::Timeout), Ok(2), Ok(1)]),
    ];
    for (on_timeout, expected) in cases {
        let config = StreamConfig { concurrency_max: 4, timeout: 3 * SECOND, on_timeout, ..StreamConfig::default() };
        assert_eq!(results(waiting(&tasks, &[1, 9, 2, 1], config)).await, expected);
        settle().await;
        assert_eq!(tasks.count_children().await.unwrap().specs, 0);
    }
    let mut stream = waiting(&tasks, &[1, 9, 9], StreamConfig { concurrency_max: 3, ..StreamConfig::default() });
    assert_eq!(stream.next().await, Some(Ok(1)));
    drop(stream);
    settle().await;
    assert_eq!(tasks.count_children().await.unwrap().specs, 0);
}
