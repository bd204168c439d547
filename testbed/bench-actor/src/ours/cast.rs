use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, ReplyTo, System};

use super::{WORK_TIMEOUT, start};
use crate::watch::{Watch, ns_each};

/// Counts what it gets.
struct Counter(u64);

struct Inc;

/// Asks the counter to tell the driver.
struct Done(Addr<Driver>);

struct Sender;

struct Burst {
    counter: Addr<Counter>,
    count: u64,
    driver: Addr<Driver>,
}

/// Starts the senders and holds the watch.
struct Driver(Option<Run>);

struct Run {
    watch: Watch,
    counter: Addr<Counter>,
    sending: u64,
    reply_to: ReplyTo<(u64, f64)>,
}

struct Start {
    senders: u64,
    count: u64,
}

struct Sent;

struct Counted(u64);

pub(super) async fn to_one(system: &System, senders: u64, count: u64) -> anyhow::Result<f64> {
    let driver = start::<Driver>(system, ()).await?;
    let (counted, ns) = driver.call(Start { senders, count: count / senders }).timeout(WORK_TIMEOUT).await?;
    anyhow::ensure!(counted == count / senders * senders, "{counted} of {count} messages were counted");
    Ok(ns)
}

impl Actor for Counter {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(0))
    }
}

impl Handler<Inc> for Counter {
    type Reply = ();

    async fn handle(&mut self, _: Inc, _: &mut Ctx<Self>) {
        self.0 += 1;
    }
}

impl Handler<Done> for Counter {
    type Reply = ();

    async fn handle(&mut self, Done(driver): Done, _: &mut Ctx<Self>) {
        driver.cast(Counted(self.0)).await;
    }
}

impl Actor for Sender {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }
}

impl Handler<Burst> for Sender {
    type Reply = ();

    async fn handle(&mut self, burst: Burst, _: &mut Ctx<Self>) {
        for _ in 0..burst.count {
            burst.counter.cast(Inc).await;
        }
        burst.driver.cast(Sent).await;
    }
}

impl Actor for Driver {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(None))
    }
}

impl Deferred<Start> for Driver {
    type Reply = (u64, f64);

    async fn handle_call(&mut self, start: Start, reply_to: ReplyTo<(u64, f64)>, ctx: &mut Ctx<Self>) {
        let counter = ctx.spawn_link::<Counter>(()).await.expect("its init does not fail");
        let watch = Watch::start();
        for _ in 0..start.senders {
            let sender = ctx.spawn_link::<Sender>(()).await.expect("its init does not fail");
            sender.cast(Burst { counter: counter.clone(), count: start.count, driver: ctx.addr() }).await;
        }
        self.0 = Some(Run { watch, counter, sending: start.senders, reply_to });
    }
}

impl Handler<Sent> for Driver {
    type Reply = ();

    async fn handle(&mut self, _: Sent, ctx: &mut Ctx<Self>) {
        let Some(run) = &mut self.0 else { return };
        run.sending -= 1;
        if run.sending == 0 {
            run.counter.cast(Done(ctx.addr())).await;
        }
    }
}

impl Handler<Counted> for Driver {
    type Reply = ();

    async fn handle(&mut self, Counted(count): Counted, _: &mut Ctx<Self>) {
        let Some(run) = self.0.take() else { return };
        let ns = ns_each(run.watch.elapsed(), count);
        run.reply_to.send((count, ns));
    }
}
