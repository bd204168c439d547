//! Tasks on other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tiebeam_actor::ExitReason;
use tiebeam_cluster::rpc::Function;
use tiebeam_cluster::tasks::{On, RemoteTaskError, StreamConfig};
use tiebeam_wire::{NodeId, Role};
use tokio::sync::Semaphore;

use crate::host::{Host, all_joined, config, soon, until};

const WHERE: Function<u64, (u64, u64)> = Function::new("where");
const PANIC: Function<(), ()> = Function::new("panic");
const FOREVER: Function<(), ()> = Function::new("forever");
const GATED: Function<u64, u64> = Function::new("gated");

const TIMEOUT: Duration = Duration::from_secs(20);

async fn offer(host: &Host) {
    let (tasks, node) = (host.cluster.tasks(), host.node().0);
    host.run(async move {
        tasks.offer(&WHERE, move |item| async move { (node, item) }).await.unwrap();
        tasks.offer(&PANIC, |()| async move { panic!("as asked") }).await.unwrap();
        tasks.offer(&FOREVER, |()| std::future::pending()).await.unwrap();
    })
    .await;
}

async fn pair() -> (Host, Host) {
    let one = Host::core(1, &[]).await;
    let two = Host::start(config(2, Role::Edge, &[one.address()])).await.unwrap();
    all_joined(&[&one, &two]).await;
    offer(&two).await;
    until("the offer to be known", || one.cluster.tasks().offered_by(&FOREVER) == [NodeId(2)]).await;
    (one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn task_runs_where_it_is_sent_and_its_end_is_told() {
    let (one, two) = pair().await;
    let tasks = one.cluster.tasks();
    let on_two = On::Node(NodeId(2));
    assert_eq!(tasks.run(on_two, &WHERE, &7, TIMEOUT).await, Ok((2, 7)));
    assert_eq!(tasks.run(On::Any(Some(Role::Edge)), &WHERE, &8, TIMEOUT).await, Ok((2, 8)));
    let nobody = Err(RemoteTaskError::NoNode("where".into()));
    for on in [On::Node(NodeId(1)), On::Any(Some(Role::Core)), On::LeastLoaded(Some(Role::Core))] {
        assert_eq!(tasks.run(on, &WHERE, &7, TIMEOUT).await, nobody);
    }
    let panicked = Err(RemoteTaskError::Exit(ExitReason::Panic("as asked".into())));
    assert_eq!(tasks.run(on_two, &PANIC, &(), TIMEOUT).await, panicked);
    let late = tasks.run(on_two, &FOREVER, &(), Duration::from_millis(50)).await;
    assert_eq!(late, Err(RemoteTaskError::Timeout(NodeId(2))));
    let wrong = Function::<String, u8>::new("where");
    let wrong = tasks.run(on_two, &wrong, &"x".to_owned(), TIMEOUT).await;
    assert_eq!(wrong, Err(RemoteTaskError::Incompatible("where".into())));
    assert_eq!(two.cluster.tasks().run(on_two, &WHERE, &7, TIMEOUT).await, Ok((2, 7)), "and at home");
}

/// Nothing is started again elsewhere: it may have run.
#[tokio::test(flavor = "multi_thread")]
async fn task_of_a_killed_node_has_no_connection() {
    let (one, two) = pair().await;
    let tasks = one.cluster.tasks();
    let asker = tasks.clone();
    let waiting = tiebeam_world::spawn("test.task", async move {
        asker.run(On::Any(None), &FOREVER, &(), Duration::from_secs(600)).await
    });
    tasks.run(On::Any(None), &WHERE, &0, TIMEOUT).await.unwrap();
    drop(two);
    let lost = soon("the task to fail", waiting).await.unwrap();
    assert_eq!(lost, Err(RemoteTaskError::NoConnection(NodeId(2))));
    until("the offer to go", || tasks.offered_by(&WHERE).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_runs_on_all_nodes_in_the_order_of_its_items() {
    let (one, two) = pair().await;
    offer(&one).await;
    let tasks = one.cluster.tasks();
    let mut stream = tasks.async_stream(0..200_u64, On::LeastLoaded(None), &WHERE, StreamConfig::default());
    let mut nodes = Vec::new();
    for item in 0..200 {
        let (node, done) = soon("a result", stream.next()).await.unwrap().unwrap();
        assert_eq!(done, item);
        nodes.push(node);
    }
    assert!(stream.next().await.is_none());
    assert!(nodes.contains(&1) && nodes.contains(&2), "{nodes:?}");
    drop(two);
}

/// A stream that starts what it should not holds more than it was told, on every node.
#[tokio::test(flavor = "multi_thread")]
async fn stream_has_no_more_tasks_under_way_than_it_was_told() {
    let (one, two) = pair().await;
    let (gate, running, most) =
        (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (tasks, at_gate, now, highest) =
        (two.cluster.tasks(), Arc::clone(&gate), Arc::clone(&running), Arc::clone(&most));
    let gated = move |item: u64| {
        let (gate, running, most) = (Arc::clone(&at_gate), Arc::clone(&now), Arc::clone(&highest));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            running.fetch_sub(1, Ordering::SeqCst);
            item
        }
    };
    two.run(async move { tasks.offer(&GATED, gated).await.unwrap() }).await;
    until("the offer to be known", || one.cluster.tasks().offered_by(&GATED) == [NodeId(2)]).await;
    let stream_config = StreamConfig { concurrency_max: 4, is_ordered: false, timeout: TIMEOUT };
    let mut stream = one.cluster.tasks().async_stream(0..20_u64, On::Any(None), &GATED, stream_config);
    let reader = tiebeam_world::spawn("test.stream", async move {
        let mut done = Vec::new();
        while let Some(result) = stream.next().await {
            done.push(result.unwrap());
        }
        done.sort_unstable();
        done
    });
    until("as many tasks to run as may", || running.load(Ordering::SeqCst) == 4).await;
    gate.add_permits(20);
    assert_eq!(soon("all results", reader).await.unwrap(), (0..20).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 4);
}
