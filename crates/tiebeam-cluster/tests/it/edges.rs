//! Edges that keep to cores.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tiebeam_actor::{Actor, Addr, CallError, Ctx, ExitReason, Info, Pid};
use tiebeam_cluster::groups::Broadcast;
use tiebeam_cluster::names::OnConflict;
use tiebeam_cluster::pubsub::Published;
use tiebeam_cluster::{Config, Edges, Group, Reach, RequestError, Service};
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::ear::{Ask, Ear, Heard, Say, ear};
use crate::host::{Host, all_joined, config, is_quiet, next, soon, until};

/// Cores and edges that all see each other. Cores have the numbers from 1 on, edges those after them.
struct Star {
    cores: Vec<Host>,
    edges: Vec<Host>,
}

async fn star(cores: u64, edges: u64) -> Star {
    let mut star = Star { cores: Vec::new(), edges: Vec::new() };
    for node in 1..=cores {
        star.cores.push(Host::core(node, &star.seeds()).await);
    }
    for node in cores + 1..=cores + edges {
        star.edges.push(Host::start(config(node, Role::Edge, &star.seeds())).await.unwrap());
    }
    let all: Vec<&Host> = star.cores.iter().chain(&star.edges).collect();
    all_joined(&all).await;
    star
}

impl Star {
    fn seeds(&self) -> Vec<SocketAddr> {
        self.cores.iter().map(Host::address).collect()
    }

    /// Waits until no edge has another connection than those to the cores.
    async fn is_thin(&self) {
        let thin = |host: &Host| host.cluster.connection_count() == self.cores.len();
        until("edges to be connected to cores alone", || self.edges.iter().all(thin)).await;
    }
}

fn reach(host: &Host, node: u64) -> Option<Reach> {
    host.cluster.members().into_iter().find(|member| member.node == NodeId(node)).map(|member| member.reach)
}

fn room(host: &Host) -> Group<Ear> {
    host.cluster.groups().group("room")
}

async fn joined(host: &Host) -> Heard {
    let (addr, heard) = ear(host).await;
    room(host).join(&addr).unwrap();
    heard
}

async fn sees(host: &Host, members: usize) {
    until("the members of the group to be seen", || room(host).members().len() == members).await;
}

/// Calls an actor from a node.
async fn ask(host: &Host, far: &Addr<Ear>, number: u64) -> Result<u64, CallError> {
    let far = far.clone();
    host.run(async move { far.call(Ask(number)).await }).await
}

/// The whole of it: an edge finds an actor of another edge by a group, calls it, loses a core, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn edges_find_and_call_each_other_by_way_of_cores_and_go_on_when_one_dies() {
    let mut star = star(3, 2).await;
    star.is_thin().await;
    let (four, five) = (&star.edges[0], &star.edges[1]);
    assert_eq!((reach(four, 5), reach(four, 1)), (Some(Reach::ThroughCores), Some(Reach::Connected)));
    let heard = joined(five).await;
    sees(four, 1).await;
    assert_eq!(four.cluster.connection_count(), 3, "to see somebody needs no connection");
    let far = room(four).members().remove(0);
    assert_eq!(ask(four, &far, 1).await, Ok(1));
    assert_eq!(reach(four, 5), Some(Reach::Connected));
    let (mut events, mut others) = (four.cluster.subscribe(), five.cluster.subscribe());
    for core in [1, 2, 3] {
        assert_eq!(
            (next(&mut events).await, next(&mut others).await),
            (format!("up n{core} i1"), format!("up n{core} i1"))
        );
    }
    assert_eq!((next(&mut events).await, next(&mut others).await), ("up n5 i1".into(), "up n4 i1".into()));
    drop(star.cores.remove(0));
    assert_eq!((next(&mut events).await, next(&mut others).await), ("down n1 i1".into(), "down n1 i1".into()));
    let (four, five) = (&star.edges[0], &star.edges[1]);
    assert_eq!(ask(four, &far, 2).await, Ok(2));
    let late = joined(four).await;
    sees(five, 2).await;
    assert_eq!(room(five).broadcast(Say(3)), Broadcast { here: 1, missed_here: 0, nodes: 1, missed_nodes: 0 });
    heard.becomes(&["1", "2", "3"].map(String::from)).await;
    late.becomes(&["3".to_owned()]).await;
    assert!(is_quiet(&mut events) && is_quiet(&mut others), "no edge was lost");
}

/// Numbers that are sent while the connection is made go first, in their order, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_a_connection_is_made_arrives_in_order() {
    let star = star(1, 2).await;
    let (two, three) = (&star.edges[0], &star.edges[1]);
    let heard = joined(three).await;
    sees(two, 1).await;
    let far = room(two).members().remove(0);
    two.run(async move {
        for number in 0..500 {
            far.cast(Say(number)).await;
        }
    })
    .await;
    heard.becomes(&(0..500).map(|number: u64| number.to_string()).collect::<Vec<_>>()).await;
    assert_eq!((two.cluster.connection_count(), three.cluster.connection_count()), (2, 2));
}

