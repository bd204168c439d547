//! What can be asked of a running supervisor.

use super::child::Child;
use super::{CHILDREN_MAX, ChildCounts, ChildError, ChildInfo, ChildSpec, ChildState, Restart, Supervisor};
use crate::{Addr, CallError, Ctx, ExitReason, Handler, Pid};

struct StartChild(ChildSpec);
struct StopChild(String);
struct RestartChild(String);
struct DeleteChild(String);
struct WhichChildren;
/// Says to itself that a restart failed and is due again, so that it can answer in between.
pub(super) struct TryAgain(pub(super) String);

impl Addr<Supervisor> {
    /// Adds a child behind the others and starts it. A child that does not start is not added, unless it is not temporary
    /// and chose not to run: then its spec is kept, and the error is [`ChildError::Start`] with [`ExitReason::Ignore`].
    ///
    /// # Errors
    /// [`ChildError::Exists`], [`ChildError::Significant`], [`ChildError::TooMany`], [`ChildError::Start`] or
    /// [`ChildError::Call`].
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

impl Handler<StartChild> for Supervisor {
    type Reply = Result<Pid, ChildError>;

    async fn handle(&mut self, StartChild(spec): StartChild, ctx: &mut Ctx<Self>) -> Self::Reply {
        spec.check(self.auto_shutdown)?;
        if self.position(&spec.id).is_ok() {
            return Err(ChildError::Exists { id: spec.id });
        }
        if self.children.len() >= CHILDREN_MAX {
            return Err(ChildError::TooMany { limit: CHILDREN_MAX as u64 });
        }
        let mut child = Child::new(spec);
        let started = child.start(ctx.starter()).await;
        match &started {
            Ok(_) => self.children.push(child),
            Err(ExitReason::Ignore) => self.keep_ignored(child),
            Err(_) => {}
        }
        self.publish(ctx);
        started.map_err(|reason| ChildError::Start { reason })
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
