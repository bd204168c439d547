use std::time::Duration;

use futures::FutureExt;
use tiebeam_topics::Offset;
use tiebeam_topics::fetch::{FetchReply, FetchRequest, read_batches};
use tiebeam_wire::{GroupId, NodeId};

use crate::cluster::{Cluster, number, patiently, record, small};

const ALONE: NodeId = NodeId(1);
const NO_WAIT: Duration = Duration::ZERO;

/// One partition on one node, with batches of 7 records and the answers of some lost, so that the log holds more than
/// the partition kept.
async fn filled(records: u64) -> Cluster {
    let cluster = Cluster::start(1, 1).await;
    cluster.leader(0).await;
    cluster.mesh.lose_answers(Some(3));
    let producer = cluster.producer("p", small()).await;
    for n in 0..records {
        producer.send(record(n)).await.unwrap();
    }
    patiently(producer.flush()).await.unwrap();
    cluster.mesh.lose_answers(None);
    cluster
}

/// Would fail if the index were off by an entry anywhere, or a repetition were taken for a batch.
#[tokio::test]
async fn every_offset_is_read_from() {
    let cluster = filled(100).await;
    let (mut reader, group) = (cluster.reader(0, 1), &cluster.nodes[&ALONE].partitions[0]);
    for n in 0..100 {
        let offset = Offset::new(n).unwrap();
        let batches = reader.fetch(offset, NO_WAIT).await.unwrap();
        assert_eq!(batches.len(), 1, "a batch comes whole and alone if more were too much");
        assert_eq!(batches, read_batches(group, offset, 1).await.unwrap());
        let record = batches[0].records().find(|record| record.offset == offset).unwrap();
        assert_eq!(number(&record), n);
    }
}

#[tokio::test]
async fn fetch_stops_at_its_size() {
    let cluster = filled(100).await;
    let size: usize = {
        let one = cluster.reader(0, 1).fetch(Offset::ZERO, NO_WAIT).await.unwrap();
        one[0].bytes().len()
    };
    let all = cluster.reader(0, 100_000).fetch(Offset::ZERO, NO_WAIT).await.unwrap();
    assert_eq!(all.iter().flat_map(|batch| batch.records()).count(), 100);
    let some = cluster.reader(0, 4 * size as u32).fetch(Offset::ZERO, NO_WAIT).await.unwrap();
    let bytes: usize = some.iter().map(|batch| batch.bytes().len()).sum();
    assert!(some.len() > 1 && some.len() < all.len() && bytes <= 4 * size, "{} batches, {bytes} bytes", some.len());
}

#[tokio::test]
async fn fetch_at_the_end_waits_for_the_next_record() {
    let cluster = filled(5).await;
    let mut reader = cluster.reader(0, 1_000);
    let end = Offset::new(5).unwrap();
    assert_eq!(reader.fetch(end, NO_WAIT).await.unwrap(), []);
    let waiting = reader.fetch(end, Duration::from_secs(30));
    futures::pin_mut!(waiting);
    assert!((&mut waiting).now_or_never().is_none());
    let producer = cluster.producer("p", small()).await;
    producer.send(record(5)).await.unwrap();
    let batches = patiently(waiting).await.unwrap();
    assert_eq!(batches[0].records().map(|r| number(&r)).collect::<Vec<_>>(), [5]);
}

#[tokio::test]
async fn reader_asks_the_next_replica_when_one_is_away() {
    let mut cluster = Cluster::start(3, 1).await;
    let producer = cluster.producer("p", small()).await;
    for n in 0..20 {
        producer.send(record(n)).await.unwrap();
    }
    patiently(producer.flush()).await.unwrap();
    // The reader begins with the first replica.
    cluster.stop_node(NodeId(1)).await;
    let read: Vec<u64> = cluster.read(0, 20).await.iter().map(number).collect();
    assert_eq!(read, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn group_without_replica_here_is_told_as_such() {
    let cluster = filled(1).await;
    let server = &cluster.nodes[&ALONE].server;
    let request = FetchRequest { group: GroupId(9), offset: Offset::ZERO, bytes_max: 9, wait_ms: 0 };
    let answer = server.clone().answer(request.encode()).await.unwrap();
    assert_eq!(FetchReply::decode(answer).unwrap(), FetchReply::NotHere);
    assert!(server.clone().answer(vec![9, 9].into()).await.is_err());
}

/// The state beside the log is rebuilt from it, and leads to the same records.
#[tokio::test]
async fn partition_is_the_same_after_its_node_was_away() {
    let mut cluster = filled(100).await;
    let before = cluster.nodes[&ALONE].partitions[0].read(|p| p.clone());
    cluster.stop_node(ALONE).await;
    cluster.start_node(ALONE).await;
    cluster.leader(0).await;
    assert_eq!(cluster.nodes[&ALONE].partitions[0].read(|p| p.clone()), before);
    assert_eq!(cluster.read(0, 100).await.len(), 100);
}
