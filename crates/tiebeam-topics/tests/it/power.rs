//! Power loss at every moment in the life of a record, from the producer down to the disk. Only the disk survives.

use std::sync::Arc;
use std::time::Duration;

use tiebeam_storage::fault::{MemDisk, Moment};
use tiebeam_topics::producer::ProducerConfig;
use tiebeam_wire::NodeId;

use crate::cluster::{Cluster, Place, number, patiently, record};

const ALONE: NodeId = NodeId(1);
const RECORDS: u64 = 5;
/// Outcomes that are tried of each loss: what of the unsynced bytes is kept, lost or torn.
const CRASHES: u64 = 3;

async fn start(disk: &MemDisk) -> Option<Cluster> {
    let place = Place { dir: "/node".into(), disk: Arc::new(disk.clone()) };
    Cluster::start_at(vec![place], 1).await.ok()
}

/// Publishes records one after the other until all are acknowledged or the power is gone; returns how many were
/// acknowledged.
async fn publish(disk: &MemDisk) -> u64 {
    let Some(cluster) = start(disk).await else { return 0 };
    let mut acknowledged = 0;
    let work = async {
        let config = ProducerConfig { attempt_timeout: Duration::from_secs(1), ..ProducerConfig::default() };
        let producer = cluster.producer("p", config).await;
        for n in 0..RECORDS {
            producer.send(record(n)).await.unwrap();
            producer.flush().await.unwrap();
            acknowledged += 1;
        }
    };
    let dark = async {
        while !disk.is_off() {
            tiebeam_world::sleep(Duration::from_millis(1)).await;
        }
        // An acknowledgement that should not come gets its chance.
        tiebeam_world::sleep(Duration::from_millis(5)).await;
    };
    tokio::select! {
        () = work => {}
        () = dark => {}
    }
    for node in cluster.nodes.into_values() {
        node.groups.stop().await;
    }
    acknowledged
}

/// What a partition holds that is started on `disk`.
async fn found(disk: &MemDisk) -> Vec<u64> {
    let cluster = start(disk).await.expect("a power loss is not damage");
    let partition = &cluster.nodes[&ALONE].partitions[0];
    Box::pin(patiently(partition.led())).await;
    let count = partition.read(|p| p.end().get());
    cluster.read(0, usize::try_from(count).unwrap()).await.iter().map(number).collect()
}

/// Before and after each append and each sync, and so before and after each reply: would fail if anything on the way
/// acknowledged a record that the disk may still lose, stored one twice or left a hole.
#[tokio::test]
async fn acknowledged_records_survive_a_power_loss_at_every_moment() {
    let (mut cuts, mut most, mut losses) = (0, 0, 0);
    for cut in 0.. {
        let mut reached = false;
        for moment in [Moment::Before, Moment::After] {
            let disk = MemDisk::new();
            disk.cut_power_at(cut, moment);
            let acknowledged = publish(&disk).await;
            reached |= disk.is_off();
            for crash in 0..CRASHES {
                let found = Box::pin(found(&disk.crash(crash))).await;
                let held = u64::try_from(found.len()).unwrap();
                let what = format!("cut {cut} {moment:?} crash {crash}: {acknowledged} acknowledged, found {found:?}");
                assert!((acknowledged..=RECORDS).contains(&held), "{what}");
                assert_eq!(found, (0..held).collect::<Vec<_>>(), "{what}");
                losses += u64::from(held == acknowledged && acknowledged < RECORDS);
            }
            most = most.max(acknowledged);
        }
        if !reached {
            break;
        }
        cuts += 1;
    }
    // The check on the check: the power went in the midst of publishing, and records under way were lost by it.
    assert_eq!(most, RECORDS);
    assert!(cuts > usize::try_from(2 * RECORDS).unwrap() && losses > 0, "{cuts} cuts, {losses} losses");
}
