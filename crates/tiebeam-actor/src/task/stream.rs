use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream, Stream};

use super::{Task, TaskError};
use crate::{CALL_TIMEOUT, Starter};

/// How a stream of tasks runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// How many tasks run at the same time; the next item is taken when one of them has delivered. At least 1; default the
    /// number of cores.
    pub concurrency_max: u32,
    /// Whether results come in the order of the items, so that one that is slow holds up those behind it; else they come
    /// as they are there. Default yes.
    pub is_ordered: bool,
    /// How long one task may take. Default 5 s.
    pub timeout: Duration,
    /// What becomes of the stream when one takes longer. Default [`OnTimeout::End`].
    pub on_timeout: OnTimeout,
}

/// What becomes of a stream when one of its tasks takes too long. That task is ended, and its result is
/// [`TaskError::Timeout`], in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnTimeout {
    /// This was the last result; the tasks under way are ended.
    End,
    /// It goes on. Elixir's `kill_task`.
    KillTask,
}

/// The results of one task for each item. Runs while it is polled; dropping it ends the tasks under way.
///
/// At most [`StreamConfig::concurrency_max`] tasks and results are held, whether the results are polled or not.
#[must_use = "a stream does nothing until it is polled"]
pub struct TaskStream<T> {
    /// None when it has ended before its items have.
    results: Option<BoxStream<'static, Result<T, TaskError>>>,
    on_timeout: OnTimeout,
}

impl Default for StreamConfig {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        Self { concurrency_max: cores, is_ordered: true, timeout: CALL_TIMEOUT, on_timeout: OnTimeout::End }
    }
}

impl<T: Send + 'static> Task<T> {
    /// Runs a task for each item, each linked as by [`Task::spawn`], and returns the results.
    ///
    /// A task that panics is an exit signal to the actor that `starter` came from; to one that traps exits it is
    /// [`TaskError::Exit`] among the results too, and the others go on.
    pub fn stream<I, F>(
        starter: Starter,
        items: I,
        config: StreamConfig,
        mut work: impl FnMut(I::Item) -> F + Send + 'static,
    ) -> TaskStream<T>
    where
        I: IntoIterator<IntoIter: Send + 'static>,
        F: Future<Output = T> + Send + 'static,
    {
        TaskStream::new(items, config, move |item| Self::spawn(starter.clone(), work(item)))
    }
}

impl<T: Send + 'static> TaskStream<T> {
    pub(super) fn new<I, F>(
        items: I,
        config: StreamConfig,
        mut start: impl FnMut(I::Item) -> F + Send + 'static,
    ) -> Self
    where
        I: IntoIterator<IntoIter: Send + 'static>,
        F: Future<Output = Result<Task<T>, TaskError>> + Send + 'static,
    {
        let StreamConfig { concurrency_max, is_ordered, timeout, on_timeout } = config;
        let results = stream::iter(items).map(move |item| {
            let started = start(item);
            async move {
                let mut task = EndOnDrop(started.await?);
                let outcome = tiebeam_world::timeout(timeout, &mut task.0.outcome).await;
                outcome.unwrap_or(Err(TaskError::Timeout))
            }
        });
        let concurrency = concurrency_max.max(1) as usize;
        let results = match is_ordered {
            true => results.buffered(concurrency).boxed(),
            false => results.buffer_unordered(concurrency).boxed(),
        };
        Self { results: Some(results), on_timeout }
    }

    /// Returns the next result; none when all items have one, or after the timeout that ended the stream.
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        StreamExt::next(self).await
    }
}

/// Ends its task when nobody waits any more; a task that is done doesn't mind.
struct EndOnDrop<T>(Task<T>);

impl<T> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        self.0.give_up.now();
    }
}

impl<T> Stream for TaskStream<T> {
    type Item = Result<T, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(results) = &mut self.results else { return Poll::Ready(None) };
        let next = ready!(results.poll_next_unpin(cx));
        if self.on_timeout == OnTimeout::End && matches!(next, Some(Err(TaskError::Timeout))) {
            self.results = None;
        }
        Poll::Ready(next)
    }
}

impl<T> fmt::Debug for TaskStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStream").field("on_timeout", &self.on_timeout).finish_non_exhaustive()
    }
}
