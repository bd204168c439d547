use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, CallError, Ctx, ExitReason, Handler, Table};
use tokio::runtime::Handle;

use super::stage::Act;
use super::{Pair, WORK_TIMEOUT, start};
use crate::shape::{CALLERS, PINGS_MS};
use crate::watch::{Watch, us_each};

/// Answers with its state; the first of its stage has 0.
pub(super) struct Server(u64);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Get;

pub(super) struct Caller(Addr<Server>);

/// Calls the server this often.
pub(super) struct Calls(pub(super) u64);

/// Calls the server this often; answered with how long each call took. When the time of all is over, the one that then
/// waits counts with how long it has waited.
pub(super) struct TimedCalls(pub(super) u64);

pub(super) async fn rtt(pair: &Pair, count: u64) -> anyhow::Result<f64> {
    let caller = caller(pair).await?;
    let watch = Watch::start();
    caller.call(Calls(count)).timeout(WORK_TIMEOUT).await??;
    Ok(us_each(watch.elapsed(), count))
}

pub(super) async fn at_once(pair: &Pair, count: u64) -> anyhow::Result<f64> {
    let server = server(pair).await?;
    let each = count / CALLERS;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(start::<Caller>(pair.system(), server.clone()).await?);
    }
    let watch = Watch::start();
    let calling = callers.into_iter().map(|caller| async move { caller.call(Calls(each)).timeout(WORK_TIMEOUT).await });
    let calling: Vec<_> = calling.map(|calls| Handle::current().spawn(calls)).collect();
    for calls in calling {
        calls.await???;
    }
    Ok(us_each(watch.elapsed(), each * CALLERS))
}

pub(super) async fn caller(pair: &Pair) -> anyhow::Result<Addr<Caller>> {
    start::<Caller>(pair.system(), server(pair).await?).await
}

async fn server(pair: &Pair) -> anyhow::Result<Addr<Server>> {
    let pids = pair.act(Act::Servers { count: 1 }).await?;
    Ok(pair.system().addr(*pids.first().context("no server was started")?))
}

impl Actor for Server {
    type Args = u64;

    async fn init(state: u64, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(state))
    }

    fn table() -> Table<Self> {
        Table::new().call::<Get>(1)
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
    type Reply = anyhow::Result<()>;

    async fn handle(&mut self, Calls(count): Calls, _: &mut Ctx<Self>) -> anyhow::Result<()> {
        for _ in 0..count {
            ensure!(self.0.call(Get).await? == 0, "the server answered with another state");
        }
        Ok(())
    }
}

impl Handler<TimedCalls> for Caller {
    type Reply = anyhow::Result<Vec<Duration>>;

    async fn handle(&mut self, TimedCalls(count): TimedCalls, _: &mut Ctx<Self>) -> anyhow::Result<Vec<Duration>> {
        let mut took = Vec::new();
        let all = Watch::start();
        while took.len() < count as usize {
            let left = Duration::from_millis(PINGS_MS).saturating_sub(all.elapsed());
            let watch = Watch::start();
            let answer = self.0.call(Get).timeout(left).await;
            took.push(watch.elapsed());
            match answer {
                Ok(state) => ensure!(state == 0, "the server answered with another state"),
                Err(CallError::Timeout) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(took)
    }
}
