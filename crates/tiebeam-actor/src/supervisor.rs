//! Supervisors: actors that start others, restart them when they crash, and give up together.

mod child;
mod dynamic;
mod error;
mod intensity;
mod manage;
mod partition;
mod plan;
mod spec;

use std::fmt;

use tiebeam_world::now;

pub use child::{ChildCounts, ChildInfo, ChildState};
pub use dynamic::{DynamicSpec, DynamicSupervisor};
pub use error::ChildError;
pub use intensity::Intensity;
pub use partition::PartitionSupervisor;
pub use spec::{AutoShutdown, ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec};

use crate::{Actor, Ctx, ExitReason, Info};
use child::Child;
use intensity::Restarts;
use manage::TryAgain;
use plan::Fate;

/// How many children one [`Supervisor`] may have; a [`DynamicSupervisor`] is for more.
const CHILDREN_MAX: usize = 1024;

/// Runs a fixed order of children, each described by a [`ChildSpec`].
///
/// Children start in order, each after the `init` of the one before, and stop in reverse. A child that ends is restarted
/// as its [`Restart`] and the [`Strategy`] say; a restart that fails counts and is tried again. More restarts than the
/// [`Intensity`] allows, counted over all children, end the supervisor with [`ExitReason::Shutdown`] after it has
/// stopped its children, so that its own supervisor decides.
///
/// A [significant](ChildSpec::significant) child that ends for good may end the supervisor too, as its [`AutoShutdown`]
/// says: with [`ExitReason::Shutdown`], after the others were stopped. Children that the supervisor itself stops or
/// gives up, and those that never started, don't count.
///
/// Further reading: `supervisor.erl` of OTP 24 and later; "Supervisor Behaviour" in its design principles.
pub struct Supervisor {
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    restarts: Restarts,
    children: Vec<Child>,
}

impl Supervisor {
    fn position(&self, id: &str) -> Result<usize, ChildError> {
        let found = self.children.iter().position(|child| child.spec.id == id);
        found.ok_or_else(|| ChildError::Missing { id: id.to_owned() })
    }

    /// Does what follows from the end of the child at `index`.
    async fn ended(&mut self, index: usize, reason: &ExitReason, ctx: &mut Ctx<Self>) {
        let child = &mut self.children[index];
        tracing::info!(supervisor = %ctx.pid(), child = child.spec.id, %reason, "child ended");
        child.state = ChildState::Stopped;
        let is_significant = child.spec.is_significant;
        match plan::fate(child.spec.restart, reason) {
            Fate::Restart => return self.restart(index, ctx).await,
            Fate::Keep => {}
            Fate::Forget => drop(self.children.remove(index)),
        }
        let others = self.children.iter().filter(|child| child.spec.is_significant).map(|child| child.state);
        if is_significant && plan::shuts_down(self.auto_shutdown, others) {
            tracing::info!(supervisor = %ctx.pid(), "significant children ended, supervisor ends");
            ctx.stop(ExitReason::Shutdown);
        }
    }

    /// Restarts the child at `index`, and with it those whom the strategy ties to it; gives up if that was once too many.
    async fn restart(&mut self, index: usize, ctx: &mut Ctx<Self>) {
        let id = self.children[index].spec.id.clone();
        if !self.restarts.record(now()) {
            tracing::error!(supervisor = %ctx.pid(), child = id, "restart intensity reached, supervisor ends");
            return ctx.stop(ExitReason::Shutdown);
        }
        self.children[index].state = ChildState::Restarting;
        let scope = plan::scope(self.strategy, index, self.children.len());
        for position in scope.clone().rev() {
            let child = &mut self.children[position];
            if position != index {
                child.stop(ctx.system()).await;
            }
        }
        let first = scope.start;
        let tied: Vec<_> = self.children.drain(scope).collect();
        // A temporary child that had to go with the others is never started again.
        let tied = tied.into_iter().filter(|child| child.spec.restart != Restart::Temporary);
        let tail = self.children.split_off(first);
        self.children.extend(tied);
        let last = self.children.len();
        self.children.extend(tail);
        for position in first..last {
            let child = &mut self.children[position];
            if let Err(reason) = child.start(ctx.starter()).await
                && reason != ExitReason::Ignore
            {
                tracing::warn!(supervisor = %ctx.pid(), child = child.spec.id, %reason, "child did not restart");
                child.state = ChildState::Restarting;
                let again = TryAgain(child.spec.id.clone());
                return ctx.addr().cast(again).await;
            }
        }
    }

    /// Keeps the spec of a child that chose not to run, for [`restart_child`](crate::Addr::restart_child).
    fn keep_ignored(&mut self, child: Child) {
        if child.spec.restart != Restart::Temporary {
            self.children.push(child);
        }
    }

    async fn stop_all(&mut self, ctx: &Ctx<Self>) {
        for child in self.children.iter_mut().rev() {
            child.stop(ctx.system()).await;
        }
        self.publish(ctx);
    }

    fn publish(&self, ctx: &Ctx<Self>) {
        ctx.publish_children(self.infos());
    }

    fn infos(&self) -> Vec<ChildInfo> {
        self.children.iter().map(Child::info).collect()
    }
}

impl Actor for Supervisor {
    type Args = SupervisorSpec;

    async fn init(spec: SupervisorSpec, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        spec.check()?;
        let restarts = Restarts::new(spec.intensity);
        let SupervisorSpec { strategy, auto_shutdown, .. } = spec;
        let mut supervisor = Self { strategy, auto_shutdown, restarts, children: Vec::new() };
        for spec in spec.children {
            let mut child = Child::new(spec);
            match child.start(ctx.starter()).await {
                Ok(_) => supervisor.children.push(child),
                Err(ExitReason::Ignore) => supervisor.keep_ignored(child),
                Err(reason) => {
                    supervisor.stop_all(ctx).await;
                    return Err(ExitReason::Other(format!("child {:?} did not start: {reason}", child.spec.id)));
                }
            }
        }
        supervisor.publish(ctx);
        Ok(supervisor)
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        let Info::Exit { from, reason } = info else { return };
        // Others are children that were stopped on purpose, or strangers: a supervisor doesn't die of either.
        let ended = self.children.iter().position(|child| child.state == ChildState::Running(from));
        if let Some(index) = ended {
            self.ended(index, &reason, ctx).await;
            self.publish(ctx);
        }
    }

    async fn terminate(&mut self, _reason: &ExitReason, ctx: &mut Ctx<Self>) {
        self.stop_all(ctx).await;
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("strategy", &self.strategy).field("children", &self.infos()).finish()
    }
}
