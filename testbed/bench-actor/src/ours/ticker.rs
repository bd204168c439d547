use std::sync::Arc;

use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, Info, ReplyTo, System};

use super::{WORK_TIMEOUT, start};
use crate::shape::{FLOOD_MESSAGES, FLOODERS, next_seed};
use crate::watch::Ticks;

/// Passes each message on to another flooder, whom the message's seed names.
struct Flooder(Arc<[Addr<Self>]>);

struct Others(Arc<[Addr<Flooder>]>);

struct Flood(u64);

struct Ticker(Option<(Ticks, ReplyTo<f64>)>);

struct Start(u64);

pub(super) async fn jitter(system: &System, count: u64) -> anyhow::Result<f64> {
    let ticker = start::<Ticker>(system, ()).await?;
    let mut flooders = Vec::new();
    for _ in 0..FLOODERS {
        flooders.push(start::<Flooder>(system, ()).await?);
    }
    let flooders: Arc<[_]> = flooders.into();
    for flooder in flooders.iter() {
        flooder.call(Others(Arc::clone(&flooders))).await?;
    }
    for (seed, flooder) in (1..).zip(flooders.iter()) {
        for message in 0..FLOOD_MESSAGES {
            flooder.cast(Flood(seed * FLOOD_MESSAGES + message)).await;
        }
    }
    Ok(ticker.call(Start(count)).timeout(WORK_TIMEOUT).await?)
}

impl Actor for Flooder {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(Arc::new([])))
    }
}

impl Handler<Others> for Flooder {
    type Reply = ();

    async fn handle(&mut self, Others(others): Others, _: &mut Ctx<Self>) {
        self.0 = others;
    }
}

impl Handler<Flood> for Flooder {
    type Reply = ();

    async fn handle(&mut self, Flood(seed): Flood, _: &mut Ctx<Self>) {
        let seed = next_seed(seed);
        self.0[(seed % FLOODERS) as usize].cast(Flood(seed)).await;
    }
}

impl Actor for Ticker {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(None))
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        let (Info::Timer(_), Some((ticks, _))) = (info, &mut self.0) else { return };
        if !ticks.tick() {
            ctx.send_after(ticks.delay(), 0);
        } else if let Some((ticks, reply_to)) = self.0.take() {
            reply_to.send(ticks.p99_us());
        }
    }
}

impl Deferred<Start> for Ticker {
    type Reply = f64;

    async fn handle_call(&mut self, Start(count): Start, reply_to: ReplyTo<f64>, ctx: &mut Ctx<Self>) {
        let ticks = Ticks::new(count);
        ctx.send_after(ticks.delay(), 0);
        self.0 = Some((ticks, reply_to));
    }
}
