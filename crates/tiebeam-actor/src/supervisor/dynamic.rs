use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use tiebeam_world::now;

use super::child::stop;
use super::intensity::Restarts;
use super::plan::{self, Fate};
use super::{ChildCounts, ChildError, ChildInfo, ChildState, Intensity, Restart, Shutdown};
use crate::{Actor, Addr, CallError, Ctx, ExitReason, Handler, Info, Pid};

/// Describes a [`DynamicSupervisor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicSpec {
    /// How many children it may have; more are refused. Default 65,536.
    pub children_max: u32,
    /// When its children are restarted. Default [`Restart::Temporary`].
    pub restart: Restart,
    /// How its children are stopped. Default 5 s.
    pub shutdown: Shutdown,
    /// How many restarts it tolerates.
    pub intensity: Intensity,
}

impl Default for DynamicSpec {
    fn default() -> Self {
        Self {
            children_max: 65_536,
            restart: Restart::Temporary,
            shutdown: Shutdown::Timeout(Duration::from_secs(5)),
            intensity: Intensity::default(),
        }
    }
}

/// Runs many children of one kind, started one by one on demand.
///
/// They know no order: one that ends is restarted alone, with the arguments of its first start, and all are stopped at
/// the same time. A restart that fails counts and is tried again.
pub struct DynamicSupervisor<A: Actor> {
    spec: DynamicSpec,
    restarts: Restarts,
    children: BTreeMap<Pid, A::Args>,
    /// Children whose restart failed and that are due again.
    waiting: BTreeMap<u64, A::Args>,
    tries: u64,
}

struct StartChild<Args>(Args);
struct StopChild(Pid);
struct WhichChildren;
struct TryAgain(u64);

impl<A: Actor> Addr<DynamicSupervisor<A>>
where
    A::Args: Clone + Sync,
{
    /// Starts a child and waits until its `init` is done. One that does not start is not restarted.
    ///
    /// # Errors
    /// [`ChildError::TooMany`], [`ChildError::Start`] or [`ChildError::Call`].
    pub async fn start_child(&self, args: A::Args) -> Result<Addr<A>, ChildError> {
        self.call(StartChild(args)).await?
    }

    /// Stops a child for good.
    ///
    /// # Errors
    /// [`ChildError::Missing`] if it is none, [`ChildError::Call`].
    pub async fn stop_child(&self, pid: Pid) -> Result<(), ChildError> {
        self.call(StopChild(pid)).await?
    }

    /// Lists the children in the order of their pids.
    ///
    /// # Errors
    /// As a call.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, CallError> {
        self.call(WhichChildren).await
    }

    /// Counts the children.
    ///
    /// # Errors
    /// As a call.
    pub async fn count_children(&self) -> Result<ChildCounts, CallError> {
        Ok(ChildCounts::of(&self.which_children().await?))
    }
}

impl<A: Actor> DynamicSupervisor<A>
where
    A::Args: Clone + Sync,
{
    async fn restart(&mut self, args: A::Args, ctx: &mut Ctx<Self>) {
        if !self.restarts.record(now()) {
            tracing::error!(supervisor = %ctx.pid(), "restart intensity reached, supervisor ends");
            return ctx.stop(ExitReason::Shutdown);
        }
        match ctx.spawn_link::<A>(args.clone()).await {
            Ok(child) => drop(self.children.insert(child.pid(), args)),
            // It is not needed any more.
            Err(ExitReason::Ignore) => {}
            Err(reason) => {
                tracing::warn!(supervisor = %ctx.pid(), %reason, "child did not restart");
                self.tries += 1;
                self.waiting.insert(self.tries, args);
                ctx.addr().cast(TryAgain(self.tries)).await;
            }
        }
    }

    fn infos(&self) -> Vec<ChildInfo> {
        let info = |id, state| ChildInfo { id, state, restart: self.spec.restart, is_supervisor: false };
        let running = self.children.keys().map(|pid| info(pid.to_string(), ChildState::Running(*pid)));
        let waiting = self.waiting.keys().map(|_| info("restarting".to_owned(), ChildState::Restarting));
        running.chain(waiting).collect()
    }
}

impl<A: Actor> Actor for DynamicSupervisor<A>
where
    A::Args: Clone + Sync,
{
    type Args = DynamicSpec;

    async fn init(spec: DynamicSpec, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        let restarts = Restarts::new(spec.intensity);
        Ok(Self { spec, restarts, children: BTreeMap::new(), waiting: BTreeMap::new(), tries: 0 })
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        let Info::Exit { from, reason } = info else { return };
        let Some(args) = self.children.remove(&from) else { return };
        tracing::debug!(supervisor = %ctx.pid(), child = %from, %reason, "child ended");
        match plan::fate(self.spec.restart, &reason) {
            Fate::Restart => self.restart(args, ctx).await,
            Fate::Keep | Fate::Forget => {}
        }
    }

    async fn terminate(&mut self, _reason: &ExitReason, ctx: &mut Ctx<Self>) {
        let children = std::mem::take(&mut self.children);
        join_all(children.into_keys().map(|pid| stop(ctx.system(), pid, self.spec.shutdown))).await;
    }
}

impl<A: Actor> Handler<StartChild<A::Args>> for DynamicSupervisor<A>
where
    A::Args: Clone + Sync,
{
    type Reply = Result<Addr<A>, ChildError>;

    async fn handle(&mut self, StartChild(args): StartChild<A::Args>, ctx: &mut Ctx<Self>) -> Self::Reply {
        if self.children.len() + self.waiting.len() >= self.spec.children_max as usize {
            return Err(ChildError::TooMany { limit: u64::from(self.spec.children_max) });
        }
        let child = ctx.spawn_link::<A>(args.clone()).await.map_err(|reason| ChildError::Start { reason })?;
        self.children.insert(child.pid(), args);
        Ok(child)
    }
}

impl<A: Actor> Handler<StopChild> for DynamicSupervisor<A>
where
    A::Args: Clone + Sync,
{
    type Reply = Result<(), ChildError>;

    async fn handle(&mut self, StopChild(pid): StopChild, ctx: &mut Ctx<Self>) -> Self::Reply {
        self.children.remove(&pid).ok_or_else(|| ChildError::Missing { id: pid.to_string() })?;
        stop(ctx.system(), pid, self.spec.shutdown).await;
        Ok(())
    }
}

impl<A: Actor> Handler<WhichChildren> for DynamicSupervisor<A>
where
    A::Args: Clone + Sync,
{
    type Reply = Vec<ChildInfo>;

    async fn handle(&mut self, _: WhichChildren, _: &mut Ctx<Self>) -> Vec<ChildInfo> {
        self.infos()
    }
}

impl<A: Actor> Handler<TryAgain> for DynamicSupervisor<A>
where
    A::Args: Clone + Sync,
{
    type Reply = ();

    async fn handle(&mut self, TryAgain(number): TryAgain, ctx: &mut Ctx<Self>) {
        if let Some(args) = self.waiting.remove(&number) {
            self.restart(args, ctx).await;
        }
    }
}

impl<A: Actor> fmt::Debug for DynamicSupervisor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicSupervisor").field("spec", &self.spec).field("children", &self.children.len()).finish()
    }
}
