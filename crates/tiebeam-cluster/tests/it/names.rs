//! Names on several nodes.

use tiebeam_actor::{ExitReason, Pid};
use tiebeam_cluster::names::{NAME_CONFLICT, NameEvent, OnConflict, RegisterNameError};
use tiebeam_wire::{Incarnation, Role};

use crate::ear::ear;
use crate::host::{Host, all_joined, config, soon, until};
use crate::split::Pair;

async fn found(host: &Host, expected: Option<Pid>) {
    until("the name to be found", || host.cluster.names().whereis("clerk") == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn name_is_found_everywhere_until_it_is_taken_back_or_its_actor_ends() {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    all_joined(&[&one, &two]).await;
    let ((a, _), (b, _)) = (ear(&one).await, ear(&two).await);
    let mut events = two.cluster.names().events("clerk").unwrap();
    let mut told = async |before: Option<&Pid>, after: Option<&Pid>| {
        let event = soon("a change of the name", events.next()).await.unwrap();
        assert_eq!(event, NameEvent { name: "clerk".into(), before: before.copied(), after: after.copied() });
    };
    one.cluster.names().register("clerk", &a, OnConflict::Exit).unwrap();
    assert_eq!(one.cluster.names().whereis("clerk"), Some(a.pid()), "here at once");
    told(None, Some(&a.pid())).await;
    assert_eq!(two.cluster.names().list(), [("clerk".to_owned(), a.pid())]);
    let taken = Err(RegisterNameError::Taken { name: "clerk".into(), holder: a.pid() });
    assert_eq!(two.cluster.names().register("clerk", &b, OnConflict::Exit), taken);
    assert!(!two.cluster.names().unregister("clerk"), "each node takes back its own");
    assert!(one.cluster.names().unregister("clerk"));
    told(Some(&a.pid()), None).await;
    two.cluster.names().register("clerk", &b, OnConflict::Exit).unwrap();
    found(&one, Some(b.pid())).await;
    told(None, Some(&b.pid())).await;
    two.system.exit(b.pid(), ExitReason::Kill);
    found(&one, None).await;
    told(Some(&b.pid()), None).await;
}

/// Each side gives the name away; if each kept its own, or both gave way, nodes would never agree again.
#[tokio::test(flavor = "multi_thread")]
async fn conflict_after_a_split_ends_the_earlier_holder() {
    let pair = Pair::start().await;
    let ((a, _), (b, _)) = (ear(&pair.one).await, ear(&pair.two).await);
    pair.cut().await;
    pair.one.cluster.names().register("clerk", &a, OnConflict::Exit).unwrap();
    pair.two.cluster.names().register("clerk", &b, OnConflict::Exit).unwrap();
    // Waited for from before the nodes meet: afterwards there may be nobody whose end could be told.
    let ended = pair.one.system.wait(a.pid());
    pair.heal().await;
    assert_eq!(soon("the loser to end", ended).await, ExitReason::Other(NAME_CONFLICT.into()));
    for host in [&pair.one, &pair.two] {
        found(host, Some(b.pid())).await;
    }
    assert!(pair.two.system.is_alive(b.pid()));
}

/// A loser that got its name back when the winner ends would have been told a lie.
#[tokio::test(flavor = "multi_thread")]
async fn loser_that_is_only_told_lives_on_without_the_name() {
    let pair = Pair::start().await;
    let ((a, heard), (b, _)) = (ear(&pair.one).await, ear(&pair.two).await);
    pair.one.cluster.names().register("clerk", &a, OnConflict::tell(&a)).unwrap();
    found(&pair.two, Some(a.pid())).await;
    pair.cut().await;
    assert_eq!(pair.two.cluster.names().whereis("clerk"), None, "its node is lost");
    pair.two.cluster.names().register("clerk", &b, OnConflict::Exit).unwrap();
    assert_eq!(pair.one.cluster.names().whereis("clerk"), Some(a.pid()), "and here it is not");
    pair.heal().await;
    heard.becomes(&[format!("clerk is {} and not {}", b.pid(), a.pid())]).await;
    found(&pair.one, Some(b.pid())).await;
    pair.two.system.exit(b.pid(), ExitReason::Kill);
    found(&pair.one, None).await;
    found(&pair.two, None).await;
    assert!(pair.one.system.is_alive(a.pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn name_of_a_lost_node_is_back_with_it_and_gone_with_its_start() {
    let pair = Pair::start().await;
    let (a, _) = ear(&pair.one).await;
    pair.one.cluster.names().register("clerk", &a, OnConflict::Exit).unwrap();
    found(&pair.two, Some(a.pid())).await;
    pair.cut().await;
    assert_eq!(pair.two.cluster.names().whereis("clerk"), None);
    pair.heal().await;
    found(&pair.two, Some(a.pid())).await;
    let one = Host::core(3, &[]).await;
    let two = Host::core(4, &[one.address()]).await;
    let (c, _) = ear(&two).await;
    two.cluster.names().register("clerk", &c, OnConflict::Exit).unwrap();
    found(&one, Some(c.pid())).await;
    let mut again = config(4, Role::Core, &[one.address()]);
    again.net.incarnation = Incarnation(2);
    let two = two.restart(again).await;
    all_joined(&[&one, &two]).await;
    found(&one, None).await;
    found(&two, None).await;
}
