//! Topics that are told to whoever subscribes.

use tiebeam_actor::ExitReason;
use tiebeam_cluster::pubsub::{Published, Subscriber, Topic};

use crate::ear::{Say, ear};
use crate::host::{Host, all_joined, soon, until};

fn news(host: &Host) -> Topic<Say> {
    host.cluster.pubsub().topic("news")
}

async fn read(subscriber: &mut Subscriber<Say>) -> u64 {
    soon("a message", subscriber.next()).await.unwrap().0
}

async fn pair() -> (Host, Host) {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    all_joined(&[&one, &two]).await;
    (one, two)
}

/// Publishes a message that is no number of the test until as many nodes get it as should.
async fn reaches(host: &Host, nodes: usize) {
    until("subscriptions to be known", || news(host).publish(&Say(u64::MAX)).nodes == nodes).await;
}

async fn read_from(subscriber: &mut Subscriber<Say>, first: u64) {
    while read(subscriber).await != first {}
}

/// Sent per subscriber it would be three frames; over several lanes it would lose the order.
#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_hears_each_message_once_and_in_order() {
    let (one, two) = pair().await;
    let (actor, heard) = ear(&two).await;
    let mut here = news(&one).stream(10_000).unwrap();
    let mut there = [news(&two).stream(10_000).unwrap(), news(&two).stream(10_000).unwrap()];
    let _subscription = news(&two).subscribe(&actor).unwrap();
    reaches(&one, 1).await;
    for number in 0..500 {
        let published = news(&one).publish(&Say(number));
        assert_eq!(published, Published { here: 1, missed_here: 0, nodes: 1, missed_nodes: 0 });
    }
    for subscriber in [&mut here].into_iter().chain(&mut there) {
        read_from(subscriber, 0).await;
        for number in 1..500 {
            assert_eq!(read(subscriber).await, number);
        }
        assert_eq!(subscriber.dropped(), 0);
    }
    until("the actor to have heard it all", || heard.all().last().is_some_and(|last| last == "499")).await;
    let numbers: Vec<String> = heard.all().into_iter().filter(|text| text.len() < 4).collect();
    assert_eq!(numbers, (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_stream_drops_its_oldest_messages_and_counts_them() {
    let one = Host::core(1, &[]).await;
    let mut slow = news(&one).stream(3).unwrap();
    for number in 0..10 {
        news(&one).publish(&Say(number));
    }
    assert_eq!((read(&mut slow).await, read(&mut slow).await, read(&mut slow).await), (7, 8, 9));
    assert_eq!(slow.dropped(), 7);
    let other_type = one.cluster.pubsub().topic::<String>("news").publish(&"x".to_owned());
    assert_eq!(other_type, Published { missed_here: 1, ..Published::default() });
}

/// A node without subscribers must not be sent to; who ends, unsubscribes or is dropped is no subscriber.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_what_nobody_subscribes() {
    let (one, two) = pair().await;
    assert_eq!(news(&one).publish(&Say(0)), Published::default());
    let ((a, _), (b, _)) = (ear(&two).await, ear(&two).await);
    let stream = news(&two).stream(1).unwrap();
    reaches(&one, 1).await;
    let (of_a, _of_b) = (news(&two).subscribe(&a).unwrap(), news(&two).subscribe(&b).unwrap());
    drop(stream);
    of_a.unsubscribe();
    assert_eq!(news(&two).publish(&Say(0)).here, 1);
    two.system.exit(b.pid(), ExitReason::Kill);
    reaches(&one, 0).await;
    assert_eq!(news(&two).publish(&Say(0)), Published::default());
    assert!(news(&two).subscribe(&b).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_subscriber_is_no_subscriber() {
    let (one, two) = pair().await;
    let _stream = news(&two).stream(1).unwrap();
    reaches(&one, 1).await;
    drop(two);
    until("the loss", || !one.cluster.members()[1].live).await;
    assert_eq!(news(&one).publish(&Say(0)), Published::default());
}
