//! Virtual actors of several nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Table};
use tiebeam_cluster::VirtualActors;
use tiebeam_cluster::leases::Fence;
use tiebeam_cluster::virtual_actors::{Activation, Hosting, Kind, VirtualError, VirtualRef};
use tiebeam_wire::{NodeId, Role};

use crate::host::{Host, config, soon, three, until, voting};
use crate::split::Pair;

const COUNTERS: Kind<Counter> = Kind::new("counters");
const LONG: Duration = Duration::from_secs(25);

/// Remembers the numbers that it was sent in this life.
struct Counter {
    of: Activation,
    heard: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct Add(u32);
#[derive(Serialize, Deserialize)]
struct Tell;
#[derive(Serialize, Deserialize)]
struct Fall;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    node: NodeId,
    key: String,
    fence: Fence,
    heard: Vec<u32>,
}

impl Actor for Counter {
    type Args = Activation;

    async fn init(of: Activation, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if of.key == "nobody" {
            return Err(ExitReason::Other("nobody".into()));
        }
        Ok(Self { of, heard: Vec::new() })
    }

    fn table() -> Table<Self> {
        Table::new().call::<Add>(1).call::<Tell>(2).call::<Fall>(3)
    }
}

impl Handler<Add> for Counter {
    type Reply = Fence;

    async fn handle(&mut self, Add(number): Add, _: &mut Ctx<Self>) -> Fence {
        self.heard.push(number);
        self.of.fence
    }
}

impl Handler<Tell> for Counter {
    type Reply = Told;

    async fn handle(&mut self, _: Tell, ctx: &mut Ctx<Self>) -> Told {
        let Activation { key, fence } = self.of.clone();
        Told { node: ctx.system().node(), key, fence, heard: self.heard.clone() }
    }
}

impl Handler<Fall> for Counter {
    type Reply = ();

    async fn handle(&mut self, _: Fall, _: &mut Ctx<Self>) {
        panic!("as asked");
    }
}

async fn host(host: &Host, hosting: Hosting) {
    let virtual_actors = host.cluster.virtual_actors();
    host.run(async move { virtual_actors.host(&COUNTERS, hosting, |activation| activation).await.unwrap() }).await;
}

async fn hosted_by_all(hosts: &[&Host], hosting: Hosting) {
    for each in hosts {
        host(each, hosting).await;
    }
    until("all to see all hosts", || hosts.iter().all(|host| actors(host).hosts(&COUNTERS).len() == hosts.len())).await;
}

fn actors(host: &Host) -> VirtualActors {
    host.cluster.virtual_actors()
}

fn counter(host: &Host, key: &str) -> VirtualRef<Counter> {
    actors(host).refer(&COUNTERS, key)
}

