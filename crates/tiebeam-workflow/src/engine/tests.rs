//! The engine over a log in memory: what is recorded, whatever fails on the way.

mod faults;
mod memory;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use tiebeam_actor::System;
use tiebeam_wire::{Incarnation, NodeId};

use self::memory::Memory;
use super::*;
use crate::event::Event;
use crate::query::Status;
use crate::retry::{Retry, StepError, WorkflowError};
use crate::wf::{StepCall, Wf};

/// What happened outside: how often each idempotency key was seen.
type World = Arc<Mutex<BTreeMap<String, u32>>>;

fn touch(world: &World, what: &str, key: &str) {
    *world.lock().unwrap().entry(format!("{what} {key}")).or_default() += 1;
}

/// Starts the engine of one node.
async fn engine(log: &Memory, registry: Registry, config: Config) -> (System, Addr<Watch<Memory>>) {
    let system = System::new(NodeId(1), Incarnation(1));
    let shared = Shared { replica: log.clone(), registry: Arc::new(registry), config };
    let watch = system.spawn(shared).await.unwrap();
    (system, watch)
}

/// Runs instance `i` of `registry`'s only workflow on one node until it runs no more; returns its journal, one line per
/// record.
async fn run(registry: Registry) -> (Memory, String) {
    let log = Memory::new();
    let name = registry.names().next().unwrap().to_owned();
    log.start("i", &name, b"");
    log.lead(1);
    let _engine = engine(&log, registry, Config::default()).await;
    log.until(|p| p.counts().running == 0).await;
    let lines = log.records().into_iter().map(|events| events.iter().map(short).collect::<Vec<_>>().join(", "));
    let text = lines.collect::<Vec<_>>().join("\n");
    (log, text)
}

fn short(event: &Event) -> String {
    match event {
        Event::StepStarted { step, .. } => format!("start {step}"),
        Event::StepFailed { step, attempt, error, last, .. } => {
            format!("fail {step} at {attempt} ({error}){}", if *last { " for good" } else { "" })
        }
        Event::StepCompleted { step, attempt, .. } => format!("complete {step} at {attempt}"),
        Event::CompensationStarted { step, .. } => format!("undo {step}"),
        Event::CompensationCompleted { step } => format!("undone {step}"),
        Event::Completed { .. } => "completed".to_owned(),
        Event::Compensated { error } => format!("compensated: {error}"),
        Event::Failed { error } => format!("failed: {error}"),
        Event::Stuck { reason } => format!("stuck: {reason}"),
        Event::Resumed => "resumed".to_owned(),
    }
}

fn registry<C, F>(code: C) -> Registry
where
    C: Fn(Wf) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Bytes, WorkflowError>> + Send + 'static,
{
    let mut registry = Registry::new();
    registry.register("w", move |wf, _| code(wf));
    registry
}

async fn ok<T>(value: T) -> Result<T, StepError> {
    Ok(value)
}

async fn transient<T>() -> Result<T, StepError> {
    Err(StepError::Transient("busy".to_owned()))
}

async fn permanent<T>() -> Result<T, StepError> {
    Err(StepError::Permanent("sold out".to_owned()))
}

fn check(actual: &str, expected: &Expect) {
    expected.assert_eq(actual);
}

