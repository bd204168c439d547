use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, ReplyTo, System};

use super::{WORK_TIMEOUT, start};
use crate::watch::{Watch, ns_each};

/// Takes this many messages, then tells the driver.
struct Drain {
    left: u64,
    driver: Addr<Driver>,
}

struct Item(#[expect(dead_code, reason = "a message carries something")] u64);

struct Source;

struct Flow {
    drain: Addr<Drain>,
    count: u64,
}

/// Starts the pairs and holds the watch.
struct Driver(Option<Run>);

struct Run {
    watch: Watch,
    flowing: u64,
    count: u64,
    reply_to: ReplyTo<f64>,
}

struct Start {
    pairs: u64,
    count: u64,
}

struct Drained;

pub(super) async fn one_way(system: &System, pairs: u64, count: u64) -> anyhow::Result<f64> {
    let driver = start::<Driver>(system, ()).await?;
    Ok(driver.call(Start { pairs, count: count / pairs }).timeout(WORK_TIMEOUT).await?)
}

impl Actor for Drain {
    type Args = (u64, Addr<Driver>);

    async fn init((left, driver): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { left, driver })
    }
}

impl Handler<Item> for Drain {
    type Reply = ();

    async fn handle(&mut self, _: Item, _: &mut Ctx<Self>) {
        self.left -= 1;
        if self.left == 0 {
            self.driver.cast(Drained).await;
        }
    }
}

impl Actor for Source {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }
}

impl Handler<Flow> for Source {
    type Reply = ();

    async fn handle(&mut self, flow: Flow, _: &mut Ctx<Self>) {
        for _ in 0..flow.count {
            flow.drain.cast(Item(1)).await;
        }
    }
}

impl Actor for Driver {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(None))
    }
}

impl Deferred<Start> for Driver {
    type Reply = f64;

    async fn handle_call(&mut self, start: Start, reply_to: ReplyTo<f64>, ctx: &mut Ctx<Self>) {
        let watch = Watch::start();
        let mut drains = Vec::new();
        for _ in 0..start.pairs {
            let drain = ctx.spawn_link::<Drain>((start.count, ctx.addr())).await;
            drains.push(drain.expect("its init does not fail"));
        }
        for drain in drains {
            let source = ctx.spawn_link::<Source>(()).await.expect("its init does not fail");
            source.cast(Flow { drain, count: start.count }).await;
        }
        let count = start.count * start.pairs;
        self.0 = Some(Run { watch, flowing: start.pairs, count, reply_to });
    }
}

impl Handler<Drained> for Driver {
    type Reply = ();

    async fn handle(&mut self, _: Drained, _: &mut Ctx<Self>) {
        let Some(run) = &mut self.0 else { return };
        run.flowing -= 1;
        if run.flowing == 0
            && let Some(run) = self.0.take()
        {
            run.reply_to.send(ns_each(run.watch.elapsed(), run.count));
        }
    }
}
