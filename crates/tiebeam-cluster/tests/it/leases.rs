//! Leases of several nodes.

use std::time::Duration;

use tiebeam_cluster::Leases;
use tiebeam_cluster::leases::LeaseError;
use tiebeam_wire::{NodeId, Role};

use crate::host::{Host, config, soon, three, voting};
use crate::split::Pair;

/// Long enough for everything that must come.
const LONG: Duration = Duration::from_secs(25);
/// Too short for a lease to end.
const SHORT: Duration = Duration::from_millis(400);

fn leases(host: &Host) -> Leases {
    host.cluster.leases()
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_is_one_nodes_at_a_time_and_its_fences_grow() {
    let [one, two, three] = three().await;
    let first = leases(&one).acquire("r", LONG).await.unwrap();
    assert!(first.is_held());
    assert_eq!(leases(&one).acquire("r", LONG).await.unwrap_err(), LeaseError::Taken("r".into()));
    let denied = leases(&two).acquire("r", SHORT).await.unwrap_err();
    assert_eq!(denied, LeaseError::Timeout { resource: "r".into(), holder: Some(NodeId(1)) });
    let other = leases(&two).acquire("other", LONG).await.unwrap();
    // Who waits is told when it is given back.
    let (waiting, fence) = (leases(&three), first.fence());
    let waiting = tiebeam_world::spawn("test.lease", async move { waiting.acquire("r", LONG).await });
    first.release();
    let second = soon("the next holder", waiting).await.unwrap().unwrap();
    assert!(second.fence() > fence && second.is_held() && other.is_held());
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_of_a_killed_node_can_be_had_when_its_lease_has_ended() {
    let [one, two, three] = three().await;
    let first = leases(&three).acquire("r", LONG).await.unwrap();
    let fence = first.fence();
    drop(three);
    let second = leases(&one).acquire("r", LONG).await.unwrap();
    assert!(second.fence() > fence);
    drop(first);
    assert!(second.is_held());
    drop(two);
}

/// Whoever is cut off must stop before somebody else begins.
#[tokio::test(flavor = "multi_thread")]
async fn lease_is_lost_without_a_majority() {
    let pair = Pair::start_with(|config| {
        let voters = voting(1, &[1], &[]);
        (config.voters, config.lease_time) = (voters.voters, voters.lease_time);
    })
    .await;
    let mut lease = leases(&pair.two).acquire("r", LONG).await.unwrap();
    let fence = lease.fence();
    pair.cut().await;
    soon("the loss", lease.lost()).await;
    assert!(!lease.is_held());
    let next = leases(&pair.one).acquire("r", LONG).await.unwrap();
    assert!(next.fence() > fence);
    let denied = leases(&pair.two).acquire("s", SHORT).await.unwrap_err();
    assert!(matches!(denied, LeaseError::Timeout { holder: None, .. }), "{denied}");
    pair.heal().await;
    leases(&pair.two).acquire("s", LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_voters_there_are_no_leases() {
    let host = Host::start(config(1, Role::Core, &[])).await.unwrap();
    assert_eq!(leases(&host).acquire("r", LONG).await.unwrap_err(), LeaseError::NoVoters);
    let long = "x".repeat(256);
    assert_eq!(leases(&host).acquire(&long, LONG).await.unwrap_err(), LeaseError::TooLong { size: 256, limit: 255 });
}
