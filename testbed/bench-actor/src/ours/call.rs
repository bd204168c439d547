use anyhow::ensure;
use tiebeam_actor::{Actor, Addr, Ctx, ExitReason, Handler, System};

use super::{WORK_TIMEOUT, start};
use crate::watch::{Watch, ns_each};

struct Server(u64);

struct Get;

struct Caller(Addr<Server>);

/// Calls the server this often; answered with nanoseconds per call.
struct Calls(u64);

pub(super) async fn rtt(system: &System, count: u64) -> anyhow::Result<f64> {
    let server = start::<Server>(system, 7).await?;
    let caller = start::<Caller>(system, server).await?;
    caller.call(Calls(count)).timeout(WORK_TIMEOUT).await?
}

impl Actor for Server {
    type Args = u64;

    async fn init(state: u64, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(state))
    }
}

impl Handler<Get> for Server {
    type Reply = u64;

    async fn handle(&mut self, _: Get, _: &mut Ctx<Self>) -> u64 {
        self.0
    }
}

impl Actor for Caller {
    type Args = Addr<Server>;

    async fn init(server: Addr<Server>, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(server))
    }
}

impl Handler<Calls> for Caller {
    type Reply = anyhow::Result<f64>;

    async fn handle(&mut self, Calls(count): Calls, _: &mut Ctx<Self>) -> anyhow::Result<f64> {
        let watch = Watch::start();
        for _ in 0..count {
            ensure!(self.0.call(Get).await? == 7, "the server answered with another state");
        }
        Ok(ns_each(watch.elapsed(), count))
    }
}
