use std::time::Duration;

use anyhow::Context;
use tiebeam_actor::{
    Actor, ChildSpec, Ctx, ExitReason, Handler, Pid, Shutdown, Starter, Supervisor, SupervisorSpec, System,
};

use super::{WORK_TIMEOUT, start};
use crate::watch::{Watch, ns_each};

const NAME: &str = "worker";

struct Worker;

/// Kills the worker and waits for the next one, again and again.
struct Killer;

struct Kills(u64);

pub(super) async fn until_named(system: &System, count: u64) -> anyhow::Result<f64> {
    let worker = ChildSpec::new(NAME, |starter: Starter| starter.named(NAME).spawn::<Worker>(()))
        .permanent()
        .shutdown(Shutdown::BrutalKill);
    let spec = SupervisorSpec::one_for_one().intensity(1_000_000, Duration::from_secs(1)).child(worker);
    start::<Supervisor>(system, spec).await?;
    let killer = start::<Killer>(system, ()).await?;
    killer.call(Kills(count)).timeout(WORK_TIMEOUT).await?
}

impl Actor for Worker {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }
}

impl Actor for Killer {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }
}

impl Handler<Kills> for Killer {
    type Reply = anyhow::Result<f64>;

    async fn handle(&mut self, Kills(count): Kills, ctx: &mut Ctx<Self>) -> anyhow::Result<f64> {
        let watch = Watch::start();
        for _ in 0..count {
            let worker = ctx.system().whereis(NAME).context("there is no worker")?;
            ctx.exit(worker, ExitReason::Kill);
            wait_for_other(ctx.system(), worker).await;
        }
        Ok(ns_each(watch.elapsed(), count))
    }
}

/// Asks for the name until another one has it, as the process of the other side does, which BEAM takes off its scheduler
/// now and then; here that is ours to do.
async fn wait_for_other(system: &System, old: Pid) {
    while system.whereis(NAME).is_none_or(|pid| pid == old) {
        tokio::task::yield_now().await;
    }
}
