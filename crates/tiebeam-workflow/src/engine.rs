//! Runs the instances of a partition while this node leads its group.
//!
//! One [`Engine`] per local replica. It waits for leadership; then a `Tenure` runs the term: it takes unfinished
//! instances in the order in which they started and runs each as an actor, at most
//! [`Config::running_max`] at once. When leadership is lost, all of them are stopped where they are; the journal decides
//! what counts. A takeover, a lost proposal and a crashed instance actor are one path: load the journal, run the code
//! from its beginning, hand it what is recorded, go on after that.
//!
//! ```text
//! Engine ── link ── Tenure (one term) ── links ── InstanceActor*
//!                     └ task: Proposer
//! ```

mod instance;
mod tenure;

use std::fmt;
use std::sync::Arc;

use tiebeam_actor::{Actor, Addr, Ctx, ExitReason, Handler, Info};
use tiebeam_log::Group;
use tiebeam_resilience::Backoff;

use self::tenure::{Tenure, TenureArgs};
use crate::partition::Partition;
use crate::registry::Registry;
use crate::replica::Replica;

/// How an engine runs instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most instances of one partition that run at once, at least 1. Default: 1,024. Edge: the rest waits in order of
    /// start.
    pub running_max: usize,
    /// How long to wait before an instance is loaded again that crashed or could not write its journal. Default: 20 ms
    /// doubling up to 2 s.
    pub reload: Backoff,
}

impl Default for Config {
    fn default() -> Self {
        use std::time::Duration;
        let reload = Backoff { first: Duration::from_millis(20), max: Duration::from_secs(2) };
        Self { running_max: 1_024, reload }
    }
}

/// What an [`Engine`] is started with.
#[derive(Clone)]
pub struct EngineArgs {
    /// This node's replica of the partition.
    pub group: Group<Partition>,
    /// The code; the same on every node.
    pub registry: Arc<Registry>,
    /// How to run it.
    pub config: Config,
}

impl fmt::Debug for EngineArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineArgs").field("registry", &self.registry).field("config", &self.config).finish()
    }
}

/// The actor that runs a partition's instances whenever this node leads it. Put it under a supervisor as a permanent
/// child; it keeps nothing that the log doesn't.
#[derive(Debug)]
pub struct Engine {
    _watch: Addr<Watch<Group<Partition>>>,
}

impl Actor for Engine {
    type Args = EngineArgs;

    async fn init(args: EngineArgs, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let shared = Shared { replica: args.group, registry: args.registry, config: args.config };
        Ok(Self { _watch: ctx.spawn_link(shared).await? })
    }
}

/// What every part of an engine needs.
#[derive(Clone)]
pub(crate) struct Shared<R> {
    pub(crate) replica: R,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: Config,
}

/// Follows leadership: keeps one tenure alive in each term in which this node leads.
pub(crate) struct Watch<R: Replica> {
    shared: Shared<R>,
    tenure: Option<Addr<Tenure<R>>>,
}

impl<R: Replica> fmt::Debug for Watch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("leads", &self.tenure.is_some()).finish_non_exhaustive()
    }
}

struct Led {
    term: u64,
}

struct Deposed;

impl<R: Replica> Actor for Watch<R> {
    type Args = Shared<R>;

    async fn init(shared: Shared<R>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        let (replica, addr) = (shared.replica.clone(), ctx.addr());
        ctx.spawn_task(async move {
            loop {
                let term = replica.led().await;
                addr.cast(Led { term }).await;
                replica.deposed(term).await;
                addr.cast(Deposed).await;
            }
        });
        Ok(Self { shared, tenure: None })
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        if let Info::Exit { from, reason } = info
            && self.tenure.as_ref().is_some_and(|tenure| tenure.pid() == from)
        {
            // A crashed tenure is not patched up here: the supervisor above restarts the engine, within its intensity.
            ctx.stop(reason);
        }
    }
}

impl<R: Replica> Handler<Led> for Watch<R> {
    type Reply = ();

    async fn handle(&mut self, Led { term }: Led, ctx: &mut Ctx<Self>) {
        match ctx.spawn_link(TenureArgs { shared: self.shared.clone(), term }).await {
            Ok(tenure) => self.tenure = Some(tenure),
            Err(reason) => ctx.stop(reason),
        }
    }
}

impl<R: Replica> Handler<Deposed> for Watch<R> {
    type Reply = ();

    async fn handle(&mut self, _: Deposed, _: &mut Ctx<Self>) {
        if let Some(tenure) = self.tenure.take() {
            // An error means that it is gone already, which is what is wanted.
            let _ = tenure.stop(ExitReason::Shutdown).await;
        }
    }
}

#[cfg(test)]
mod tests;