async fn tell(host: &Host, key: &str) -> Told {
    counter(host, key).call(Tell).timeout(LONG).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_one_actor_whoever_calls_it() {
    let [one, two, three] = three().await;
    hosted_by_all(&[&one, &two, &three], Hosting::default()).await;
    let mut nodes = BTreeSet::new();
    for key in (0..20).map(|key| format!("key {key}")) {
        for (number, host) in [&one, &two, &three].into_iter().enumerate() {
            counter(host, &key).cast(Add(u32::try_from(number).unwrap())).timeout(LONG).await.unwrap();
        }
        let told = tell(&one, &key).await;
        assert_eq!((&told.key, &told.heard), (&key, &vec![0, 1, 2]));
        assert_eq!(tell(&three, &key).await, told);
        nodes.insert(told.node);
    }
    assert_eq!(nodes.len(), 3, "keys lie on all hosts");
    let live: usize = [&one, &two, &three].iter().map(|host| actors(host).activations(&COUNTERS)).sum();
    assert_eq!(live, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_killed_node_live_elsewhere_under_a_higher_fence() {
    let [one, two, three] = three().await;
    hosted_by_all(&[&one, &two, &three], Hosting::default()).await;
    let mut before = BTreeMap::new();
    for key in (0..12).map(|key| format!("key {key}")) {
        counter(&one, &key).call(Add(7)).timeout(LONG).await.unwrap();
        before.insert(key.clone(), tell(&one, &key).await);
    }
    drop(three);
    until("the dead to be gone", || actors(&one).hosts(&COUNTERS).len() == 2).await;
    for (key, before) in before {
        let after = tell(&one, &key).await;
        match before.node {
            NodeId(3) => assert!(after.node != before.node && after.fence > before.fence && after.heard.is_empty()),
            _ => assert_eq!(after, before, "{key} needn't have moved"),
        }
    }
    drop(two);
}

/// What is sent while a shard changes hands is handled once, in order, on one node after the other.
#[tokio::test(flavor = "multi_thread")]
async fn handover_loses_and_reorders_nothing() {
    let [one, two, three] = three().await;
    hosted_by_all(&[&one, &two], Hosting::default()).await;
    until("the hosts to be known", || actors(&three).hosts(&COUNTERS).len() == 2).await;
    let keys: Vec<String> = (0..24).map(|key| format!("key {key}")).collect();
    let senders: Vec<_> = keys
        .iter()
        .map(|key| {
            let to = counter(&three, key);
            tiebeam_world::spawn("test.sender", async move {
                let mut fences = Vec::new();
                for number in 0..400 {
                    fences.push(to.call(Add(number)).timeout(LONG).await.unwrap());
                    tiebeam_world::sleep(Duration::from_millis(8)).await;
                }
                fences
            })
        })
        .collect();
    until("all keys to live", || actors(&one).activations(&COUNTERS) + actors(&two).activations(&COUNTERS) == 24).await;
    host(&three, Hosting::default()).await;
    let mut moved = 0;
    for (key, sender) in keys.iter().zip(senders) {
        let fences = soon("all answers", sender).await.unwrap();
        assert!(fences.is_sorted(), "a fence went back");
        let told = tell(&one, key).await;
        // In its last life it heard what it was sent in that, without a hole.
        let first = 400 - u32::try_from(told.heard.len()).unwrap();
        assert_eq!(told.heard, (first..400).collect::<Vec<_>>());
        let of_last = fences.iter().filter(|fence| **fence == told.fence).count();
        assert_eq!(of_last, told.heard.len());
        moved += usize::from(told.node == NodeId(3) && fences.first() != fences.last());
    }
    assert!(moved > 0, "nothing was handed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_actor_ends_and_begins_anew() {
    let [one, two, three] = three().await;
    let hosting = Hosting { idle: Duration::from_millis(200), ..Hosting::default() };
    hosted_by_all(&[&one, &two, &three], hosting).await;
    counter(&one, "a").call(Add(1)).timeout(LONG).await.unwrap();
    until("the idle to end", || [&one, &two, &three].iter().all(|host| actors(host).activations(&COUNTERS) == 0)).await;
    assert_eq!(tell(&two, "a").await.heard, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_why_there_is_no_answer() {
    let [one, two, three] = three().await;
    assert_eq!(counter(&one, "a").call(Tell).await, Err(VirtualError::NoHost("counters")));
    host(&two, Hosting { role: Some(Role::Edge), ..Hosting::default() }).await;
    assert_eq!(counter(&two, "a").call(Tell).await, Err(VirtualError::NoHost("counters")), "it is no edge node");
    hosted_by_all(&[&one], Hosting { activations_max: 1, ..Hosting::default() }).await;
    let refused = counter(&one, "nobody").call(Tell).timeout(LONG).await;
    assert_eq!(refused, Err(VirtualError::Start(ExitReason::Other("nobody".into()))));
    let fallen = counter(&one, "a").call(Fall).timeout(LONG).await.unwrap_err();
    assert_eq!(fallen, VirtualError::Exit(ExitReason::Panic("as asked".into())));
    assert!(fallen.may_have_been_done());
    tell(&one, "a").await;
    assert_eq!(counter(&one, "b").call(Tell).timeout(LONG).await, Err(VirtualError::Overloaded));
    let long = counter(&one, &"x".repeat(256)).call(Tell).await;
    assert_eq!(long, Err(VirtualError::KeyTooLong { size: 256, limit: 255 }));
    let alone = Host::start(config(9, Role::Core, &[])).await.unwrap();
    assert_eq!(counter(&alone, "a").call(Tell).await, Err(VirtualError::NoVoters));
    drop(three);
}

/// Two halves of a cluster must not both run the same key.
#[tokio::test(flavor = "multi_thread")]
async fn host_that_is_cut_off_runs_nothing() {
    let pair = Pair::start_with(|config| {
        let voting = voting(1, &[1], &[]);
        (config.voters, config.lease_time) = (voting.voters, voting.lease_time);
    })
    .await;
    hosted_by_all(&[&pair.one, &pair.two], Hosting::default()).await;
    let mut keys = (0..).map(|key| format!("key {key}"));
    let (key, before) = loop {
        let key = keys.next().unwrap();
        let told = tell(&pair.one, &key).await;
        if told.node == NodeId(2) {
            break (key, told);
        }
    };
    pair.cut().await;
    let after = tell(&pair.one, &key).await;
    assert_eq!(after.node, NodeId(1));
    assert!(after.fence > before.fence);
    until("what ran there to be gone", || actors(&pair.two).activations(&COUNTERS) == 0).await;
    let refused = counter(&pair.two, &key).call(Tell).timeout(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(refused, VirtualError::Timeout | VirtualError::NotTaken), "{refused}");
    pair.heal().await;
    assert!(tell(&pair.two, &key).await.fence >= after.fence);
}
