//! Services on several nodes: who is there, who is well, and calls that find whoever is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, CallError, Ctx, ExitReason, Handler, Table};
use tiebeam_cluster::services::{
    Again, Balance, Caller, Check, Condition, Finding, InstanceSpec, Ping, Policy, RegisterError, ServiceError,
    ServiceEvent, ServiceEvents,
};
use tiebeam_wire::{NodeId, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::ear::ear;
use crate::host::{Host, all_joined, config, next, soon, until};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// Says which node it is on, and how it is as it was told.
struct Worker {
    node: NodeId,
    handled: Arc<AtomicU64>,
    well: Finding,
}

#[derive(Clone, Serialize, Deserialize)]
struct Where;

/// Never answered.
#[derive(Clone, Serialize, Deserialize)]
struct Forever;

struct Be(Finding);

impl Actor for Worker {
    type Args = (NodeId, Arc<AtomicU64>);

    async fn init((node, handled): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { node, handled, well: Finding::Passing })
    }

    fn table() -> Table<Self> {
        Table::new().call::<Where>(1).call::<Forever>(2)
    }
}

impl Handler<Where> for Worker {
    type Reply = NodeId;

    async fn handle(&mut self, _: Where, _: &mut Ctx<Self>) -> NodeId {
        self.handled.fetch_add(1, Ordering::SeqCst);
        self.node
    }
}

impl Handler<Forever> for Worker {
    type Reply = ();

    async fn handle(&mut self, _: Forever, _: &mut Ctx<Self>) {
        self.handled.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
}

impl Handler<Ping> for Worker {
    type Reply = Finding;

    async fn handle(&mut self, _: Ping, _: &mut Ctx<Self>) -> Finding {
        self.well.clone()
    }
}

impl Handler<Be> for Worker {
    type Reply = ();

