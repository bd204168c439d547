use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tiebeam_actor::Addr;
use tiebeam_topics::Offset;
use tiebeam_topics::batch::Record;
use tiebeam_topics::consumer::{
    AddPartition, ConsumerConfig, ConsumerHost, ConsumerHostArgs, ProcessError, Processor, TopicPartition,
};
use tiebeam_wire::NodeId;

use crate::cluster::{Cluster, HOST, Node, number, patiently, record, small, until};

const ALONE: NodeId = NodeId(1);

/// Adds up what it sees. Its state is (records, sum): a record lost or counted twice changes it.
struct Sum {
    seen: (u64, u64),
    trouble: Arc<Trouble>,
}

/// What is to go wrong: so many errors and so many panics, each at some record.
#[derive(Default)]
struct Trouble {
    errors: AtomicU64,
    panics: AtomicU64,
}

fn spend(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn state(seen: (u64, u64)) -> Bytes {
    [seen.0.to_le_bytes(), seen.1.to_le_bytes()].concat().into()
}

impl Processor for Sum {
    async fn process(&mut self, _: &TopicPartition, records: &[Record]) -> Result<(), ProcessError> {
        for record in records {
            assert_eq!(record.offset.get(), self.seen.0, "records come in order and without gaps");
            self.seen = (self.seen.0 + 1, self.seen.1 + number(record));
            // Half done: what was added up until here must be forgotten.
            if number(record) % 10 == 9 && spend(&self.trouble.errors) {
                return Err("sawdust".into());
            }
            if number(record) % 10 == 5 && spend(&self.trouble.panics) {
                panic!("splinter");
            }
        }
        Ok(())
    }

    fn state(&self) -> Bytes {
        state(self.seen)
    }

    fn restore(&mut self, state: &Bytes) -> Result<(), ProcessError> {
        let word = |at: usize| Ok::<_, ProcessError>(u64::from_le_bytes(state[at..at + 8].try_into()?));
        self.seen = (word(0)?, word(8)?);
        Ok(())
    }
}

async fn host(cluster: &Cluster, node: &Node, trouble: &Arc<Trouble>) -> Addr<ConsumerHost<Sum>> {
    let names = (0..).map(|n| cluster.name(n));
    let trouble = Arc::clone(trouble);
    let args = ConsumerHostArgs {
        consumer: "sum".to_owned(),
        partitions: names.zip(node.partitions.iter().cloned()).collect(),
        processor: Arc::new(move |_: &TopicPartition| Sum { seen: (0, 0), trouble: Arc::clone(&trouble) }),
        config: ConsumerConfig { records_max: 13, ..ConsumerConfig::default() },
    };
    // Two in one test are one too many for one name.
    let starter = node.system.starter();
    let starter = if node.system.whereis(HOST).is_none() { starter.named(HOST) } else { starter };
    starter.spawn::<ConsumerHost<Sum>>(args).await.unwrap()
}

async fn send(cluster: &Cluster, numbers: std::ops::Range<u64>) {
    let producer = cluster.producer("p", small()).await;
    for n in numbers {
        producer.send_to(0, record(n)).await.unwrap();
    }
    patiently(producer.flush()).await.unwrap();
}

/// Waits until the consumer of a partition has committed `records`, and checks what it knows then.
async fn summed(node: &Node, partition: usize, records: u64) {
    let group = &node.partitions[partition];
    let stands = |p: &tiebeam_topics::partition::Partition| p.consumer("sum").map_or(0, |c| c.offset.get());
    until(group, |p| stands(p) >= records).await;
    let committed = group.read(|p| p.consumer("sum").cloned()).unwrap();
    assert_eq!(committed.offset, Offset::new(records).unwrap());
    assert_eq!(committed.state, state((records, records * (records - 1) / 2)));
}

#[tokio::test]
async fn each_record_counts_once() {
    let cluster = Cluster::start(1, 1).await;
    let node = &cluster.nodes[&ALONE];
    let _host = host(&cluster, node, &Arc::default()).await;
    send(&cluster, 0..200).await;
    summed(node, 0, 200).await;
}

/// Would fail if a half processed turn left a trace, or a crash were not healed by the supervisor.
#[tokio::test]
async fn each_record_counts_once_though_the_processor_fails_and_panics() {
    let cluster = Cluster::start(1, 1).await;
    let node = &cluster.nodes[&ALONE];
    let trouble = Arc::new(Trouble { errors: AtomicU64::new(1), panics: AtomicU64::new(1) });
    let _host = host(&cluster, node, &trouble).await;
    send(&cluster, 0..100).await;
    summed(node, 0, 100).await;
    assert!(!spend(&trouble.errors) && !spend(&trouble.panics), "nothing went wrong");
}

/// One crash more in a row than the supervisor stands: the host begins anew, after a pause of up to a second.
#[tokio::test]
async fn consumer_comes_back_after_its_supervisor_gave_up() {
    let cluster = Cluster::start(1, 1).await;
    let node = &cluster.nodes[&ALONE];
    let trouble = Arc::new(Trouble { errors: AtomicU64::new(5), panics: AtomicU64::new(0) });
    send(&cluster, 0..30).await;
    let _host = host(&cluster, node, &trouble).await;
    summed(node, 0, 30).await;
    assert!(!spend(&trouble.errors), "nothing went wrong");
}

/// Two hosts under one name, as of an old leader that doesn't know yet that it was deposed, and a new one.
#[tokio::test]
async fn each_record_counts_once_though_two_consumers_run() {
    let cluster = Cluster::start(1, 1).await;
    let node = &cluster.nodes[&ALONE];
    let one = host(&cluster, node, &Arc::default()).await;
    let other = host(&cluster, node, &Arc::default()).await;
    for n in 0..20 {
        send(&cluster, n * 20..(n + 1) * 20).await;
    }
    summed(node, 0, 400).await;
    assert!(node.system.is_alive(one.pid()) && node.system.is_alive(other.pid()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_moves_with_the_leader() {
    let mut cluster = Cluster::start(3, 1).await;
    for node in cluster.nodes.values() {
        host(&cluster, node, &Arc::default()).await;
    }
    for n in 0..3 {
        send(&cluster, n * 100..(n + 1) * 100).await;
        let leader = cluster.leader(0).await;
        cluster.stop_node(leader).await;
        let next = cluster.leader(0).await;
        summed(&cluster.nodes[&next], 0, (n + 1) * 100).await;
        cluster.start_node(leader).await;
        host(&cluster, &cluster.nodes[&leader], &Arc::default()).await;
    }
}

#[tokio::test]
async fn host_takes_partitions_later_and_stops_all_when_it_ends() {
    let cluster = Cluster::start(1, 2).await;
    let node = &cluster.nodes[&ALONE];
    let args = ConsumerHostArgs {
        consumer: "sum".to_owned(),
        partitions: Vec::new(),
        processor: Arc::new(|_: &TopicPartition| Sum { seen: (0, 0), trouble: Arc::default() }),
        config: ConsumerConfig::default(),
    };
    let host = node.system.spawn::<ConsumerHost<Sum>>(args).await.unwrap();
    send(&cluster, 0..50).await;
    let add = || AddPartition { partition: cluster.name(0), group: node.partitions[0].clone() };
    host.call(add()).await.unwrap();
    host.call(add()).await.unwrap();
    summed(node, 0, 50).await;
    node.system.exit(host.pid(), tiebeam_actor::ExitReason::Kill);
    node.system.wait(host.pid()).await;
    send(&cluster, 50..60).await;
    let _host = self::host(&cluster, node, &Arc::default()).await;
    summed(node, 0, 60).await;
}
