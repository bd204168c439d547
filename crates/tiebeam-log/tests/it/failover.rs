use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_log::{Channel, ProposeError, TransportError};
use tiebeam_wire::{NodeId, Role};

use crate::cluster::{Cluster, GROUP, NODES, command, quick};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn committed_commands_are_applied_by_every_replica_in_one_order() {
    let cluster = Cluster::start(quick()).await;
    let leader = cluster.leader().await;
    for value in 0..50 {
        cluster.nodes[&leader].group.propose(command(value)).await.unwrap();
    }
    cluster.settled().await;
    for state in cluster.states() {
        assert_eq!(state, (0..50).collect::<Vec<u64>>());
    }
}

#[tokio::test]
async fn follower_refuses_a_proposal_and_names_the_leader() {
    let cluster = Cluster::start(quick()).await;
    let leader = cluster.leader().await;
    let follower = NODES.into_iter().find(|n| *n != leader).unwrap();
    // The follower learns of its leader from the first append, which may still be on its way.
    cluster.nodes[&leader].group.propose(command(1)).await.unwrap();
    cluster.settled().await;
    let error = cluster.nodes[&follower].group.propose(command(2)).await.unwrap_err();
    let ProposeError::NotLeader { group, leader: hint } = error else { panic!("{error}") };
    assert_eq!((group, hint), (GROUP, Some(leader)));
    assert!(cluster.states().iter().all(|state| !state.contains(&2)));
}

/// Would fail if an acknowledgement could leave before a majority had the entry: the dead leader's disk is not asked.
#[tokio::test]
async fn client_goes_on_when_the_leader_dies_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(quick()).await;
    let (client, route) = cluster.client();
    let mut acknowledged = Vec::new();
    for value in 0..30 {
        client.propose(&route, command(value), PATIENCE).await.unwrap();
        acknowledged.push(value);
        if value % 10 == 5 {
            let leader = cluster.leader().await;
            cluster.stop_node(leader).await;
            client.propose(&route, command(1_000 + value), PATIENCE).await.unwrap();
            acknowledged.push(1_000 + value);
            cluster.start_node(leader).await;
        }
    }
    cluster.leader().await;
    cluster.settled().await;
    for state in cluster.states() {
        assert_eq!(state, acknowledged);
    }
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_all_nodes_were_away() {
    let mut cluster = Cluster::start(quick()).await;
    let (client, route) = cluster.client();
    for value in 0..20 {
        client.propose(&route, command(value), PATIENCE).await.unwrap();
    }
    for node in NODES {
        cluster.stop_node(node).await;
    }
    for node in NODES {
        cluster.start_node(node).await;
    }
    let bytes = client.query(&route, b"", PATIENCE).await.unwrap();
    let seen: Vec<u64> = tiebeam_wire::codec::decode(1, &bytes).unwrap();
    assert_eq!(seen, (0..20).collect::<Vec<u64>>());
}

/// Would fail if a leader that comes back took up its old term: how much of it was committed is known only after a new
/// entry is, and until then a read would miss the last of what was acknowledged.
#[tokio::test]
async fn first_read_after_a_power_loss_sees_everything_acknowledged() {
    for round in 0..10 {
        let cluster = Cluster::start(quick()).await;
        let leader = cluster.leader().await;
        let group = cluster.nodes[&leader].group.clone();
        let before = group.led().await;
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (group, acknowledged) = (group.clone(), Arc::clone(&acknowledged));
                let work = async move {
                    for value in (writer..).step_by(8) {
                        let Ok(_) = group.propose(command(value)).await else { return };
                        acknowledged.lock().unwrap().push(value);
                    }
                };
                tiebeam_world::spawn("test.writer", work).into_guard()
            })
            .collect();
        group.applied_past(200 + round).await;
        let acknowledged = acknowledged.lock().unwrap().clone();
        let after = cluster.lose_power().await;
        drop(writers);
        let leader = after.leader().await;
        let group = &after.nodes[&leader].group;
        let read = group.read(|s| s.seen.clone());
        let missed: Vec<_> = acknowledged.into_iter().filter(|value| !read.contains(value)).collect();
        assert!(missed.is_empty(), "round {round}: of {} read, {missed:?} is missed", read.len());
        assert!(group.led().await > before, "round {round}: an old term went on");
    }
}

/// Would fail if a leader answered reads or acknowledged writes on its own word.
#[tokio::test]
async fn leader_that_is_cut_off_acknowledges_nothing_and_is_deposed() {
    let cluster = Cluster::start(quick()).await;
    let leader = cluster.leader().await;
    let group = cluster.nodes[&leader].group.clone();
    let term = group.led().await;
    cluster.mesh.cut_off(leader);
    let lost = tiebeam_world::spawn("test.propose", {
        let group = group.clone();
        async move { group.propose(command(13)).await }
    });
    let (client, route) = cluster.client();
    client.propose(&route, command(7), PATIENCE).await.unwrap();
    assert!(!lost.is_finished(), "a proposal without a quorum was answered");
    cluster.mesh.heal(leader);
    group.deposed(term).await;
    assert!(lost.await.unwrap().is_err(), "an entry that was overwritten was acknowledged");
    cluster.leader().await;
    cluster.settled().await;
    for state in cluster.states() {
        assert_eq!(state, [7]);
    }
}

#[tokio::test]
async fn edge_node_that_asks_to_vote_is_refused() {
    let cluster = Cluster::start(quick()).await;
    cluster.leader().await;
    let edge = cluster.mesh.of(NodeId(9), Role::Edge);
    let answer = edge.request(NODES[0], Channel::Raft, vec![7; 32].into(), PATIENCE).await;
    let Err(TransportError::Refused { reason, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(reason, "node n9 has role edge; only core nodes take part in raft");
}

#[tokio::test]
async fn garbage_is_refused_and_does_no_harm() {
    let cluster = Cluster::start(quick()).await;
    let leader = cluster.leader().await;
    let peer = cluster.mesh.of(NODES[1], Role::Core);
    let group = GROUP.0.to_le_bytes();
    for channel in [Channel::Raft, Channel::Group] {
        // What is in proposals and queries (6 and 7) is the state machine's matter.
        let kinds = (0..=8_u8).filter(|kind| channel == Channel::Raft || !(6..=7).contains(kind));
        for kind in kinds {
            let body: Vec<u8> = group.iter().copied().chain([kind, 255, 255, 255]).collect();
            let answer = peer.request(leader, channel, body.into(), PATIENCE).await;
            assert!(answer.is_err(), "{channel:?} {kind}");
        }
        assert!(peer.request(leader, channel, vec![1, 2].into(), PATIENCE).await.is_err());
    }
    cluster.nodes[&leader].group.propose(command(1)).await.unwrap();
}

#[tokio::test]
async fn commands_are_read_back_as_they_were_proposed() {
    let cluster = Cluster::start(quick()).await;
    let leader = cluster.leader().await;
    let group = &cluster.nodes[&leader].group;
    for value in 0..10 {
        group.propose(command(value)).await.unwrap();
    }
    let (mut from, mut values) = (0, Vec::new());
    while from < group.applied() {
        // One byte: the least that may be asked for still yields one entry.
        let commands = group.commands(from, 1).unwrap();
        assert!(commands.next > from);
        values.extend(commands.items.into_iter().map(|(_, c)| c));
        from = commands.next;
    }
    assert_eq!(values, (0..10).map(command).collect::<Vec<_>>());
}
