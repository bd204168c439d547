use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{CHILDREN_MAX, ChildError, Intensity, Supervisor};
use crate::cell::BoxFuture;
use crate::{Actor, ExitReason, Pid, Starter};

/// Who is restarted with a child that crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Nobody else.
    OneForOne,
    /// Every child.
    OneForAll,
    /// The children that were started after it.
    RestForOne,
}

/// When a child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless it ended normally or by shutdown.
    Transient,
    /// Never; its spec goes with it.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// It is killed.
    BrutalKill,
    /// It is asked, and killed if it has not ended by then.
    Timeout(Duration),
    /// It is asked and waited for; for supervisors, which need as long as their children do.
    Infinity,
}

/// Whether a supervisor ends when its [significant](ChildSpec::significant) children have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// It doesn't, and may not have any. The default.
    #[default]
    Never,
    /// It ends with the first of them.
    AnySignificant,
    /// It ends with the last of them.
    AllSignificant,
}

pub(super) type Start = Arc<dyn Fn(Starter) -> BoxFuture<'static, Result<Pid, ExitReason>> + Send + Sync>;

/// Describes a child: what it is called, how it starts, when it is restarted, how it is stopped.
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) id: String,
    pub(super) start: Start,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) is_supervisor: bool,
    pub(super) is_significant: bool,
}

impl ChildSpec {
    /// Describes a permanent child that gets 5 s to stop. `start` must start it by the [`Starter`] that it is given, which
    /// links it to the supervisor.
    pub fn new<F, T>(id: impl Into<String>, start: impl Fn(Starter) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, ExitReason>> + Send + 'static,
        T: Into<Pid>,
    {
        let start: Start = Arc::new(move |starter| {
            let started = start(starter);
            Box::pin(async move { started.await.map(Into::into) })
        });
        let shutdown = Shutdown::Timeout(Duration::from_secs(5));
        let (is_supervisor, is_significant) = (false, false);
        Self { id: id.into(), start, restart: Restart::Permanent, shutdown, is_supervisor, is_significant }
    }

    /// Describes a child of type `A` whose every life begins with a clone of `args`.
    pub fn actor<A: Actor>(id: impl Into<String>, args: A::Args) -> Self
    where
        A::Args: Clone + Sync,
    {
        Self::new(id, move |starter| starter.spawn::<A>(args.clone()))
    }

    /// Describes a child that is a supervisor; it gets as long as it needs to stop.
    pub fn supervisor(id: impl Into<String>, spec: SupervisorSpec) -> Self {
        let spec = Self::new(id, move |starter| starter.spawn::<Supervisor>(spec.clone()));
        Self { is_supervisor: true, shutdown: Shutdown::Infinity, ..spec }
    }

    /// Marks a child that [`ChildSpec::new`] describes as a supervisor: it gets as long as it needs to stop.
    #[must_use]
    pub fn is_supervisor(self) -> Self {
        Self { is_supervisor: true, shutdown: Shutdown::Infinity, ..self }
    }

    /// Restarts it always. The default.
    #[must_use]
    pub fn permanent(self) -> Self {
        Self { restart: Restart::Permanent, ..self }
    }

    /// Restarts it unless it ended normally or by shutdown.
    #[must_use]
    pub fn transient(self) -> Self {
        Self { restart: Restart::Transient, ..self }
    }

    /// Never restarts it.
    #[must_use]
    pub fn temporary(self) -> Self {
        Self { restart: Restart::Temporary, ..self }
    }

    /// Makes its end one that may end the supervisor: a transient child's normal end or shutdown, any end of a temporary
    /// one. A permanent child can't be significant, nor can a child of a supervisor whose [`AutoShutdown`] is
    /// [`Never`](AutoShutdown::Never): the supervisor refuses the spec.
    #[must_use]
    pub fn significant(self) -> Self {
        Self { is_significant: true, ..self }
    }

    /// Says how it is stopped.
    #[must_use]
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        Self { shutdown, ..self }
    }
}

impl ChildSpec {
    /// # Errors
    /// [`ChildError::Significant`] if it is so and can't be.
    pub(super) fn check(&self, auto_shutdown: AutoShutdown) -> Result<(), ChildError> {
        let can_be = self.restart != Restart::Permanent && auto_shutdown != AutoShutdown::Never;
        if self.is_significant && !can_be {
            return Err(ChildError::Significant { id: self.id.clone() });
        }
        Ok(())
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ChildSpec");
        debug.field("id", &self.id).field("restart", &self.restart).field("shutdown", &self.shutdown);
        debug.finish_non_exhaustive()
    }
}

/// Describes a [`Supervisor`].
#[derive(Clone, Debug)]
pub struct SupervisorSpec {
    pub(super) strategy: Strategy,
    pub(super) auto_shutdown: AutoShutdown,
    pub(super) intensity: Intensity,
    pub(super) children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// Describes a supervisor without children.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        let (auto_shutdown, intensity) = (AutoShutdown::Never, Intensity::default());
        Self { strategy, auto_shutdown, intensity, children: Vec::new() }
    }

    /// Restarts only the child that ended.
    #[must_use]
    pub fn one_for_one() -> Self {
        Self::new(Strategy::OneForOne)
    }

    /// Restarts all children when one ends.
    #[must_use]
    pub fn one_for_all() -> Self {
        Self::new(Strategy::OneForAll)
    }

    /// Restarts the child that ended and those after it.
    #[must_use]
    pub fn rest_for_one() -> Self {
        Self::new(Strategy::RestForOne)
    }

    /// Allows this many restarts in this period, over all children; one more and the supervisor ends.
    #[must_use]
    pub fn intensity(self, restarts: u32, period: Duration) -> Self {
        Self { intensity: Intensity { restarts, period }, ..self }
    }

    /// Ends the supervisor with its significant children.
    #[must_use]
    pub fn auto_shutdown(self, auto_shutdown: AutoShutdown) -> Self {
        Self { auto_shutdown, ..self }
    }

    /// Adds a child behind the others.
    #[must_use]
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.children.push(spec);
        self
    }

    /// # Errors
    /// The reason for the starter: children that share an id, that can't be significant, or too many of them.
    pub(super) fn check(&self) -> Result<(), ExitReason> {
        if self.children.len() > CHILDREN_MAX {
            return Err(ExitReason::Other(format!("more than {CHILDREN_MAX} children, which is the limit")));
        }
        let mut ids = std::collections::BTreeSet::new();
        match self.children.iter().find(|child| !ids.insert(&child.id)) {
            Some(twin) => Err(ExitReason::Other(format!("two children are called {:?}", twin.id))),
            None => self.children.iter().try_for_each(|child| child.check(self.auto_shutdown)).map_err(refusal),
        }
    }
}

fn refusal(error: ChildError) -> ExitReason {
    ExitReason::Other(error.to_string())
}
