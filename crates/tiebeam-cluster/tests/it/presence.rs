//! Who is there, on several nodes.

use tiebeam_actor::ExitReason;
use tiebeam_cluster::ShareError;
use tiebeam_cluster::presence::{PresenceEvents, Topic, TrackError};

use crate::ear::{ear, presence_event};
use crate::host::{Host, all_joined, next, soon, until};

fn room(host: &Host) -> Topic {
    host.cluster.presence().topic("room")
}

fn listed(host: &Host) -> Vec<String> {
    room(host).list().iter().map(|present| format!("{} {}", present.key, present.meta::<String>().unwrap())).collect()
}

async fn told(events: &mut PresenceEvents) -> String {
    presence_event(&soon("a change of presence", events.next()).await.unwrap())
}

fn meta(text: &str) -> String {
    text.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_listed_and_its_changes_are_told_on_every_node() {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    all_joined(&[&one, &two]).await;
    let ((a, _), (b, _), (watcher, heard)) = (ear(&one).await, ear(&one).await, ear(&two).await);
    let mut events = room(&two).events().unwrap();
    let _monitoring = room(&two).monitor(&watcher).unwrap();
    room(&one).track("ann", &a, &meta("here")).unwrap();
    assert_eq!(told(&mut events).await, "+ ann here");
    room(&one).track("ann", &b, &meta("twice")).unwrap();
    assert_eq!(told(&mut events).await, "+ ann twice");
    assert_eq!((listed(&two), room(&two).by_key()["ann"].len()), (vec![meta("ann here"), meta("ann twice")], 2));
    room(&one).update("ann", &a, &meta("away")).unwrap();
    assert_eq!(told(&mut events).await, "ann here > ann away");
    room(&one).untrack("ann", &b).unwrap();
    assert_eq!(told(&mut events).await, "- ann twice");
    one.system.exit(a.pid(), ExitReason::Kill);
    assert_eq!(told(&mut events).await, "- ann away");
    assert_eq!(two.cluster.presence().topics(), [""; 0]);
    let expected = ["+ ann here", "+ ann twice", "ann here > ann away", "- ann twice", "- ann away"].map(meta);
    heard.becomes(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_tracked_is_refused_and_changes_nothing() {
    let one = Host::core(1, &[]).await;
    let (a, _) = ear(&one).await;
    let (pid, key) = (a.pid(), meta("ann"));
    let too_large = room(&one).track("ann", &a, &"x".repeat(5000));
    assert!(matches!(too_large, Err(TrackError::Share(ShareError::TooLarge { what: "metadata", limit: 4096, .. }))));
    assert_eq!(room(&one).update("ann", &a, &meta("x")), Err(TrackError::NotTracked { pid, key: key.clone() }));
    assert_eq!(room(&one).untrack("ann", &a), Err(TrackError::NotTracked { pid, key: key.clone() }));
    assert_eq!(listed(&one), [""; 0]);
    room(&one).track("ann", &a, &meta("x")).unwrap();
    assert_eq!(room(&one).track("ann", &a, &meta("y")), Err(TrackError::AlreadyTracked { pid, key }));
    assert_eq!(listed(&one), ["ann x"]);
    assert!(room(&one).list()[0].meta::<Vec<Option<u64>>>().is_err(), "another type is told apart");
}

/// Whoever waits for a timer shows people who are long gone.
#[tokio::test(flavor = "multi_thread")]
async fn killed_node_takes_along_who_was_present() {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    all_joined(&[&one, &two]).await;
    let mut members = one.cluster.subscribe();
    assert_eq!(next(&mut members).await, "up n2 i1");
    let (b, _) = ear(&two).await;
    room(&two).track("ben", &b, &meta("here")).unwrap();
    until("ben to be seen", || listed(&one) == ["ben here"]).await;
    drop(two);
    assert_eq!(next(&mut members).await, "down n2 i1");
    assert_eq!(listed(&one), [""; 0]);
}
