use std::time::Duration;

use futures::FutureExt;
use tiebeam_topics::batch::{PushError, Record};
use tiebeam_topics::partition_of;
use tiebeam_topics::producer::{ProducerConfig, ProducerError, SendError};
use tiebeam_wire::NodeId;

use crate::cluster::{Cluster, number, patiently, record, small};

const ALONE: NodeId = NodeId(1);

/// Would fail if the partition did not recognise a batch that was sent again: two of three answers never arrive.
#[tokio::test]
async fn records_are_kept_once_and_in_order_though_answers_are_lost() {
    let cluster = Cluster::start(1, 1).await;
    cluster.leader(0).await;
    cluster.mesh.lose_answers(Some(3));
    let producer = cluster.producer("p", small()).await;
    for n in 0..300 {
        producer.send(record(n)).await.unwrap();
    }
    patiently(producer.flush()).await.unwrap();
    let read: Vec<u64> = cluster.read(0, 300).await.iter().map(number).collect();
    assert_eq!(read, (0..300).collect::<Vec<_>>());
    let counters = cluster.nodes[&ALONE].partitions[0].read(|p| p.counters());
    assert_eq!(counters.records, 300);
    assert!(counters.duplicates > 0, "no answer was lost: {counters:?}");
    assert_eq!(producer.counters().records, 300);
    assert_eq!(producer.counters().duplicates, counters.duplicates);
}

#[tokio::test]
async fn records_of_a_key_get_into_its_partition() {
    let cluster = Cluster::start(1, 3).await;
    let producer = cluster.producer("p", small()).await;
    for n in 0..60_u64 {
        let key = Some(format!("key-{}", n % 10).into());
        producer.send(Record { key, ..record(n) }).await.unwrap();
    }
    patiently(producer.flush()).await.unwrap();
    let mut seen = 0;
    for (partition, group) in cluster.nodes[&ALONE].partitions.iter().enumerate() {
        let count = group.read(|p| p.end().get()) as usize;
        for record in cluster.read(partition, count).await {
            assert_eq!(partition_of(record.key.as_deref().unwrap(), 3) as usize, partition);
            seen += 1;
        }
    }
    assert_eq!(seen, 60);
}

#[tokio::test]
async fn records_without_key_take_turns() {
    let cluster = Cluster::start(1, 3).await;
    let producer = cluster.producer("p", small()).await;
    for n in 0..30 {
        producer.send(record(n)).await.unwrap();
    }
    patiently(producer.flush()).await.unwrap();
    let ends = cluster.nodes[&ALONE].partitions.iter().map(|group| group.read(|p| p.end().get()));
    assert_eq!(ends.collect::<Vec<_>>(), [10, 10, 10]);
}

/// A producer that dies with records under way, again and again, and skips what is there when it comes back.
#[tokio::test]
async fn restarted_producer_goes_on_where_it_stopped() {
    let cluster = Cluster::start(1, 1).await;
    cluster.mesh.lose_answers(Some(4));
    for life in 0..5 {
        let producer = cluster.producer("p", small()).await;
        let there = patiently(producer.appended(0)).await.unwrap();
        assert_eq!(producer.last_sequence(0).await.unwrap(), there.checked_sub(1).map(|last| last as i32));
        for n in there..(life + 1) * 100 {
            producer.send(record(n)).await.unwrap();
        }
        if life == 4 {
            patiently(producer.flush()).await.unwrap();
        }
    }
    let read: Vec<u64> = cluster.read(0, 500).await.iter().map(number).collect();
    assert_eq!(read, (0..500).collect::<Vec<_>>());
    assert_eq!(cluster.nodes[&ALONE].partitions[0].read(|p| p.counters().records), 500);
}

#[tokio::test]
async fn producer_whose_name_was_opened_again_is_fenced() {
    let cluster = Cluster::start(1, 1).await;
    let old = cluster.producer("p", small()).await;
    old.send(record(0)).await.unwrap();
    patiently(old.flush()).await.unwrap();
    let new = cluster.producer("p", small()).await;
    assert_eq!(patiently(new.appended(0)).await, Ok(1));
    old.send(record(1)).await.unwrap();
    let fenced = ProducerError::Fenced { producer: "p".to_owned(), partition: 0 };
    assert_eq!(patiently(old.flush()).await, Err(fenced.clone()));
    assert_eq!(patiently(old.send(record(2))).await, Err(SendError::Stopped(fenced)));
    new.send(record(1)).await.unwrap();
    patiently(new.flush()).await.unwrap();
    assert_eq!(cluster.read(0, 2).await.iter().map(number).collect::<Vec<_>>(), [0, 1]);
}

