//! Exactness under faults: proposals that fail before or after their commit, takeovers, two leaders at once.

use super::memory::Fate;
use super::*;

/// Lines 0 to 13. `line % 7 == 3`: `find` fails twice; `line % 5 == 4`: `notify` fails for good, so the seat is released
/// and the find forgotten.
const LINES: u32 = 14;

fn rebook(world: &World) -> Registry {
    let world = world.clone();
    let mut registry = Registry::new();
    registry.register("rebook", move |wf: Wf, input: Bytes| rebook_one(wf, input, world.clone()));
    registry
}

async fn rebook_one(wf: Wf, input: Bytes, world: World) -> Result<Bytes, WorkflowError> {
    let line: u32 = String::from_utf8_lossy(&input).parse().unwrap();
    let forgotten = world.clone();
    let found: u32 = wf
        .step("find")
        .compensate(move |key| {
            touch(&forgotten, "forget", &key);
            ok(())
        })
        .run(|StepCall { attempt, .. }| async move {
            if line % 7 == 3 && attempt <= 2 { transient().await } else { Ok(line * 10) }
        })
        .await?;
    let released = world.clone();
    let seat: u32 = wf
        .step("reserve")
        .compensate(move |key| {
            touch(&released, "release", &key);
            ok(())
        })
        .run(|call: StepCall| {
            touch(&world, "reserve", &call.key);
            tiebeam_world::sleep(Duration::from_millis(1)).map_ok_with(found + 1)
        })
        .await?;
    wf.run("notify", Retry::default(), |_| async move { if line % 5 == 4 { permanent().await } else { Ok(()) } })
        .await?;
    Ok(Bytes::from(seat.to_string()))
}

trait MapOkWith: Future<Output = ()> + Sized {
    async fn map_ok_with<T>(self, value: T) -> Result<T, StepError> {
        self.await;
        Ok(value)
    }
}

impl<F: Future<Output = ()>> MapOkWith for F {}

fn start_all(log: &Memory) {
    (0..LINES).for_each(|line| log.start(&format!("line-{line}"), "rebook", line.to_string().as_bytes()));
}

/// Checks everything that must be exact, whatever happened.
fn check_outcome(log: &Memory, world: &World, context: &str) {
    let counts = log.read(Partition::counts);
    assert_eq!((counts.started, counts.completed, counts.compensated), (14, 12, 2), "{context}");
    assert_eq!((counts.retries, counts.compensations, counts.stuck), (4, 4, 0), "{context}");
    for line in 0..LINES {
        let id = format!("line-{line}");
        let journal = log.journal(&id);
        let count = |wanted: fn(&Event) -> bool| journal.iter().filter(|e| wanted(e)).count();
        let (late, doomed) = (line % 7 == 3, line % 5 == 4);
        assert_eq!(
            count(|e| matches!(e, Event::StepFailed { last: false, .. })),
            if late { 2 } else { 0 },
            "{context}"
        );
        assert_eq!(count(|e| matches!(e, Event::CompensationCompleted { .. })), 2 * usize::from(doomed), "{context}");
        assert_eq!(count(|e| matches!(e, Event::StepCompleted { .. })), if doomed { 2 } else { 3 }, "{context}");
        assert_eq!(count(Event::is_end), 1, "{context}");
        let world = world.lock().unwrap();
        assert!(world.contains_key(&format!("reserve {id}/reserve/1")), "{context}: {id} has no seat");
        assert_eq!(world.contains_key(&format!("release {id}/reserve/1")), doomed, "{context}: {id}");
        let view = log.read(|p| p.view(&id)).unwrap();
        let expected = if doomed { String::new() } else { (line * 10 + 1).to_string() };
        assert_eq!(view.result, expected, "{context}: {id}");
    }
    // Effects beyond one per key are re-executions, and each of those is counted.
    let extra: u32 = world.lock().unwrap().values().map(|n| n - 1).sum();
    assert!(u64::from(extra) <= counts.reexecutions, "{context}: {extra} effects too many, {counts:?}");
}

