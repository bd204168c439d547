use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, ReplyTo, System};

use super::{WORK_TIMEOUT, start};
use crate::watch::Watch;

const CHILDREN: u64 = 10;

/// A leaf sends its number up and ends; an inner actor sends up the sum of ten.
struct Node {
    place: Place,
    waiting: u64,
    sum: u64,
}

/// Where in the tree a node is: it stands for the leaves `first..first + leaves`.
#[derive(Clone)]
struct Place {
    parent: Up,
    first: u64,
    leaves: u64,
}

#[derive(Clone)]
enum Up {
    Node(Addr<Node>),
    Root(Addr<Root>),
}

/// Says to itself that its children are to be started: its own parent must not wait for the whole tree below it.
struct Grow;

struct Sum(u64);

/// Starts the topmost node and holds the watch.
struct Root(Option<(Watch, ReplyTo<(u64, f64)>)>);

struct Start(u64);

pub(super) async fn sum(system: &System, leaves: u64) -> anyhow::Result<f64> {
    let root = start::<Root>(system, ()).await?;
    let (sum, ms) = root.call(Start(leaves)).timeout(WORK_TIMEOUT).await?;
    anyhow::ensure!(sum == leaves * (leaves - 1) / 2, "the leaves add up to {sum}");
    Ok(ms)
}

impl Up {
    async fn send(&self, sum: u64) {
        match self {
            Self::Node(parent) => parent.cast(Sum(sum)).await,
            Self::Root(root) => root.cast(Sum(sum)).await,
        }
    }
}

impl Actor for Node {
    type Args = Place;

    async fn init(place: Place, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if place.leaves == 1 {
            place.parent.send(place.first).await;
            ctx.stop(ExitReason::Normal);
        } else {
            ctx.addr().cast(Grow).await;
        }
        Ok(Self { place, waiting: CHILDREN, sum: 0 })
    }
}

impl Handler<Grow> for Node {
    type Reply = ();

    async fn handle(&mut self, _: Grow, ctx: &mut Ctx<Self>) {
        let leaves = self.place.leaves / CHILDREN;
        for child in 0..CHILDREN {
            let first = self.place.first + child * leaves;
            let place = Place { parent: Up::Node(ctx.addr()), first, leaves };
            ctx.system().spawn::<Self>(place).await.expect("its init does not fail");
        }
    }
}

impl Handler<Sum> for Node {
    type Reply = ();

    async fn handle(&mut self, Sum(sum): Sum, ctx: &mut Ctx<Self>) {
        self.sum += sum;
        self.waiting -= 1;
        if self.waiting == 0 {
            self.place.parent.send(self.sum).await;
            ctx.stop(ExitReason::Normal);
        }
    }
}

impl Actor for Root {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(None))
    }
}

impl Deferred<Start> for Root {
    type Reply = (u64, f64);

    async fn handle_call(&mut self, Start(leaves): Start, reply_to: ReplyTo<(u64, f64)>, ctx: &mut Ctx<Self>) {
        self.0 = Some((Watch::start(), reply_to));
        let place = Place { parent: Up::Root(ctx.addr()), first: 0, leaves };
        ctx.system().spawn::<Node>(place).await.expect("its init does not fail");
    }
}

impl Handler<Sum> for Root {
    type Reply = ();

    async fn handle(&mut self, Sum(sum): Sum, _: &mut Ctx<Self>) {
        if let Some((watch, reply_to)) = self.0.take() {
            reply_to.send((sum, watch.elapsed().as_secs_f64() * 1e3));
        }
    }
}
