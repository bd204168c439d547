//! Partition supervisors: several of a kind, with a key to choose; and a child whose end ends all.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use tiebeam::{
    AutoShutdown, CallError, ChildSpec, Ctx, ExitReason, Incarnation, NodeId, PartitionSupervisor, Supervisor,
    SupervisorSpec, System,
};

/// One of these would have to count for everybody, one message at a time.
struct Clicks {
    partition: u32,
    of: BTreeMap<String, u64>,
}

#[tiebeam::actor]
impl Clicks {
    fn init(partition: u32) -> Self {
        Self { partition, of: BTreeMap::new() }
    }

    #[call]
    fn click(&mut self, user: String) -> u64 {
        let clicks = self.of.entry(user).or_default();
        *clicks += 1;
        *clicks
    }

    #[call]
    fn users(&self) -> usize {
        self.of.len()
    }

    #[call]
    fn crash(&self) {
        panic!("partition {} is out of order", self.partition);
    }
}

/// What all of this is run for.
struct Sale;

#[tiebeam::actor]
impl Sale {
    fn init() -> Self {
        Self
    }

    #[cast]
    fn close(&self, ctx: &mut Ctx<Self>) {
        ctx.stop(ExitReason::Normal);
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // A handle to describe the supervisor by, and to find its children with while it runs.
    let clicks = PartitionSupervisor::<Clicks>::new(&system, Some(4), |partition| partition);
    println!("before it runs: {:?}", clicks.addr("Joe").click("Joe".into()).await);

    // A significant child is one for whose end the supervisor ends too, as its `auto_shutdown` says.
    let sale = ChildSpec::new("sale", |starter| starter.named("sale").spawn::<Sale>(())).transient().significant();
    let spec = SupervisorSpec::one_for_one()
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(ChildSpec::supervisor("clicks", clicks.spec()))
        .child(sale);
    let root = system.spawn::<Supervisor>(spec).await?;

    // Equal keys are served by the same child, so what belongs to one user is in one place.
    let users: Vec<_> = (1..=20).map(|number| format!("user {number}")).collect();
    for user in &users {
        clicks.addr(user).click(user.clone()).await?;
    }
    let twice = clicks.addr("user 1").click("user 1".into()).await?;
    println!("clicks of user 1: {twice}");
    assert_eq!(twice, 2);
    let serving: BTreeSet<_> = users.iter().map(|user| clicks.addr(user).pid()).collect();
    println!("{} users, served by {} of {} partitions", users.len(), serving.len(), clicks.count());

    // A crash costs one partition its state. The others don't notice.
    let victim = clicks.addr("user 1");
    let lost = victim.users().await?;
    let crashed = victim.crash().await;
    assert!(matches!(crashed, Err(CallError::Exit(ExitReason::Panic(_)))));
    let again = loop {
        // Another life has another address, so it is asked for each time.
        match clicks.addr("user 1").click("user 1".into()).await {
            Err(error) if error.is_unhandled() => tokio::task::yield_now().await,
            answer => break answer?,
        }
    };
    println!("clicks of user 1 after the crash: {again}");
    assert_eq!(again, 1);
    let mut left = 0;
    for number in 0..clicks.count() {
        left += clicks.partition(number).ok_or("there are so many")?.users().await?;
    }
    println!("users known before: {}, now: {left}", users.len());
    assert_eq!(left, users.len() - lost + 1);

    // The sale ends normally, so it is not restarted; and since it is significant, the whole tree goes with it.
    let ended = system.wait(root.pid());
    system.named::<Sale>(system.node(), "sale").close().await;
    let reason = ended.await;
    println!("the tree ended: {reason}, processes left: {}", system.process_count());
    assert_eq!((reason, system.process_count()), (ExitReason::Shutdown, 0));
    Ok(())
}