/// How many proposals a run without faults takes.
async fn proposals_without_faults() -> u32 {
    let (log, world) = (Memory::new(), World::default());
    start_all(&log);
    log.lead(1);
    let _engine = engine(&log, rebook(&world), Config::default()).await;
    log.until(|p| p.counts().running == 0).await;
    check_outcome(&log, &world, "no faults");
    assert_eq!(log.read(Partition::counts).reexecutions, 0);
    log.proposals()
}

/// The proposer dies at each proposal in turn, before it is committed and after: the same path as a crashed instance.
#[tokio::test(start_paused = true)]
async fn outcome_is_exact_whichever_proposal_fails() {
    for number in 0..proposals_without_faults().await {
        for fate in [Fate::FailedBefore, Fate::FailedAfter] {
            let (log, world) = (Memory::new(), World::default());
            start_all(&log);
            log.fates(move |n| if n == number { fate } else { Fate::Committed });
            log.lead(1);
            let _engine = engine(&log, rebook(&world), Config::default()).await;
            log.until(|p| p.counts().running == 0).await;
            check_outcome(&log, &world, &format!("{fate:?} at {number}"));
        }
    }
}

/// Every third proposal fails, in both ways by turns: progress in spite of it.
#[tokio::test(start_paused = true)]
async fn outcome_is_exact_when_many_proposals_fail() {
    let (log, world) = (Memory::new(), World::default());
    start_all(&log);
    log.fates(|n| match n % 6 {
        2 => Fate::FailedBefore,
        5 => Fate::FailedAfter,
        _ => Fate::Committed,
    });
    log.lead(1);
    let _engine = engine(&log, rebook(&world), Config { running_max: 5, ..Config::default() }).await;
    log.until(|p| p.counts().running == 0).await;
    check_outcome(&log, &world, "every third fails");
}

/// Leadership moves to another node at each proposal in turn; the old node stops, the new one replays.
#[tokio::test(start_paused = true)]
async fn outcome_is_exact_whenever_another_node_takes_over() {
    for number in 0..proposals_without_faults().await {
        for fate in [Fate::FailedBefore, Fate::FailedAfter] {
            let (first, world) = (Memory::new(), World::default());
            let second = first.replica();
            start_all(&first);
            let (old, new) = (first.clone(), second.clone());
            first.fates(move |n| {
                if n != number {
                    return Fate::Committed;
                }
                old.depose();
                new.lead(2);
                fate
            });
            first.lead(1);
            let _one = engine(&first, rebook(&world), Config::default()).await;
            let _two = engine(&second, rebook(&world), Config::default()).await;
            second.until(|p| p.counts().running == 0).await;
            check_outcome(&second, &world, &format!("takeover, {fate:?} at {number}"));
        }
    }
}

/// The old leader doesn't know that it was deposed, and its proposals still reach the log: the journal decides.
#[tokio::test(start_paused = true)]
async fn outcome_is_exact_when_two_nodes_lead_at_once() {
    let mut conflicts = 0;
    for from in 0..proposals_without_faults().await {
        let (first, world) = (Memory::new(), World::default());
        let second = first.replica();
        start_all(&first);
        let new = second.clone();
        first.fates(move |n| {
            if n == from {
                new.lead(2);
            }
            Fate::Committed
        });
        first.lead(1);
        let _one = engine(&first, rebook(&world), Config::default()).await;
        let _two = engine(&second, rebook(&world), Config::default()).await;
        second.until(|p| p.counts().running == 0).await;
        check_outcome(&second, &world, &format!("two leaders from {from}"));
        conflicts += second.read(Partition::counts).conflicts;
    }
    assert!(conflicts > 0, "the test must make them collide");
}

/// Two engines of the same term race for every record: only compare-and-set is between them.
#[tokio::test(start_paused = true)]
async fn outcome_is_exact_when_two_engines_share_a_term() {
    let (first, world) = (Memory::new(), World::default());
    let second = first.replica();
    start_all(&first);
    first.lead(1);
    second.lead(1);
    let _one = engine(&first, rebook(&world), Config::default()).await;
    let _two = engine(&second, rebook(&world), Config::default()).await;
    first.until(|p| p.counts().running == 0).await;
    let counts = first.read(Partition::counts);
    assert_eq!((counts.completed, counts.compensated, counts.retries, counts.compensations), (12, 2, 4, 4));
}
