use std::future::Future;

use super::process::{TaskProcess, Work};
use super::stream::{StreamConfig, TaskStream};
use super::{Task, TaskError};
use crate::{Addr, ChildError, DynamicSupervisor, Pid};

/// Supervises tasks that share the fate of nobody. Start it with a [`DynamicSpec`](crate::DynamicSpec), whose `children_max`
/// bounds the tasks; its `restart` must stay [`Temporary`](crate::Restart::Temporary), since work runs once.
///
/// When it ends, so do its tasks, as its `shutdown` says.
pub type TaskSupervisor = DynamicSupervisor<TaskProcess>;

impl Addr<TaskSupervisor> {
    /// Runs `work` in a child of the supervisor. How it ends is a value to whoever waits; the caller may end before it.
    ///
    /// # Errors
    /// [`TaskError::Start`] with [`ChildError::TooMany`], [`ChildError::Start`] or [`ChildError::Call`].
    pub async fn async_nolink<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Task<T>, TaskError> {
        let (work, handle) = Work::new(work);
        self.start_child(work).await?;
        Task::of(handle)
    }

    /// Runs `work`, whose result nobody wants, in a child of the supervisor.
    ///
    /// # Errors
    /// [`ChildError::TooMany`], [`ChildError::Start`] or [`ChildError::Call`].
    pub async fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<Pid, ChildError> {
        Ok(self.start_child(Work::new(work).0).await?.pid())
    }

    /// Runs a task for each item, as [`Task::stream`] does, in children of the supervisor: one that panics is an
    /// [`TaskError::Exit`] among the results, and the others go on.
    pub fn async_stream<I, T, F>(
        &self,
        items: I,
        config: StreamConfig,
        mut work: impl FnMut(I::Item) -> F + Send + 'static,
    ) -> TaskStream<T>
    where
        I: IntoIterator<IntoIter: Send + 'static>,
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let supervisor = self.clone();
        TaskStream::new(items, config, move |item| {
            let (supervisor, work) = (supervisor.clone(), work(item));
            async move { supervisor.async_nolink(work).await }
        })
    }
}
