//! Functions of other nodes.

use std::sync::Arc;
use std::time::Duration;

use tiebeam_cluster::rpc::{Function, RpcError};
use tiebeam_wire::{NodeId, Role};
use tokio::sync::Notify;

use crate::host::{Host, all_joined, config, soon, until};

const ADD: Function<(u32, u32), u32> = Function::new("math.add");
const WHO: Function<(), String> = Function::new("who");
const PANIC: Function<u8, ()> = Function::new("panic");
const FOREVER: Function<(), ()> = Function::new("forever");
const MISSING: Function<(), ()> = Function::new("missing");

const TIMEOUT: Duration = Duration::from_secs(20);

async fn pair() -> (Host, Host) {
    let one = Host::core(1, &[]).await;
    let two = Host::start(config(2, Role::Edge, &[one.address()])).await.unwrap();
    for host in [&one, &two] {
        let (rpc, node) = (host.cluster.rpc(), host.node());
        rpc.offer(&ADD, |_, (a, b)| async move { a + b });
        rpc.offer(&WHO, move |caller, ()| async move { format!("{node} for {} {}", caller.node, caller.role) });
        rpc.offer(&PANIC, |_, number| async move { panic!("no {number}") });
        rpc.offer(&FOREVER, |_, ()| std::future::pending());
    }
    all_joined(&[&one, &two]).await;
    (one, two)
}

/// Here as there, so that a program that works on one node works on many.
#[tokio::test(flavor = "multi_thread")]
async fn functions_are_called_by_name_and_fail_as_erpc_says() {
    let (one, _two) = pair().await;
    let rpc = one.cluster.rpc();
    for node in [NodeId(1), NodeId(2)] {
        assert_eq!(rpc.call(node, &ADD, &(3, 4), TIMEOUT).await, Ok(7));
        assert_eq!(rpc.call(node, &WHO, &(), TIMEOUT).await, Ok(format!("{node} for n1 core")));
        assert_eq!(rpc.call(node, &PANIC, &9, TIMEOUT).await, Err(RpcError::Panicked("no 9".into())));
        let function = "missing".to_owned();
        assert_eq!(rpc.call(node, &MISSING, &(), TIMEOUT).await, Err(RpcError::NoFunction { node, function }));
        let other_types = Function::<u8, u32>::new("math.add");
        let wrong = rpc.call(node, &other_types, &1, TIMEOUT).await;
        assert_eq!(wrong, Err(RpcError::Incompatible("math.add".into())));
        let late = rpc.call(node, &FOREVER, &(), Duration::from_millis(50)).await;
        assert_eq!(late, Err(RpcError::Timeout(node)));
    }
    assert_eq!(rpc.call(NodeId(9), &ADD, &(3, 4), TIMEOUT).await, Err(RpcError::NoConnection(NodeId(9))));
    assert!(rpc.withdraw(&ADD) && !rpc.withdraw(&ADD));
    assert!(!rpc.call(NodeId(1), &ADD, &(3, 4), TIMEOUT).await.unwrap_err().may_have_run());
}

/// One deadline and a result for each: one node that hangs or is missing must not take the others' answers along.
#[tokio::test(flavor = "multi_thread")]
async fn multicall_has_a_result_for_each_node() {
    let (one, two) = pair().await;
    let three = Host::core(3, &[one.address()]).await;
    all_joined(&[&one, &two, &three]).await;
    three.cluster.rpc().offer(&WHO, |_, ()| std::future::pending());
    let nodes = [2, 1, 9, 3].map(NodeId);
    let results = one.cluster.rpc().multicall(nodes, &WHO, &(), Duration::from_secs(2)).await;
    let expected = [
        (NodeId(2), Ok("n2 for n1 core".to_owned())),
        (NodeId(1), Ok("n1 for n1 core".to_owned())),
        (NodeId(9), Err(RpcError::NoConnection(NodeId(9)))),
        (NodeId(3), Err(RpcError::Timeout(NodeId(3)))),
    ];
    assert_eq!(results, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn cast_waits_for_no_answer_and_its_panic_harms_nobody() {
    const NOTE: Function<u8, ()> = Function::new("note");
    let (one, two) = pair().await;
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, gate) = (Arc::clone(&begun), Arc::clone(&go));
    two.cluster.rpc().offer(&NOTE, move |_, _| {
        let (told, gate) = (Arc::clone(&told), Arc::clone(&gate));
        async move {
            gate.notified().await;
            told.notify_one();
        }
    });
    let rpc = one.cluster.rpc();
    assert_eq!(rpc.cast(NodeId(2), &NOTE, &1, TIMEOUT).await, Ok(()));
    go.notify_one();
    soon("the cast to run", begun.notified()).await;
    assert_eq!(rpc.cast(NodeId(2), &PANIC, &1, TIMEOUT).await, Ok(()));
    assert!(matches!(rpc.cast(NodeId(2), &MISSING, &(), TIMEOUT).await, Err(RpcError::NoFunction { .. })));
    assert_eq!(rpc.call(NodeId(2), &ADD, &(1, 1), TIMEOUT).await, Ok(2));
}

/// Whoever waits on a lost node must hear it from the loss and not from a timeout.
#[tokio::test(flavor = "multi_thread")]
async fn call_to_a_node_that_is_killed_has_no_connection() {
    let (one, two) = pair().await;
    let rpc = one.cluster.rpc();
    rpc.call(NodeId(2), &ADD, &(1, 1), TIMEOUT).await.unwrap();
    let asker = rpc.clone();
    let waiting = tiebeam_world::spawn("test.call", async move {
        asker.call(NodeId(2), &FOREVER, &(), Duration::from_secs(600)).await
    });
    rpc.call(NodeId(2), &ADD, &(1, 1), TIMEOUT).await.unwrap();
    drop(two);
    let lost = soon("the call to fail", waiting).await.unwrap();
    assert_eq!(lost, Err(RpcError::NoConnection(NodeId(2))));
    until("the loss", || !one.cluster.members()[1].live).await;
}
