//! Supervisors: actors that start others, restart them when they crash, and give up together.

mod child;
mod dynamic;
mod intensity;
mod plan;
mod spec;

use std::fmt;

use tiebeam_world::now;

pub use child::{ChildCounts, ChildInfo, ChildState};
pub use dynamic::{DynamicSpec, DynamicSupervisor};
pub use intensity::Intensity;
pub use spec::{ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec};

use crate::{Actor, Addr, CallError, Ctx, ExitReason, Handler, Info, Pid};
use child::Child;
use intensity::Restarts;
use plan::Fate;

/// How many children one [`Supervisor`] may have; a [`DynamicSupervisor`] is for more.
const CHILDREN_MAX: usize = 1024;

/// Runs a fixed order of children, each described by a [`ChildSpec`].
///
/// Children start in order, each after the `init` of the one before, and stop in reverse. A child that ends is restarted
/// as its [`Restart`] and the [`Strategy`] say; a restart that fails counts and is tried again. More restarts than the
/// [`Intensity`] allows, counted over all children, end the supervisor with [`ExitReason::Shutdown`] after it has
/// stopped its children, so that its own supervisor decides.
pub struct Supervisor {
    strategy: Strategy,
    restarts: Restarts,
    children: Vec<Child>,
}

/// Why a supervisor did not do what was asked of a child.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// There is a child with this id.
    #[error("child {id:?} exists already")]
    Exists {
        /// The child's id.
        id: String,
    },
    /// There is no child with this id.
    #[error("child {id:?} does not exist")]
    Missing {
        /// The child's id.
        id: String,
    },
    /// The child runs or is being restarted, and only one that is stopped can be restarted or deleted by hand.
    #[error("child {id:?} is not stopped")]
    Running {
        /// The child's id.
        id: String,
    },
    /// The supervisor has as many children as it may.
    #[error("supervisor has {limit} children already, which is the limit")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The child did not start.
    #[error("child did not start: {reason}")]
    Start {
        /// Why.
        reason: ExitReason,
    },
    /// The supervisor did not answer.
    #[error("supervisor did not answer")]
    Call(#[from] CallError),
}

struct StartChild(ChildSpec);
struct StopChild(String);
struct RestartChild(String);
struct DeleteChild(String);
struct WhichChildren;
/// Says to itself that a restart failed and is due again, so that it can answer in between.
struct TryAgain(String);

impl Addr<Supervisor> {
    /// Adds a child behind the others and starts it. A child that does not start is not added.
    ///
    /// # Errors
    /// [`ChildError::Exists`], [`ChildError::TooMany`], [`ChildError::Start`] or [`ChildError::Call`].
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Pid, ChildError> {
        self.call(StartChild(spec)).await?
    }

    /// Stops a child and keeps its spec, for [`restart_child`](Self::restart_child); a temporary one's spec goes too.
    ///
    /// # Errors
    /// [`ChildError::Missing`] or [`ChildError::Call`].
    pub async fn stop_child(&self, id: &str) -> Result<(), ChildError> {
        self.call(StopChild(id.to_owned())).await?
    }

    /// Starts a child that does not run.
    ///
    /// # Errors
    /// [`ChildError::Missing`], [`ChildError::Running`], [`ChildError::Start`] or [`ChildError::Call`].
    pub async fn restart_child(&self, id: &str) -> Result<Pid, ChildError> {
        self.call(RestartChild(id.to_owned())).await?
    }

    /// Forgets a child that does not run.
    ///
    /// # Errors
    /// [`ChildError::Missing`], [`ChildError::Running`] or [`ChildError::Call`].
    pub async fn delete_child(&self, id: &str) -> Result<(), ChildError> {
        self.call(DeleteChild(id.to_owned())).await?
    }

    /// Lists the children in start order.
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
        match plan::fate(child.spec.restart, reason) {
            Fate::Restart => self.restart(index, ctx).await,
            Fate::Keep => {}
            Fate::Forget => drop(self.children.remove(index)),
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
            if let Err(reason) = child.start(ctx.starter()).await {
                tracing::warn!(supervisor = %ctx.pid(), child = child.spec.id, %reason, "child did not restart");
                child.state = ChildState::Restarting;
                let again = TryAgain(child.spec.id.clone());
                return ctx.addr().cast(again).await;
            }
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
        let mut supervisor = Self { strategy: spec.strategy, restarts, children: Vec::new() };
        for spec in spec.children {
            let mut child = Child::new(spec);
            if let Err(reason) = child.start(ctx.starter()).await {
                supervisor.stop_all(ctx).await;
                return Err(ExitReason::Other(format!("child {:?} did not start: {reason}", child.spec.id)));
            }
            supervisor.children.push(child);
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

impl Handler<StartChild> for Supervisor {
    type Reply = Result<Pid, ChildError>;

    async fn handle(&mut self, StartChild(spec): StartChild, ctx: &mut Ctx<Self>) -> Self::Reply {
        if self.position(&spec.id).is_ok() {
            return Err(ChildError::Exists { id: spec.id });
        }
        if self.children.len() >= CHILDREN_MAX {
            return Err(ChildError::TooMany { limit: CHILDREN_MAX as u64 });
        }
        let mut child = Child::new(spec);
        let pid = child.start(ctx.starter()).await.map_err(|reason| ChildError::Start { reason })?;
        self.children.push(child);
        self.publish(ctx);
        Ok(pid)
    }
}

impl Handler<StopChild> for Supervisor {
    type Reply = Result<(), ChildError>;

    async fn handle(&mut self, StopChild(id): StopChild, ctx: &mut Ctx<Self>) -> Self::Reply {
        let index = self.position(&id)?;
        self.children[index].stop(ctx.system()).await;
        if self.children[index].spec.restart == Restart::Temporary {
            self.children.remove(index);
        }
        self.publish(ctx);
        Ok(())
    }
}

impl Handler<RestartChild> for Supervisor {
    type Reply = Result<Pid, ChildError>;

    async fn handle(&mut self, RestartChild(id): RestartChild, ctx: &mut Ctx<Self>) -> Self::Reply {
        let index = self.position(&id)?;
        let child = &mut self.children[index];
        if child.state != ChildState::Stopped {
            return Err(ChildError::Running { id });
        }
        let started = child.start(ctx.starter()).await;
        self.publish(ctx);
        started.map_err(|reason| ChildError::Start { reason })
    }
}

impl Handler<DeleteChild> for Supervisor {
    type Reply = Result<(), ChildError>;

    async fn handle(&mut self, DeleteChild(id): DeleteChild, ctx: &mut Ctx<Self>) -> Self::Reply {
        let index = self.position(&id)?;
        if self.children[index].state != ChildState::Stopped {
            return Err(ChildError::Running { id });
        }
        self.children.remove(index);
        self.publish(ctx);
        Ok(())
    }
}

impl Handler<WhichChildren> for Supervisor {
    type Reply = Vec<ChildInfo>;

    async fn handle(&mut self, _: WhichChildren, _: &mut Ctx<Self>) -> Vec<ChildInfo> {
        self.infos()
    }
}

impl Handler<TryAgain> for Supervisor {
    type Reply = ();

    async fn handle(&mut self, TryAgain(id): TryAgain, ctx: &mut Ctx<Self>) {
        let Ok(index) = self.position(&id) else { return };
        // Not if somebody stopped it in the meantime.
        if self.children[index].state == ChildState::Restarting {
            self.restart(index, ctx).await;
            self.publish(ctx);
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("strategy", &self.strategy).field("children", &self.infos()).finish()
    }
}