/// Three steps are four records: a start rides on the completion before it, the end on the last one.
#[tokio::test(start_paused = true)]
async fn starts_ride_on_completions() {
    let (log, journal) = run(registry(|wf| async move {
        let a: u32 = wf.run("a", Retry::default(), |_| ok(1)).await?;
        let b: u32 = wf.run("b", Retry::default(), |_| ok(a + 1)).await?;
        let b2: u32 = wf.run("b", Retry::default(), |_| ok(b + 1)).await?;
        Ok(Bytes::from(b2.to_string()))
    }))
    .await;
    check(
        &journal,
        &expect![[r#"
        start a#1
        complete a#1 at 1, start b#1
        complete b#1 at 1, start b#2
        complete b#2 at 1, completed"#]],
    );
    assert_eq!(log.read(|p| p.view("i")).unwrap().result, "3");
}

#[tokio::test(start_paused = true)]
async fn transient_failure_is_tried_again_and_counted() {
    let (log, journal) = run(registry(|wf| async move {
        wf.run("a", Retry::default(), |attempt| async move { if attempt < 3 { transient().await } else { Ok(()) } })
            .await?;
        Ok(Bytes::new())
    }))
    .await;
    check(
        &journal,
        &expect![[r#"
        start a#1
        fail a#1 at 1 (busy)
        fail a#1 at 2 (busy)
        complete a#1 at 3, completed"#]],
    );
    let counts = log.read(Partition::counts);
    assert_eq!((counts.attempts, counts.retries, counts.reexecutions), (3, 2, 0));
}

/// `c` had an attempt of unknown outcome and is undone; `d` said for certain that it did nothing and is not.
#[tokio::test(start_paused = true)]
async fn failure_undoes_in_reverse_what_had_or_may_have_had_an_effect() {
    let world = World::default();
    let (seen, undo) = (world.clone(), world.clone());
    let (log, journal) = run(registry(move |wf| {
        let undo = undo.clone();
        async move {
            let undo = move |key: String| {
                touch(&undo, "undo", &key);
                ok(())
            };
            wf.step("a").compensate(undo.clone()).run(|_| ok(())).await?;
            wf.step("b").run(|_| ok(())).await?;
            let c = wf.step("c").retry(Retry::attempts(2)).compensate(undo.clone());
            assert!(c.run(|_| transient::<()>()).await.is_err(), "the code may go on after a failed step");
            wf.step("d").compensate(undo).run(|_| permanent::<()>()).await?;
            Ok(Bytes::new())
        }
    }))
    .await;
    check(
        &journal,
        &expect![[r#"
        start a#1
        complete a#1 at 1, start b#1
        complete b#1 at 1, start c#1
        fail c#1 at 1 (busy)
        fail c#1 at 2 (busy) for good, start d#1
        fail d#1 at 1 (sold out) for good, undo c#1
        undone c#1, undo a#1
        undone a#1, compensated: step d#1 failed at attempt 1: sold out"#]],
    );
    let seen: Vec<_> = seen.lock().unwrap().clone().into_iter().collect();
    assert_eq!(seen, [("undo i/a/1".to_owned(), 1), ("undo i/c/1".to_owned(), 1)]);
    assert_eq!(log.read(|p| p.view("i")).unwrap().status, Status::Compensated);
}

#[tokio::test(start_paused = true)]
async fn failure_with_nothing_to_undo_is_just_a_failure() {
    let (log, journal) = run(registry(|_| async { Err(WorkflowError::abort("no seats")) })).await;
    check(&journal, &expect!["failed: no seats"]);
    assert_eq!(log.read(Partition::counts).failed, 1);
}

#[tokio::test(start_paused = true)]
async fn compensation_is_tried_until_it_works() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = tries.clone();
    let (_, journal) = run(registry(move |wf| {
        let counter = counter.clone();
        async move {
            let undo = move |_| {
                let first_ones = counter.fetch_add(1, Ordering::SeqCst) < 50;
                async move { if first_ones { permanent().await } else { Ok(()) } }
            };
            wf.step("a").compensate(undo).run(|_| ok(())).await?;
            Err(WorkflowError::abort("changed my mind"))
        }
    }))
    .await;
    check(
        &journal,
        &expect![[r#"
        start a#1
        complete a#1 at 1, undo a#1
        undone a#1, compensated: changed my mind"#]],
    );
    assert_eq!(tries.load(Ordering::SeqCst), 51);
}

#[tokio::test(start_paused = true)]
async fn attempt_that_hangs_is_dropped_and_transient() {
    let (_, journal) = run(registry(|wf| async move {
        let retry = Retry::attempts(2).attempt_timeout(Duration::from_secs(1));
        wf.run("a", retry, |_| std::future::pending::<Result<(), StepError>>()).await?;
        Ok(Bytes::new())
    }))
    .await;
    check(
        &journal,
        &expect![[r#"
        start a#1
        fail a#1 at 1 (no outcome within 1s)
        fail a#1 at 2 (no outcome within 1s) for good, failed: step a#1 failed at attempt 2: no outcome within 1s"#]],
    );
}

/// Steps side by side share records; what gathers while one record is on its way goes into the next.
#[tokio::test(start_paused = true)]
async fn steps_side_by_side_share_records() {
    let (_, journal) = run(registry(|wf| async move {
        let (a, b, c): (Result<(), _>, Result<(), _>, Result<(), _>) = futures::join!(
            wf.run("a", Retry::default(), |_| ok(())),
            wf.run("b", Retry::default(), |_| ok(())),
            wf.run("c", Retry::default(), |_| async {
                tiebeam_world::sleep(Duration::from_secs(1)).await;
                Ok(())
            }),
        );
        a.and(b).and(c)?;
        Ok(Bytes::new())
    }))
    .await;
    check(
        &journal,
        &expect![[r#"
        start a#1, start b#1, start c#1
        complete a#1 at 1, complete b#1 at 1
        complete c#1 at 1, completed"#]],
    );
}

#[tokio::test(start_paused = true)]
async fn panic_parks_one_instance_and_the_engine_lives_on() {
    let log = Memory::new();
    log.start("bad", "w", b"");
    log.start("good", "w", b"");
    log.lead(1);
    let code = registry(|wf| async move {
        let bad = wf.id() == "bad";
        wf.run("a", Retry::default(), |_| async move { if bad { panic!("boom") } else { Ok(()) } }).await?;
        Ok(Bytes::new())
    });
    let _engine = engine(&log, code, Config::default()).await;
    log.until(|p| p.counts().running == 0).await;
    assert_eq!(log.read(|p| p.status("good")), Some(Status::Completed));
    assert_eq!(log.read(|p| p.view("bad")).unwrap().error, "code panicked: boom");
    log.start("later", "w", b"");
    log.until(|p| p.status("later") == Some(Status::Completed)).await;
}

#[tokio::test(start_paused = true)]
async fn results_beyond_their_limit_park_the_instance() {
    let (log, _) = run(registry(|wf| async move {
        wf.run("a", Retry::default(), |_| ok("x".repeat(300_000))).await?;
        Ok(Bytes::new())
    }))
    .await;
    let error = log.read(|p| p.view("i")).unwrap().error;
    assert_eq!(error, "result of a#1 has 300006 bytes, more than the limit of 262144");
    let (log, _) = run(registry(|_| async { Ok(vec![0; 20_000].into()) })).await;
    assert_eq!(log.read(|p| p.view("i")).unwrap().error, "result has 20000 bytes, more than the limit of 16384");
}

#[tokio::test(start_paused = true)]
async fn unknown_definition_parks_until_it_is_registered_and_resumed() {
    let log = Memory::new();
    log.start("i", "new", b"");
    log.lead(1);
    let old = engine(&log, Registry::new(), Config::default()).await;
    log.until(|p| p.status("i") == Some(Status::Stuck)).await;
    assert_eq!(log.read(|p| p.view("i")).unwrap().error, "definition new is not registered on this node");
    old.1.stop(ExitReason::Shutdown).await.unwrap();
    let mut registry = Registry::new();
    registry.register("new", |_, input| async move { Ok(input) });
    let _engine = engine(&log, registry, Config::default()).await;
    log.resume("i");
    log.until(|p| p.status("i") == Some(Status::Completed)).await;
}

/// More than the limit would be a memory promise broken; another order would let old instances starve.
#[tokio::test(start_paused = true)]
async fn at_most_so_many_run_at_once_in_order_of_start() {
    let log = Memory::new();
    (0..9).for_each(|n| log.start(&format!("i{n}"), "w", b""));
    let (now, most, order) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
    let code = {
        let (now, most, order) = (now, most.clone(), order.clone());
        registry(move |wf| {
            let (now, most, order) = (now.clone(), most.clone(), order.clone());
            async move {
                order.lock().unwrap().push(wf.id().to_owned());
                let work = |_: StepCall| async {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tiebeam_world::sleep(Duration::from_secs(1)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                wf.step("a").run(work).await?;
                Ok(Bytes::new())
            }
        })
    };
    log.lead(1);
    let _engine = engine(&log, code, Config { running_max: 2, ..Config::default() }).await;
    log.until(|p| p.counts().completed == 9).await;
    assert_eq!(most.load(Ordering::SeqCst), 2);
    let order = order.lock().unwrap().clone();
    assert_eq!(order, (0..9).map(|n| format!("i{n}")).collect::<Vec<_>>());
}

/// 200 instances of two steps are 600 records; without batches they would be 600 entries, each with its own fsync.
#[tokio::test(start_paused = true)]
async fn instances_share_entries() {
    let log = Memory::new();
    (0..200).for_each(|n| log.start(&format!("i{n}"), "w", b""));
    log.lead(1);
    let code = registry(|wf| async move {
        wf.run("a", Retry::default(), |_| ok(())).await?;
        wf.run("b", Retry::default(), |_| ok(())).await?;
        Ok(Bytes::new())
    });
    let _engine = engine(&log, code, Config::default()).await;
    log.until(|p| p.counts().completed == 200).await;
    assert_eq!(log.records().len(), 600);
    assert!(log.proposals() <= 12, "{} proposals", log.proposals());
}

#[tokio::test(start_paused = true)]
async fn changed_code_parks_the_instance_and_names_both_sides() {
    let old = || {
        registry(|wf| async move {
            wf.run("charge", Retry::default(), |_| ok(1)).await?;
            wf.run("ship", Retry::default(), |_| std::future::pending::<Result<(), StepError>>()).await?;
            Ok(Bytes::new())
        })
    };
    let expected = [
        (
            registry(|wf| async move {
                wf.run("reserve", Retry::default(), |_| ok(1)).await?;
                wf.run("charge", Retry::default(), |_| ok(1)).await?;
                Ok(Bytes::new())
            }),
            "code changed: recorded charge#1, code asks reserve#1",
        ),
        (
            registry(|wf| async move {
                wf.run("charge", Retry::default(), |_| ok(1)).await?;
                Ok(Bytes::new())
            }),
            "code changed: recorded ship#1, code returns without asking for it",
        ),
        (
            registry(|wf| async move {
                wf.step("charge").args("7").run(|_| ok(1)).await?;
                Ok(Bytes::new())
            }),
            "code changed: charge#1 was recorded with other arguments than the code binds",
        ),
        (
            registry(|wf| async move {
                wf.run("charge", Retry::default(), |_| ok("text".to_owned())).await?;
                Ok(Bytes::new())
            }),
            "recorded result of charge#1 doesn't fit the code: value can't be decoded",
        ),
    ];
    for (new, reason) in expected {
        let log = Memory::new();
        log.start("i", "w", b"");
        log.lead(1);
        let before = engine(&log, old(), Config::default()).await;
        log.until(|p| p.view("i").is_some_and(|v| v.position == 3)).await;
        log.depose();
        before.1.stop(ExitReason::Shutdown).await.unwrap();
        log.lead(2);
        let _after = engine(&log, new, Config::default()).await;
        log.until(|p| p.counts().running == 0).await;
        assert_eq!(log.read(|p| p.view("i")).unwrap().error, reason);
    }
}

/// A step behind everything that is recorded is no change to an instance that has not got there.
#[tokio::test(start_paused = true)]
async fn code_may_gain_steps_that_were_not_reached() {
    let log = Memory::new();
    log.start("i", "w", b"");
    log.lead(1);
    let code = registry(|wf| async move {
        wf.run("a", Retry::default(), |_| std::future::pending::<Result<(), StepError>>()).await?;
        Ok(Bytes::new())
    });
    let before = engine(&log, code, Config::default()).await;
    log.until(|p| p.view("i").is_some_and(|v| v.position == 1)).await;
    before.1.stop(ExitReason::Shutdown).await.unwrap();
    let code = registry(|wf| async move {
        wf.run("a", Retry::default(), |_| ok(())).await?;
        wf.run("b", Retry::default(), |_| ok(())).await?;
        Ok(Bytes::new())
    });
    let _after = engine(&log, code, Config::default()).await;
    log.until(|p| p.status("i") == Some(Status::Completed)).await;
    assert_eq!(log.read(Partition::counts).reexecutions, 1);
}

/// Live, `a`, `c`, `b` start in this order; a replay asks for `a`, `b`, `c`. Undoing follows the journal, not the replay.
#[tokio::test(start_paused = true)]
async fn steps_side_by_side_are_undone_in_reverse_order_of_their_journal_after_a_takeover() {
    let log = Memory::new();
    log.start("i", "w", b"");
    let code = || {
        registry(|wf| async move {
            let step = |name: &str| wf.step(name).compensate(|_| ok(()));
            let (first, second): (Result<(), WorkflowError>, Result<(), WorkflowError>) = futures::join!(
                async {
                    step("a").run(|_| ok(())).await?;
                    step("b").run(|_| ok(())).await
                },
                step("c").run(|_| ok(())),
            );
            first.and(second)?;
            wf.run("last", Retry::default(), |_| async {
                tiebeam_world::sleep(Duration::from_secs(1)).await;
                permanent::<()>().await
            })
            .await?;
            Ok(Bytes::new())
        })
    };
    log.lead(1);
    let before = engine(&log, code(), Config::default()).await;
    log.until(|p| p.view("i").is_some_and(|v| v.position == 7)).await;
    before.1.stop(ExitReason::Shutdown).await.unwrap();
    let _after = engine(&log, code(), Config::default()).await;
    log.until(|p| p.counts().running == 0).await;
    let journal: Vec<String> = log.journal("i").iter().map(short).collect();
    let undone: Vec<&str> = journal.iter().map(String::as_str).filter(|e| e.starts_with("undone")).collect();
    assert_eq!(undone, ["undone b#1", "undone c#1", "undone a#1"], "{journal:#?}");
    assert_eq!(journal.last().unwrap(), "compensated: step last#1 failed at attempt 1: sold out");
}

/// A killed instance actor is loaded again by its tenure: the same path as a takeover.
#[tokio::test(start_paused = true)]
async fn killed_instance_actor_replays() {
    let log = Memory::new();
    log.start("i", "w", b"");
    log.lead(1);
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let code = registry(move |wf| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            wf.run("a", Retry::default(), |_| ok(1)).await?;
            let hang = |_| async move { if first { std::future::pending().await } else { Ok(()) } };
            wf.run("b", Retry::default(), hang).await?;
            Ok(Bytes::new())
        }
    });
    let (system, _watch) = engine(&log, code, Config::default()).await;
    log.until(|p| p.view("i").is_some_and(|v| v.position == 3)).await;
    let victims = system.processes().into_iter().filter(|p| p.kind.contains("InstanceActor"));
    victims.for_each(|victim| system.exit(victim.pid, ExitReason::Kill));
    log.until(|p| p.status("i") == Some(Status::Completed)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(log.read(Partition::counts).reexecutions, 1);
}

/// `b` was asked for, but the code had failed before its start was written: it never ran, so there is nothing to undo.
#[tokio::test(start_paused = true)]
async fn step_that_never_began_is_neither_recorded_nor_undone() {
    let (_, journal) = run(registry(|wf| async move {
        wf.step("a").run(|_| ok(())).await?;
        futures::try_join!(wf.step("b").compensate(|_| ok(())).run(|_| ok(())), async {
            Err::<(), _>(WorkflowError::abort("changed my mind"))
        })?;
        Ok(Bytes::new())
    }))
    .await;
    check(
        &journal,
        &expect![[r#"
            start a#1
            complete a#1 at 1, failed: changed my mind"#]],
    );
}

#[tokio::test(start_paused = true)]
async fn journal_beyond_its_limit_parks_the_instance() {
    let (log, _) = run(registry(|wf| async move {
        for _ in 0..40 {
            wf.run("a", Retry::default(), |_| ok("x".repeat(250_000))).await?;
        }
        Ok(Bytes::new())
    }))
    .await;
    assert_eq!(log.read(|p| p.view("i")).unwrap().error, "journal would have more than 8388608 bytes");
}
