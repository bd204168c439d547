//! Topics that are told to whoever subscribes.

use serde::{Deserialize, Deserializer, Serialize};
use tiebeam_actor::ExitReason;
use tiebeam_cluster::Service;
use tiebeam_cluster::pubsub::{Published, Subscriber, Topic};
use tiebeam_net::{Endpoint, Lane, Reason};
use tiebeam_wire::Role;

use crate::ear::{Say, ear};
use crate::host::{Host, all_joined, net, soon, until};

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

/// Decoding is the user's code: if its panic ended whoever reads the lane, everything behind it would be lost in silence.
#[tokio::test(flavor = "multi_thread")]
async fn message_that_panics_where_it_is_decoded_harms_no_other() {
    #[derive(Clone, Serialize)]
    struct Picky(u64);
    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let number = u64::deserialize(deserializer)?;
            assert!(number != 13, "as asked");
            Ok(Self(number))
        }
    }
    let (one, two) = pair().await;
    let mut there = two.cluster.pubsub().topic::<Picky>("picky").stream(10_000).unwrap();
    let topic = one.cluster.pubsub().topic::<Picky>("picky");
    until("the subscription to be known", || topic.publish(&Picky(0)).nodes == 1).await;
    topic.publish(&Picky(13));
    topic.publish(&Picky(14));
    loop {
        match soon("a message", there.next()).await.unwrap() {
            Picky(0) => {}
            Picky(number) => return assert_eq!(number, 14),
        }
    }
}

/// Whoever could speak in another's name could break the order that it promises.
#[tokio::test(flavor = "multi_thread")]
async fn frame_that_is_none_or_names_another_sender_ends_the_connection() {
    let one = Host::core(1, &[]).await;
    let publish = |node: u8| [vec![1, 1, node, 3, 0], vec![4], b"news".to_vec(), vec![2, 1, 7]].concat();
    let mut news = news(&one).stream(10).unwrap();
    for (incarnation, frame, is_good) in [(1, vec![1, 9], false), (2, publish(8), false), (3, publish(9), true)] {
        let raw = Endpoint::bind(net(9, incarnation, Role::Core)).unwrap();
        let mut candidate = raw.dial(one.address(), Some(one.node())).await.unwrap();
        let peer = match candidate.decides() {
            true => {
                candidate.offered().await.unwrap();
                candidate.keep().await.unwrap()
            }
            false => candidate.offer().await.unwrap(),
        };
        peer.lane(Lane { service: Service::SHARE, index: 5 }).send(frame.into()).unwrap();
        if is_good {
            // The same bytes in its own name arrive, so what was refused before was refused for the name.
            assert_eq!(read(&mut news).await, 7);
        } else {
            assert_eq!(soon("the end of the connection", peer.closed()).await.reason, Reason::Protocol);
        }
    }
}
