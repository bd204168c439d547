use std::time::Duration;

use tiebeam_log::{CommandsError, GroupConfig, Snapshots};

use crate::cluster::{Cluster, NODES, command, quick};

const PATIENCE: Duration = Duration::from_secs(60);

/// Would fail if a snapshot lost entries, if a restart applied them twice, or if a replica that was away too long could
/// not be brought back without the entries that are gone.
#[tokio::test]
async fn replica_that_was_away_too_long_is_brought_back_by_a_snapshot() {
    let config = GroupConfig { snapshots: Snapshots::Every(40), entries_kept: 5, ..quick() };
    let mut cluster = Cluster::start(config).await;
    let (client, route) = cluster.client();
    let leader = cluster.leader().await;
    let away = NODES.into_iter().find(|n| *n != leader).unwrap();
    cluster.stop_node(away).await;
    for value in 0..200 {
        client.propose(&route, command(value), PATIENCE).await.unwrap();
    }
    let leader = cluster.leader().await;
    // Purging follows the snapshot in the background.
    while !matches!(cluster.nodes[&leader].group.commands(0, 1), Err(CommandsError::Purged { .. })) {
        tiebeam_world::sleep(Duration::from_millis(20)).await;
    }
    cluster.start_node(away).await;
    client.propose(&route, command(200), PATIENCE).await.unwrap();
    cluster.settled().await;
    for state in cluster.states() {
        assert_eq!(state, (0..=200).collect::<Vec<u64>>());
    }
    for node in NODES {
        cluster.stop_node(node).await;
        cluster.start_node(node).await;
    }
    client.propose(&route, command(201), PATIENCE).await.unwrap();
    cluster.leader().await;
    cluster.settled().await;
    for state in cluster.states() {
        assert_eq!(state, (0..=201).collect::<Vec<u64>>());
    }
}
