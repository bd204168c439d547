//! Questions and answers between nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tiebeam_cluster::{Cluster, Handler, PeerIdentity, RequestError, Service};
use tiebeam_net::Endpoint;
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::host::{Host, all_joined, config, net, soon, until};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Says who asked what; `fail`, `panic` and `forever` do what they say.
fn echo() -> Handler {
    Arc::new(|asker: PeerIdentity, body: Bytes| {
        async move {
            match &body[..] {
                b"fail" => Err("it broke".to_owned()),
                b"panic" => panic!("as asked"),
                b"forever" => std::future::pending().await,
                _ => Ok(format!("{} {} {} {}", asker.node, asker.incarnation, asker.role, body.len()).into()),
            }
        }
        .boxed()
    })
}

async fn ask(cluster: &Cluster, to: u64, service: Service, body: &'static str) -> Result<Bytes, RequestError> {
    cluster.request(NodeId(to), service, Bytes::from_static(body.as_bytes()), TIMEOUT).await
}

async fn pair(role: Role) -> (Host, Host) {
    let one = Host::core(1, &[]).await;
    let two = Host::start(config(2, role, &[one.address()])).await.unwrap();
    for service in [Service::RAFT, Service::GROUP, Service::ADMIN] {
        one.cluster.serve(service, echo());
        two.cluster.serve(service, echo());
    }
    all_joined(&[&one, &two]).await;
    (one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_answered_there_and_here() {
    let (one, two) = pair(Role::Core).await;
    assert_eq!(ask(&one.cluster, 2, Service::GROUP, "hello").await.unwrap(), "n1 i1 core 5");
    assert_eq!(ask(&two.cluster, 1, Service::RAFT, "hi").await.unwrap(), "n2 i1 core 2");
    assert_eq!(ask(&two.cluster, 2, Service::GROUP, "hi").await.unwrap(), "n2 i1 core 2");
    let other = NodeId(2);
    for to in [1, 2] {
        assert_eq!(ask(&one.cluster, to, Service::GROUP, "fail").await, Err(RequestError::Failed("it broke".into())));
        let missing = ask(&one.cluster, to, Service::TOPICS, "x").await;
        assert_eq!(missing, Err(RequestError::NoService { node: NodeId(to), service: Service::TOPICS }));
    }
    assert_eq!(
        ask(&one.cluster, 2, Service::GROUP, "panic").await,
        Err(RequestError::Failed("handler panicked".into()))
    );
    let late = one.cluster.request(other, Service::GROUP, "forever".into(), Duration::from_millis(50)).await;
    assert_eq!(late, Err(RequestError::Timeout(other)));
    assert_eq!(ask(&one.cluster, 9, Service::GROUP, "x").await, Err(RequestError::Unreachable(NodeId(9))));
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_is_forbidden_to_ask_for_raft() {
    let (one, two) = pair(Role::Edge).await;
    let forbidden = |node| Err(RequestError::Forbidden { node: NodeId(node), service: Service::RAFT });
    assert_eq!(ask(&two.cluster, 1, Service::RAFT, "vote").await, forbidden(1));
    assert_eq!(ask(&two.cluster, 2, Service::RAFT, "vote").await, forbidden(2));
    assert_eq!(ask(&one.cluster, 2, Service::RAFT, "vote").await.unwrap(), "n1 i1 core 4");
}

/// What waits fails when the loss is noticed; what comes later fails at once and waits for no timeout.
#[tokio::test(flavor = "multi_thread")]
async fn killed_node_is_unreachable() {
    let (one, two) = pair(Role::Core).await;
    let unreachable = Err(RequestError::Unreachable(NodeId(2)));
    let asker = one.cluster.clone();
    let waiting = tiebeam_world::spawn("test.wait", async move { ask(&asker, 2, Service::GROUP, "forever").await });
    ask(&one.cluster, 2, Service::GROUP, "up").await.unwrap();
    drop(two);
    assert_eq!(soon("the waiting request to fail", waiting).await.unwrap(), unreachable);
    until("the session to end", || !one.cluster.members()[1].live).await;
    let at_once = ask(&one.cluster, 2, Service::GROUP, "up").now_or_never();
    assert_eq!(at_once, Some(unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_asks_without_being_a_member() {
    let (one, two) = pair(Role::Core).await;
    let admin = Endpoint::bind(net(100, 1, Role::Admin)).unwrap();
    let peer = admin.dial(one.address(), Some(NodeId(1))).await.unwrap().settle().await.unwrap();
    assert_eq!(peer.request(Service::ADMIN, "who".into()).await.unwrap(), "n100 i1 admin 3");
    let raft = peer.request(Service::RAFT, "vote".into()).await;
    assert_eq!(raft, Err(tiebeam_net::RequestError::Forbidden));
    for host in [&one, &two] {
        assert_eq!(host.cluster.members().len(), 2);
        assert_eq!(host.cluster.incarnation(), Incarnation(1));
    }
}