/// Would fail if a partition that is away let the buffer grow: ten records wait, the eleventh's sender does.
#[tokio::test]
async fn sender_waits_while_the_buffer_is_full() {
    let cluster = Cluster::start(1, 1).await;
    cluster.leader(0).await;
    cluster.mesh.cut_off(ALONE);
    let producer = cluster.producer("p", ProducerConfig { buffer_records_max: 10, ..small() }).await;
    for n in 0..10 {
        assert_eq!(producer.send(record(n)).now_or_never(), Some(Ok(())));
    }
    let waiting = producer.send(record(10));
    futures::pin_mut!(waiting);
    assert_eq!((&mut waiting).now_or_never(), None);
    cluster.mesh.heal(ALONE);
    patiently(waiting).await.unwrap();
    patiently(producer.flush()).await.unwrap();
    assert_eq!(cluster.read(0, 11).await.len(), 11);
}

#[tokio::test]
async fn bytes_that_wait_are_limited_as_well() {
    let cluster = Cluster::start(1, 1).await;
    cluster.leader(0).await;
    cluster.mesh.cut_off(ALONE);
    let config = ProducerConfig { buffer_bytes_max: 10_000, batch_bytes_max: 5_000, ..small() };
    let producer = cluster.producer("p", config).await;
    let large = || Record { value: Some(vec![7; 4_000].into()), ..Record::default() };
    assert_eq!(producer.send(large()).now_or_never(), Some(Ok(())));
    assert_eq!(producer.send(large()).now_or_never(), Some(Ok(())));
    assert_eq!(producer.send(large()).now_or_never(), None);
}

/// Two records in one batch that gets no answer: would fail if they gave back their room before they are acknowledged.
#[tokio::test]
async fn bytes_in_flight_count_as_waiting() {
    let cluster = Cluster::start(1, 1).await;
    let attempt_timeout = Duration::from_millis(1);
    let config = ProducerConfig { buffer_bytes_max: 10_000, batch_bytes_max: 9_000, attempt_timeout, ..small() };
    let producer = cluster.producer("p", config).await;
    patiently(producer.appended(0)).await.unwrap();
    let before = producer.counters().retries;
    cluster.mesh.cut_off(ALONE);
    let large = || Record { value: Some(vec![7; 4_000].into()), ..Record::default() };
    assert_eq!(producer.send(large()).now_or_never(), Some(Ok(())));
    assert_eq!(producer.send(large()).now_or_never(), Some(Ok(())));
    while producer.counters().retries == before {
        tiebeam_world::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(producer.send(large()).now_or_never(), None);
    cluster.mesh.heal(ALONE);
    patiently(producer.send(large())).await.unwrap();
    patiently(producer.flush()).await.unwrap();
    assert_eq!(producer.counters().records, 3);
}

#[tokio::test]
async fn record_beyond_a_limit_is_refused_and_others_follow() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.producer("p", ProducerConfig { batch_bytes_max: 1_000, ..small() }).await;
    let large = Record { value: Some(vec![7; 1_000].into()), ..Record::default() };
    let refused = producer.send(large).await;
    assert!(matches!(refused, Err(SendError::Record(PushError::TooLarge { limit: 1_000, .. }))), "{refused:?}");
    assert_eq!(producer.send_to(1, record(0)).await, Err(SendError::NoPartition(1)));
    producer.send(record(0)).await.unwrap();
    patiently(producer.flush()).await.unwrap();
}

/// The leader dies with batches under way, twice; nothing acknowledged is lost, nothing is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_survive_the_death_of_leaders() {
    let mut cluster = Cluster::start(3, 1).await;
    let producer = cluster.producer("p", small()).await;
    for n in 0..600 {
        producer.send(record(n)).await.unwrap();
        if n % 250 == 200 {
            let leader = cluster.leader(0).await;
            cluster.stop_node(leader).await;
            cluster.start_node(leader).await;
        }
    }
    patiently(producer.flush()).await.unwrap();
    let read: Vec<u64> = cluster.read(0, 600).await.iter().map(number).collect();
    assert_eq!(read, (0..600).collect::<Vec<_>>());
    let leader = cluster.leader(0).await;
    assert_eq!(cluster.nodes[&leader].partitions[0].read(|p| p.counters().records), 600);
}
