//! Singletons of several nodes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Table};
use tiebeam_cluster::leases::Fence;
use tiebeam_cluster::singletons::Singleton;
use tiebeam_wire::{NodeId, Role};

use crate::host::{Host, three, until};

const CLERK: Singleton<Clerk> = Singleton::new("clerk");
const LONG: Duration = Duration::from_secs(25);

/// Says where it runs, and under which fence.
struct Clerk(Fence);

#[derive(Serialize, Deserialize)]
struct Where;
#[derive(Serialize, Deserialize)]
struct Fall;

impl Actor for Clerk {
    type Args = Fence;

    async fn init(fence: Fence, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(fence))
    }

    fn table() -> Table<Self> {
        Table::new().call::<Where>(1).call::<Fall>(2)
    }
}

impl Handler<Where> for Clerk {
    type Reply = (NodeId, Fence);

    async fn handle(&mut self, _: Where, ctx: &mut Ctx<Self>) -> (NodeId, Fence) {
        (ctx.system().node(), self.0)
    }
}

impl Handler<Fall> for Clerk {
    type Reply = ();

    async fn handle(&mut self, _: Fall, _: &mut Ctx<Self>) {
        panic!("as asked");
    }
}

async fn host(host: &Host, role: Option<Role>) {
    let singletons = host.cluster.singletons();
    host.run(async move { singletons.host(&CLERK, role, |fence| fence).await.unwrap() }).await;
}

async fn whereabouts(host: &Host) -> (NodeId, Fence) {
    host.cluster.singletons().refer(&CLERK).call(Where).timeout(LONG).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_runs_and_another_takes_over() {
    let mut hosts = three().await.map(Some);
    for host_ in hosts.iter().flatten() {
        host(host_, Some(Role::Core)).await;
    }
    let first = whereabouts(hosts[0].as_ref().unwrap()).await;
    for other in hosts.iter().flatten() {
        assert_eq!(whereabouts(other).await, first, "all find the same");
    }
    let here =
        |hosts: &[Option<Host>; 3]| hosts.iter().flatten().filter(|h| h.cluster.singletons().is_here(&CLERK)).count();
    assert_eq!(here(&hosts), 1);
    // A clean end first: somebody else has it at once.
    let index = usize::try_from(first.0.0).unwrap() - 1;
    let stopped = hosts[index].as_ref().unwrap();
    assert!(stopped.cluster.singletons().withdraw(&CLERK).await);
    let second = whereabouts(stopped).await;
    assert!(second.0 != first.0 && second.1 > first.1, "{second:?} after {first:?}");
    // Then a death.
    drop(hosts[usize::try_from(second.0.0).unwrap() - 1].take());
    let asker = hosts.iter().flatten().next().unwrap();
    until("the dead to be gone", || asker.cluster.members().iter().any(|member| !member.live)).await;
    let left = whereabouts(asker).await;
    assert!(left.0 != second.0 && left.1 > second.1, "{left:?} after {second:?}");
}

/// A crash is no reason to move.
#[tokio::test(flavor = "multi_thread")]
async fn singleton_that_crashes_is_started_again_under_its_tenure() {
    let [one, two, three] = three().await;
    host(&two, None).await;
    until("the host to be known", || one.cluster.groups().scope("tiebeam.virtual").groups() == ["clerk"]).await;
    let first = whereabouts(&one).await;
    assert_eq!(first.0, NodeId(2));
    one.cluster.singletons().refer(&CLERK).call(Fall).timeout(LONG).await.unwrap_err();
    assert_eq!(whereabouts(&three).await, first);
}