/// Says what it is told of others.
struct Tied(Arc<Mutex<Vec<String>>>);

impl Actor for Tied {
    type Args = (Pid, Arc<Mutex<Vec<String>>>);

    async fn init((pid, told): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        ctx.monitor(pid);
        ctx.link(pid);
        Ok(Self(told))
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        let told = match info {
            Info::Down { reason, .. } => format!("down {reason:?}"),
            Info::Exit { reason, .. } => format!("exit {reason:?}"),
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

/// An edge that says of itself that it can be dialled where nobody listens.
fn hidden(node: u64, seeds: &[SocketAddr], nowhere: &std::net::UdpSocket) -> Config {
    let mut config = config(node, Role::Edge, seeds);
    config.relay = false;
    config.net.advertise = Some(nowhere.local_addr().unwrap());
    config
}

/// The dial comes to nothing: a call, a monitor and a link are each told once, and a request fails. Then the other side
/// dials, and the same call gets its answer.
#[tokio::test(flavor = "multi_thread")]
async fn edge_that_cannot_be_dialled_is_told_as_not_connected_once() {
    let one = Host::core(1, &[]).await;
    // Bound, so that nobody says that the port is closed, and nobody answers.
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut impatient = config(2, Role::Edge, &[one.address()]);
    impatient.relay = false;
    impatient.net.handshake_timeout = Duration::from_millis(400);
    let two = Host::start(impatient).await.unwrap();
    let three = Host::start(hidden(3, &[one.address()], &nowhere)).await.unwrap();
    all_joined(&[&one, &two, &three]).await;
    let heard = joined(&three).await;
    sees(&two, 1).await;
    let far = room(&two).members().remove(0);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (args, system) = ((far.pid(), Arc::clone(&told)), two.system.clone());
    two.run(async move { system.spawn::<Tied>(args).await.unwrap() }).await;
    let request = two.cluster.clone();
    let requested = two.run(async move {
        request.request(NodeId(3), Service::APPLICATION, Bytes::new(), Duration::from_secs(20)).await
    });
    let (called, requested) = tokio::join!(ask(&two, &far, 1), requested);
    assert_eq!((called, requested), (Err(CallError::NoConnection), Err(RequestError::Unreachable(NodeId(3)))));
    until("both ties to be told", || told.lock().unwrap().len() == 2).await;
    assert_eq!(reach(&two, 3), Some(Reach::ThroughCores), "it is there all the same");
    let near = ear(&two).await.0.pid();
    let dialling = three.system.addr::<Ear>(near);
    assert_eq!(ask(&three, &dialling, 2).await, Ok(1));
    until("the two to be connected", || reach(&two, 3) == Some(Reach::Connected)).await;
    assert_eq!(ask(&two, &far, 3).await, Ok(1));
    heard.becomes(&["3".to_owned()]).await;
    let mut told = told.lock().unwrap().clone();
    told.sort();
    assert_eq!(told, ["down NoConnection", "exit NoConnection"]);
}

/// Nobody connects the two, and still a restart is a loss and a return.
#[tokio::test(flavor = "multi_thread")]
async fn later_start_of_an_edge_is_down_and_up_for_other_edges() {
    let mut star = star(2, 2).await;
    let heard = joined(&star.edges[1]).await;
    sees(&star.edges[0], 1).await;
    let mut events = star.edges[0].cluster.subscribe();
    for node in [1, 2, 4] {
        assert_eq!(next(&mut events).await, format!("up n{node} i1"));
    }
    let mut again = config(4, Role::Edge, &star.seeds());
    again.net.incarnation = Incarnation(2);
    let four = star.edges.remove(1).restart(again).await;
    assert_eq!((next(&mut events).await, next(&mut events).await), ("down n4 i1".into(), "up n4 i2".into()));
    assert_eq!(room(&star.edges[0]).members().len(), 0, "a later start begins with nothing");
    assert_eq!(star.edges[0].cluster.connection_count(), 2);
    let leaving = four.cluster.clone();
    four.run(async move { leaving.shutdown().await }).await;
    assert_eq!(next(&mut events).await, "down n4 i2");
    assert!(is_quiet(&mut events) && heard.all().is_empty());
}

/// Names, presence and topics of edges that aren't connected; and no connection comes of them.
#[tokio::test(flavor = "multi_thread")]
async fn edges_share_and_publish_by_way_of_cores_alone() {
    let star = star(2, 3).await;
    let (three, four, five) = (&star.edges[0], &star.edges[1], &star.edges[2]);
    let (actor, _) = ear(three).await;
    three.cluster.names().register("clerk", &actor, OnConflict::Exit).unwrap();
    three.cluster.presence().topic("desk").track("ann", &actor, &"here").unwrap();
    until("the name and the presence to be seen", || {
        let desk = five.cluster.presence().topic("desk").list();
        five.cluster.names().whereis("clerk") == Some(actor.pid()) && desk.len() == 1
    })
    .await;
    let (topic, published) = (four.cluster.pubsub().topic::<u64>("prices"), 50);
    let mut readers = [topic.stream(100).unwrap(), five.cluster.pubsub().topic::<u64>("prices").stream(100).unwrap()];
    let prices = three.cluster.pubsub().topic::<u64>("prices");
    let all = Published { here: 0, missed_here: 0, nodes: 2, missed_nodes: 0 };
    until("both to be known as subscribers", || prices.publish(&0) == all).await;
    (1..=published).for_each(|price| assert_eq!(prices.publish(&price), all));
    for reader in &mut readers {
        let mut last = 0;
        while last < published {
            let price = soon("a price", reader.next()).await.unwrap();
            assert!(price == 0 && last == 0 || price == last + 1, "{price} after {last}");
            last = price;
        }
    }
    star.is_thin().await;
}

/// Whoever turns it off has the mesh.
#[tokio::test(flavor = "multi_thread")]
async fn edges_of_a_mesh_are_connected_without_need() {
    let one = Host::core(1, &[]).await;
    let mesh = |node| Config { edges: Edges::Mesh, ..config(node, Role::Edge, &[one.address()]) };
    let (two, three) = (Host::start(mesh(2)).await.unwrap(), Host::start(mesh(3)).await.unwrap());
    until("the edges to be connected", || {
        reach(&two, 3) == Some(Reach::Connected) && reach(&three, 2) == Some(Reach::Connected)
    })
    .await;
}

/// Requests wait for the connection that they make.
#[tokio::test(flavor = "multi_thread")]
async fn request_to_another_edge_makes_a_connection() {
    let star = star(1, 2).await;
    let (two, three) = (&star.edges[0], &star.edges[1]);
    let echo = |asker: tiebeam_cluster::PeerIdentity, body: Bytes| async move {
        Ok(Bytes::from(format!("{} says {}", asker.node, String::from_utf8_lossy(&body))))
    };
    three.cluster.serve(Service::APPLICATION, Arc::new(move |asker, body| echo(asker, body).boxed()));
    let asking = two.cluster.clone();
    let answers = two.run(async move {
        let ask = || asking.request(NodeId(3), Service::APPLICATION, "hello".into(), Duration::from_secs(20));
        tokio::join!(ask(), ask())
    });
    let answer = Ok(Bytes::from("n2 says hello"));
    assert_eq!(answers.await, (answer.clone(), answer));
    assert_eq!(two.cluster.connection_count(), 2);
}

/// Where a dial comes to nothing a core carries the datagrams: large messages, links and all.
#[tokio::test(flavor = "multi_thread")]
async fn edges_that_are_kept_apart_are_connected_by_way_of_a_core() {
    let cores = star(2, 0).await;
    let nowhere = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut edges = Vec::new();
    for (node, nowhere) in (3..).zip(&nowhere) {
        let config = Config { relay: true, ..hidden(node, &cores.seeds(), nowhere) };
        edges.push(Host::start(config).await.unwrap());
    }
    let (three, four) = (&edges[0], &edges[1]);
    let all: Vec<&Host> = cores.cores.iter().chain(&edges).collect();
    all_joined(&all).await;
    let heard = joined(four).await;
    sees(three, 1).await;
    let far = room(three).members().remove(0);
    assert_eq!(ask(three, &far, 1).await, Ok(1));
    assert_eq!((reach(three, 4), reach(four, 3)), (Some(Reach::Connected), Some(Reach::Connected)));
    let echo = |_: tiebeam_cluster::PeerIdentity, body: Bytes| async move { Ok(body) }.boxed();
    four.cluster.serve(Service::APPLICATION, Arc::new(echo));
    let (asking, body) = (three.cluster.clone(), Bytes::from(vec![7; 300_000]));
    let sent = body.clone();
    let answer =
        three.run(async move { asking.request(NodeId(4), Service::APPLICATION, sent, Duration::from_secs(20)).await });
    assert_eq!(answer.await, Ok(body));
    let told = Arc::new(Mutex::new(Vec::new()));
    let (args, system) = ((far.pid(), Arc::clone(&told)), three.system.clone());
    three.run(async move { system.spawn::<Tied>(args).await.unwrap() }).await;
    assert_eq!(ask(three, &far, 2).await, Ok(2));
    heard.becomes(&["1", "2"].map(String::from)).await;
    drop(edges.remove(1));
    until("both ties to be told", || told.lock().unwrap().len() == 2).await;
}
