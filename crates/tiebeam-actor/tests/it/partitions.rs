use std::collections::BTreeSet;

use tiebeam_actor::{CallError, ExitReason, PartitionSupervisor, Supervisor};
use tokio::sync::mpsc;

use crate::probe::{Note, Probe, settle, system};

/// Fails if a key wanders between partitions, if all keys meet in one, or if a restarted child is not found.
#[tokio::test(start_paused = true)]
async fn key_finds_its_partition_in_every_life() {
    let system = system(1);
    let (heard, _keep) = mpsc::unbounded_channel();
    let partitions = PartitionSupervisor::<Probe>::new(&system, Some(4), move |_| heard.clone());
    assert_eq!(partitions.addr("early").call(Note(1)).await, Err(CallError::NoProc));
    let supervisor = system.spawn::<Supervisor>(partitions.spec()).await.unwrap();
    assert_eq!(supervisor.count_children().await.unwrap().active, 4);
    let pids: Vec<_> = (0..100).map(|key: u64| partitions.addr(&key).pid()).collect();
    assert_eq!(pids, (0..100).map(|key: u64| partitions.clone().addr(&key).pid()).collect::<Vec<_>>());
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 4);
    system.exit(pids[7], ExitReason::Kill);
    settle().await;
    let restarted = partitions.addr(&7_u64);
    assert_ne!(restarted.pid(), pids[7]);
    assert_eq!(restarted.call(Note(1)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn partitions_are_counted_and_numbered() {
    let system = system(1);
    let (heard, mut numbers) = mpsc::unbounded_channel();
    let args = move |number| {
        heard.send(number).unwrap();
        mpsc::unbounded_channel().0
    };
    let partitions = PartitionSupervisor::<Probe>::new(&system, Some(3), args);
    system.spawn::<Supervisor>(partitions.spec()).await.unwrap();
    assert_eq!([numbers.recv().await, numbers.recv().await, numbers.recv().await], [Some(0), Some(1), Some(2)]);
    assert_eq!(partitions.count(), 3);
    let pids: BTreeSet<_> = (0..3).map(|number| partitions.partition(number).unwrap().pid()).collect();
    assert!(pids.len() == 3 && pids.into_iter().all(|pid| system.is_alive(pid)));
    assert!(partitions.partition(3).is_none());
    let other = |count| PartitionSupervisor::<Probe>::new(&system, count, |_| mpsc::unbounded_channel().0).count();
    assert!(other(None) >= 1 && other(Some(0)) == 1 && other(Some(u32::MAX)) == 1024);
}
