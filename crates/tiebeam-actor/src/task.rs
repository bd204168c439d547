//! Work that runs beside an actor in a process of its own, and whose result somebody waits for.
//!
//! A [`Task`] is a process: it has a pid, is seen among its supervisor's children, can be killed, and a panic is its exit
//! reason. The result reaches the waiter before the task's end does.
//!
//! - [`Task::spawn`] ties a task to the actor that wants its result: when one crashes, so does the other.
//! - `async_nolink` of a [`TaskSupervisor`]'s address keeps them apart: a crash is a value.
//! - `start` of it runs work whose result nobody wants.
//! - [`Task::stream`], and `async_stream` of a [`TaskSupervisor`]'s address, run one task for each of many items, a few at
//!   the same time.
//!
//! ```
//! # use std::time::Duration;
//! # use tiebeam_actor::task::{StreamConfig, TaskError};
//! # use tiebeam_actor::{Actor, Addr, Ctx, Task, TaskSupervisor};
//! # async fn fetch(page: u32) -> String { page.to_string() }
//! # async fn example<A: Actor>(ctx: &Ctx<A>, tasks: Addr<TaskSupervisor>) -> Result<(), TaskError> {
//! let first = Task::spawn(ctx.starter(), fetch(1)).await?;
//! let second = tasks.async_nolink(fetch(2)).await?;
//! let pages = (first.await?, second.timeout(Duration::from_secs(1)).await?);
//!
//! let config = StreamConfig { concurrency_max: 8, ..StreamConfig::default() };
//! let mut more = tasks.async_stream(3..100, config, fetch);
//! while let Some(page) = more.next().await {
//!     let page = page?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it does not do: interrupt work that computes without ever waiting. Nothing in a process can be, not even by a kill.
//!
//! Further reading: `Task` and `Task.Supervisor` of Elixir.

mod process;
mod stream;
mod supervisor;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::time::Duration;

pub use process::{TaskProcess, Work};
pub use stream::{OnTimeout, StreamConfig, TaskStream};
pub use supervisor::TaskSupervisor;

use crate::cell::BoxFuture;
use crate::{CALL_TIMEOUT, ChildError, ExitReason, Pid, Starter};
use process::{GiveUp, Handle};

/// Names a task and stands for its result. Awaiting it waits 5 s, or as long as [`timeout`](Self::timeout) says.
///
/// Dropping it, or the future that it becomes, gives the result up and leaves the task running.
pub struct Task<T> {
    pid: Pid,
    give_up: GiveUp,
    outcome: BoxFuture<'static, Result<T, TaskError>>,
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The time was up, and the task was told to end: its work is dropped where it waits.
    #[error("task took too long")]
    Timeout,
    /// The task ended before its work was done: it panicked, or somebody ended it.
    #[error("task ended: {0}")]
    Exit(ExitReason),
    /// The task did not start.
    #[error("task did not start: {0}")]
    Start(#[from] ChildError),
}

/// A task whose result is waited for so long and no longer.
#[must_use = "nobody waits until it is awaited"]
#[derive(Debug)]
pub struct Awaiting<T> {
    task: Task<T>,
    timeout: Duration,
}

impl<T: Send + 'static> Task<T> {
    /// Runs `work` in a process linked to the actor that `starter` came from, and to nobody if that is a
    /// [`System`](crate::System)'s. Elixir's `async`.
    ///
    /// The work runs to its end or that of the actor, whichever comes first. If it panics the actor gets an exit signal,
    /// which ends it unless it traps exits.
    ///
    /// # Errors
    /// [`TaskError::Start`]: the node has as many processes as it may.
    pub async fn spawn(starter: Starter, work: impl Future<Output = T> + Send + 'static) -> Result<Self, TaskError> {
        let (work, handle) = Work::new(work);
        starter.spawn::<TaskProcess>(work).await.map_err(|reason| ChildError::Start { reason })?;
        Self::of(handle)
    }

    /// Returns the task's pid.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits at most this long when it is awaited; a task that takes longer is ended as if its work were done, so that its
    /// actor lives on.
    pub const fn timeout(self, timeout: Duration) -> Awaiting<T> {
        Awaiting { task: self, timeout }
    }

    /// Waits at most this long, and leaves a task that takes longer running: it gives none then, and can be asked again.
    /// Dropping the future changes nothing. Elixir's `yield`.
    ///
    /// # Errors
    /// [`TaskError::Exit`].
    ///
    /// # Panics
    /// If it returned the result or an error before.
    pub async fn yield_for(&mut self, timeout: Duration) -> Result<Option<T>, TaskError> {
        match tiebeam_world::timeout(timeout, &mut self.outcome).await {
            Ok(outcome) => outcome.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Ends the task as if its work were done, and waits until it has ended, as long as that takes; returns the result if
    /// that was there already.
    ///
    /// # Errors
    /// [`TaskError::Exit`] if the task had crashed or was ended by somebody else.
    ///
    /// # Panics
    /// If [`yield_for`](Self::yield_for) returned the result or an error before.
    pub async fn shutdown(mut self) -> Result<Option<T>, TaskError> {
        self.give_up.now();
        match self.outcome.await {
            Ok(result) => Ok(Some(result)),
            Err(TaskError::Exit(ExitReason::Normal)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the task of a process that has started.
    fn of(handle: Handle<T>) -> Result<Self, TaskError> {
        let Handle { mut process, result, give_up } = handle;
        let (pid, ended) = process.try_recv().map_err(|_| ChildError::Start { reason: ExitReason::NoProc })?;
        // The work is dropped before its process ends: what has not come by then never will.
        let outcome = async move {
            match result.await {
                Ok(result) => Ok(result),
                Err(_) => Err(TaskError::Exit(ended.await)),
            }
        };
        Ok(Self { pid, give_up, outcome: Box::pin(outcome) })
    }
}

impl<T: Send + 'static> IntoFuture for Task<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = BoxFuture<'static, Result<T, TaskError>>;

    fn into_future(self) -> Self::IntoFuture {
        self.timeout(CALL_TIMEOUT).into_future()
    }
}

impl<T: Send + 'static> IntoFuture for Awaiting<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = BoxFuture<'static, Result<T, TaskError>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { mut task, timeout } = self;
        Box::pin(async move {
            let outcome = tiebeam_world::timeout(timeout, &mut task.outcome).await;
            outcome.unwrap_or_else(|_| {
                task.give_up.now();
                Err(TaskError::Timeout)
            })
        })
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({})", self.pid)
    }
}
