use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tiebeam_wire::NodeId;
use tiebeam_workflow::{
    Counts, NewInstance, Registry, Retry, Started, Status, StepCall, StepError, Wf, WorkflowError, Workflows,
};

use crate::cluster::Cluster;

type World = Arc<Mutex<BTreeMap<String, u32>>>;

const LINES: u32 = 300;

/// Every seventh line fails twice before it finds a seat; every fifth is refused at the end and gives its seat back.
async fn rebook(wf: Wf, input: Bytes, world: World) -> Result<Bytes, WorkflowError> {
    let line: u32 = String::from_utf8_lossy(&input).parse().unwrap();
    let quick = Retry::default()
        .backoff(tiebeam_workflow::Backoff { first: Duration::from_millis(5), max: Duration::from_millis(20) });
    let find = |attempt| async move {
        tiebeam_world::sleep(Duration::from_millis(20)).await;
        if line.is_multiple_of(7) && attempt <= 2 { Err(StepError::Transient("busy".to_owned())) } else { Ok(line) }
    };
    let found: u32 = wf.run("find", quick, find).await?;
    let (taken, given_back) = (world.clone(), world);
    let release = move |key| {
        *given_back.lock().unwrap().entry(format!("release {key}")).or_default() += 1;
        async { Ok(()) }
    };
    let reserve = |call: StepCall| {
        *taken.lock().unwrap().entry(format!("reserve {}", call.key)).or_default() += 1;
        async { Ok(()) }
    };
    wf.step("reserve").retry(quick).compensate(release).run(reserve).await?;
    let notify = |_| async move {
        if line.is_multiple_of(5) { Err(StepError::Permanent("no such passenger".to_owned())) } else { Ok(()) }
    };
    wf.run::<(), _, _>("notify", quick, notify).await?;
    Ok(found.to_string().into())
}

async fn until_done(workflows: &Workflows, total: u64) -> Counts {
    loop {
        let counts = workflows.counts().await.unwrap();
        if counts.started == total && counts.running == 0 {
            return counts;
        }
        tiebeam_world::sleep(Duration::from_millis(50)).await;
    }
}

fn line(n: u32) -> NewInstance {
    NewInstance { id: format!("line-{n}"), definition: "rebook".to_owned(), input: n.to_string().into() }
}

/// A node dies while it runs a third of all partitions, comes back, and another one dies. Would fail if a journal lost or
/// doubled anything, if an engine didn't take over, or if it went on after it was deposed.
#[tokio::test]
async fn outcome_is_exact_although_leaders_die() {
    let world = World::default();
    let mut registry = Registry::new();
    let seen = world.clone();
    registry.register("rebook", move |wf, input| rebook(wf, input, seen.clone()));
    let mut cluster = Cluster::start(registry).await;
    let workflows = cluster.workflows();

    let first = workflows.start_many((0..LINES / 2).map(line).collect()).await;
    assert!(first.iter().all(Result::is_ok), "{first:?}");
    cluster.stop_node(NodeId(1)).await;
    let second = workflows.start_many((LINES / 2..LINES).map(line).collect()).await;
    assert!(second.iter().all(Result::is_ok), "{second:?}");
    cluster.start_node(NodeId(1)).await;
    cluster.stop_node(NodeId(2)).await;

    let counts = until_done(&workflows, u64::from(LINES)).await;
    assert_eq!((counts.completed, counts.compensated, counts.compensations), (240, 60, 60));
    assert_eq!((counts.retries, counts.attempts, counts.stuck, counts.failed), (86, 986, 0, 0));
    let world = world.lock().unwrap().clone();
    assert_eq!(world.keys().filter(|key| key.starts_with("reserve")).count(), 300);
    assert_eq!(world.keys().filter(|key| key.starts_with("release")).count(), 60);
    let extra: u32 = world.values().map(|n| n - 1).sum();
    assert!(u64::from(extra) <= counts.reexecutions, "{extra} effects too many, {counts:?}");

    let again = workflows.start("line-1", "rebook", "1").await.unwrap();
    assert_eq!(again, Started::Before(Status::Completed));
    let view = workflows.status("line-1").await.unwrap().unwrap();
    assert_eq!((view.status, view.result.as_ref(), view.attempts), (Status::Completed, b"1".as_ref(), 3));
    assert_eq!(workflows.status("line-999").await.unwrap(), None);
}
