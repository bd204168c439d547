//! Edges that keep to cores.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tiebeam_actor::{Addr, CallError};
use tiebeam_cluster::groups::Broadcast;
use tiebeam_cluster::{Edges, Group, Reach, RequestError, Service};
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::ear::{Ask, Ear, Heard, Say, ear};
use crate::host::{Host, all_joined, config, is_quiet, next, until};

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