    async fn handle(&mut self, Be(well): Be, _: &mut Ctx<Self>) {
        self.well = well;
    }
}

async fn worker(host: &Host) -> (Addr<Worker>, Arc<AtomicU64>) {
    let (handled, system) = (Arc::new(AtomicU64::new(0)), host.system.clone());
    let args = (host.node(), Arc::clone(&handled));
    (host.run(async move { system.spawn::<Worker>(args).await.unwrap() }).await, handled)
}

fn spec(id: &str) -> InstanceSpec {
    InstanceSpec::new("works", id)
}

/// The instances that a node sees, as `id node condition`.
fn seen(host: &Host) -> Vec<String> {
    let show = |instance: &tiebeam_cluster::services::Instance| {
        format!("{} {} {:?}", instance.id, instance.node, instance.details.health.condition)
    };
    host.cluster.services().list("works").iter().map(show).collect()
}

async fn sees(host: &Host, expected: &[&str]) {
    until("the instances to be seen", || seen(host) == expected).await;
}

fn caller(host: &Host, policy: Policy) -> Caller<Worker> {
    host.cluster.services().caller("works", policy)
}

async fn three() -> (Host, Host, Host) {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    let three = Host::start(config(3, Role::Edge, &[one.address()])).await.unwrap();
    all_joined(&[&one, &two, &three]).await;
    (one, two, three)
}

/// The whole way: without any part of it, calls after the loss would go to the dead, or to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_when_the_node_of_an_instance_is_killed() {
    let (one, two, three) = three().await;
    let ((a, _), (b, _)) = (worker(&one).await, worker(&two).await);
    one.cluster.services().register(spec("a"), &a).unwrap();
    two.cluster.services().register(spec("b"), &b).unwrap();
    sees(&three, &["a n1 Passing", "b n2 Passing"]).await;
    let caller = caller(&three, Policy { balance: Balance::RoundRobin, ..Policy::default() });
    let (mut answers, mut members) = (Vec::new(), three.cluster.subscribe());
    for _ in 0..4 {
        answers.push(caller.call(Where, SECOND).await.unwrap().0);
    }
    answers.sort_unstable();
    assert_eq!(answers, [1, 1, 2, 2], "each gets its share");
    assert_eq!((next(&mut members).await, next(&mut members).await), ("up n1 i1".into(), "up n2 i1".into()));
    drop(two);
    // Until the loss is known a call may end with it, which is said honestly; none goes anywhere else.
    for _ in 0..20 {
        match caller.call(Where, SECOND).await {
            Ok(node) => assert_eq!(node, NodeId(1)),
            Err(ServiceError::Call { node, error, may_have_run, .. }) => {
                assert!(matches!(error, CallError::NoConnection | CallError::Timeout), "{error}");
                assert_eq!((node, may_have_run), (NodeId(2), true));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(next(&mut members).await, "down n2 i1");
    assert_eq!(seen(&three), ["a n1 Passing"], "gone before the loss was told");
    for _ in 0..4 {
        assert_eq!(caller.call(Where, SECOND).await, Ok(NodeId(1)));
    }
}

/// A call to an actor that is gone was surely not handled, so it may go on; one that may have been handled must not.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_surely_not_done_goes_to_another_instance() {
    let (one, two, three) = three().await;
    let ((a, handled_a), (b, handled_b)) = (worker(&one).await, worker(&two).await);
    one.cluster.services().register(spec("a"), &a).unwrap();
    two.cluster.services().register(spec("b"), &b).unwrap();
    sees(&three, &["a n1 Passing", "b n2 Passing"]).await;
    let careful = caller(&three, Policy { balance: Balance::RoundRobin, ..Policy::default() });
    let failed = careful.call(Forever, Duration::from_millis(200)).await.unwrap_err();
    assert!(failed.may_have_run(), "{failed}");
    assert!(handled_a.load(Ordering::SeqCst) + handled_b.load(Ordering::SeqCst) <= 1, "and nowhere again");
    // On a machine that is so slow that it never began, it is given up; one that hangs must hang for what follows.
    while handled_a.load(Ordering::SeqCst) + handled_b.load(Ordering::SeqCst) == 0 {
        drop(careful.call(Forever, Duration::from_millis(200)).await);
    }
    // The stuck one is ended; a registration outlives its actor by a moment, so a caller may still be sent there.
    let stuck = if handled_a.load(Ordering::SeqCst) == 1 { (&one, &a) } else { (&two, &b) };
    stuck.0.system.exit(stuck.1.pid(), ExitReason::Kill);
    for _ in 0..20 {
        assert_ne!(careful.call(Where, SECOND).await, Ok(stuck.0.node()));
    }
    until("the dead to be gone", || seen(&three).len() == 1).await;
    let counted = careful.snapshot();
    let calls = counted.instances.iter().map(|instance| (instance.calls.allowed, instance.in_flight));
    let (allowed, in_flight) = calls.fold((0, 0), |sum, (allowed, in_flight)| (sum.0 + allowed, sum.1 + in_flight));
    assert_eq!(in_flight, 0);
    assert_eq!(allowed, counted.budget.requests + counted.budget.retries, "each attempt is counted once");
}

/// Actors hear of instances as of groups.
#[tokio::test(flavor = "multi_thread")]
async fn actor_is_told_of_instances() {
    let (one, two, _three) = three().await;
    let ((a, _), (watcher, heard)) = (worker(&one).await, ear(&two).await);
    let _monitoring = two.cluster.services().monitor("works", &watcher).unwrap();
    one.cluster.services().register(InstanceSpec::new("others", "x"), &a).unwrap();
    one.cluster.services().register(spec("a"), &a).unwrap();
    heard.becomes(&["+ a".to_owned()]).await;
    one.cluster.services().register(spec("a").weight(2), &a).unwrap();
    heard.becomes(&["+ a", "a 1 > 2"].map(str::to_owned)).await;
    one.system.exit(a.pid(), ExitReason::Kill);
    heard.becomes(&["+ a", "a 1 > 2", "- a"].map(str::to_owned)).await;
    until("the other one to go as well", || two.cluster.services().names().is_empty()).await;
}

/// With leave to repeat, silence costs the time of one attempt and not the call.
#[tokio::test(flavor = "multi_thread")]
async fn idempotent_call_goes_on_after_silence() {
    let (one, two, three) = three().await;
    let ((a, handled), (b, _)) = (worker(&one).await, worker(&two).await);
    one.cluster.services().register(spec("a"), &a).unwrap();
    two.cluster.services().register(spec("b").weight(0), &b).unwrap();
    sees(&three, &["a n1 Passing", "b n2 Passing"]).await;
    let caller = caller(
        &three,
        Policy { again: Again::Idempotent, attempt_timeout: Some(Duration::from_millis(100)), ..Policy::default() },
    );
    // Whoever is alone with a weight is chosen; it hangs from now on.
    while handled.load(Ordering::SeqCst) == 0 {
        let hung = caller.call(Forever, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(hung, ServiceError::Call { node: NodeId(1), error: CallError::Timeout, .. }), "{hung}");
    }
    two.cluster.services().register(spec("b"), &b).unwrap();
    until("the weight to be seen", || three.cluster.services().list("works")[1].details.weight == 1).await;
    for _ in 0..4 {
        assert_eq!(caller.call(Where, LONG).await, Ok(NodeId(2)));
    }
    let nobody = three.cluster.services().caller::<Worker>("others", Policy::default()).call(Where, SECOND).await;
    assert_eq!(nobody, Err(ServiceError::NoInstance { service: "others".into(), known: 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_goes_to_the_same_instance_from_everywhere() {
    let (one, two, three) = three().await;
    let ((a, _), (b, _)) = (worker(&one).await, worker(&two).await);
    one.cluster.services().register(spec("a"), &a).unwrap();
    two.cluster.services().register(spec("b"), &b).unwrap();
    let policy = Policy { balance: Balance::ByKey, near_percent_min: None, ..Policy::default() };
    let mut answers = Vec::new();
    for host in [&one, &two, &three] {
        sees(host, &["a n1 Passing", "b n2 Passing"]).await;
        let caller = caller(host, policy);
        let mut nodes = Vec::new();
        for key in 0..20_u8 {
            nodes.push(caller.call_for(&[key], Where, SECOND).await.unwrap());
        }
        answers.push(nodes);
    }
    assert!(answers[0] == answers[1] && answers[1] == answers[2], "{answers:?}");
    assert!(answers[0].contains(&NodeId(1)) && answers[0].contains(&NodeId(2)), "{answers:?}");
}

/// Without checks a stuck actor would be handed out for ever; without thresholds one slow answer would take it away.
#[tokio::test(flavor = "multi_thread")]
async fn actor_that_says_that_it_is_unwell_is_not_handed_out() {
    let (one, two, _three) = three().await;
    let (a, _) = worker(&one).await;
    let check = Check::actor(&a).every(Duration::from_millis(20)).thresholds(2, 2);
    a.call(Be(Finding::Critical("starting".into()))).await.unwrap();
    let mut events = two.cluster.services().events("works").unwrap();
    one.cluster.services().register(spec("a").version("1.2").check(check), &a).unwrap();
    assert_eq!(seen(&one), ["a n1 Critical"], "what was never looked at is not handed out");
    assert_eq!(told(&mut events).await, "+ a Critical not checked yet");
    a.call(Be(Finding::Passing)).await.unwrap();
    assert_eq!(told(&mut events).await, "a Critical > Passing ");
    a.call(Be(Finding::Warning("disk is full".into()))).await.unwrap();
    assert_eq!(told(&mut events).await, "a Passing > Warning disk is full");
    let nobody = caller(&two, Policy::default()).call(Where, SECOND).await;
    assert_eq!(nobody, Err(ServiceError::NoInstance { service: "works".into(), known: 1 }));
    a.call(Be(Finding::Passing)).await.unwrap();
    assert_eq!(told(&mut events).await, "a Warning > Passing ");
    // An actor that waits for ever answers no ping.
    let stuck = a.clone();
    drop(tiebeam_world::spawn("test.stuck", async move { stuck.call(Forever).timeout(LONG).await }));
    assert!(told(&mut events).await.starts_with("a Passing > Critical no answer within"));
    one.system.exit(a.pid(), ExitReason::Kill);
    assert!(told(&mut events).await.starts_with("- a Critical"));
}

async fn told(events: &mut ServiceEvents) -> String {
    let show = |instance: &tiebeam_cluster::services::Instance| {
        let health = &instance.details.health;
        format!("{:?} {}", health.condition, health.reason)
    };
    match soon("a change of the service", events.next()).await.unwrap() {
        ServiceEvent::Added(instance) => format!("+ {} {}", instance.id, show(&instance)),
        ServiceEvent::Changed { before, after } => {
            format!("{} {:?} > {}", after.id, before.details.health.condition, show(&after))
        }
        ServiceEvent::Removed(instance) => format!("- {} {}", instance.id, show(&instance)),
    }
}

/// Answers each request with whatever status is set; closes at 0 without an answer.
async fn web(status: Arc<AtomicU16>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tiebeam_world::spawn("test.web", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let size = stream.read(&mut request).await.unwrap_or(0);
            let status = status.load(Ordering::SeqCst);
            if status > 0 && request[..size].starts_with(b"GET /health HTTP/1.1\r\nHost: ") {
                let _ = stream.write_all(format!("HTTP/1.1 {status} As It Is\r\n\r\nbody").as_bytes()).await;
            }
        }
    }));
    address
}

/// A program beside the node: registered by a guard, looked at over the network, chosen for its address.
#[tokio::test(flavor = "multi_thread")]
async fn program_with_an_address_is_as_its_checks_find_it() {
    let (one, two, _three) = three().await;
    let status = Arc::new(AtomicU16::new(200));
    let address = web(Arc::clone(&status)).await;
    let quick = |check: Check| check.every(Duration::from_millis(20)).thresholds(1, 1);
    let web = spec("web").address(address).metadata("paths", "/a,/b");
    let web = web.check(quick(Check::tcp(address))).check(quick(Check::http(address, "/health", 200)));
    let mut registration = one.cluster.services().hold(web.clone()).unwrap();
    let passing = |host: &Host| host.cluster.services().passing("works").len();
    until("the program to pass", || passing(&two) == 1).await;
    let chosen = caller(&two, Policy::default()).choose(b"").unwrap();
    let instance = chosen.instance();
    assert_eq!((instance.actor, instance.details.address), (None, Some(address)));
    assert_eq!(instance.details.metadata["paths"], "/a,/b");
    let nobody = caller(&two, Policy::default()).call(Where, SECOND).await;
    assert_eq!(nobody, Err(ServiceError::NoInstance { service: "works".into(), known: 0 }), "it is no actor");
    for (found, expected) in
        [(503, "web n1 Critical"), (429, "web n1 Warning"), (0, "web n1 Critical"), (200, "web n1 Passing")]
    {
        status.store(found, Ordering::SeqCst);
        sees(&two, &[expected]).await;
    }
    let refused = one.cluster.services().hold(web.clone()).unwrap_err();
    assert_eq!(refused, RegisterError::Taken { service: "works".into(), id: "web".into() });
    registration.update(spec("other").weight(7)).unwrap();
    until("the update to be seen", || {
        two.cluster.services().list("works").first().is_some_and(|instance| instance.details.weight == 7)
    })
    .await;
    sees(&two, &["web n1 Passing"]).await;
    drop(registration);
    sees(&two, &[]).await;
}

/// Whoever keeps it alive may be a shell script; when that ends, so does the instance.
#[tokio::test(flavor = "multi_thread")]
async fn lease_lasts_as_long_as_it_is_renewed() {
    let (one, two, _three) = three().await;
    let services = one.cluster.services();
    services.lease(spec("cron"), LONG).unwrap();
    sees(&two, &["cron n1 Passing"]).await;
    assert_eq!(services.renew("works", "cron"), Ok(()));
    // A shorter lease takes its place, and nobody renews it.
    services.lease(spec("cron"), Duration::from_millis(50)).unwrap();
    sees(&two, &[]).await;
    let lost = services.renew("works", "cron").unwrap_err();
    assert_eq!(lost.to_string(), "instance \"cron\" of service \"works\" has no lease on this node");
    services.lease(spec("cron"), LONG).unwrap();
    assert!(services.deregister("works", "cron") && !services.deregister("works", "cron"));
    assert_eq!(seen(&one), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_registered_is_refused_and_changes_nothing() {
    let one = Host::core(1, &[]).await;
    let services = one.cluster.services();
    let (a, _) = worker(&one).await;
    let refused = |spec: InstanceSpec| services.register(spec, &a).unwrap_err().to_string();
    assert_eq!(
        refused(spec("a").metadata("m", "x".repeat(1024))),
        "metadata has 1025 bytes, more than the limit of 1024"
    );
    assert_eq!(refused(spec("a").version("v".repeat(65))), "version has 65 bytes, more than the limit of 64");
    assert_eq!(
        refused(spec("a").weight(1001)),
        "instance \"a\" of service \"works\" can't be registered: weights go from 0 to 1,000"
    );
    assert_eq!(seen(&one), [""; 0]);
    services.register(spec("a"), &a).unwrap();
    let (b, _) = worker(&one).await;
    assert!(matches!(services.register(spec("a"), &b), Err(RegisterError::Taken { .. })));
    one.system.exit(a.pid(), ExitReason::Kill);
    one.system.wait(a.pid()).await;
    // Also before the registration of the dead is gone.
    services.register(spec("a"), &b).unwrap();
    until("the dead to be gone", || services.list("works").iter().map(|i| i.actor).eq([Some(b.pid())])).await;
    assert_eq!(services.list("works")[0].details.health.condition, Condition::Passing);
}
