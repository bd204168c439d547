//! Tasks on other nodes, under supervisors there, as Elixir's `Task.Supervisor` with a node.
//!
//! A node offers functions by name; each run of one is a process under the task supervisor of that node, and whoever
//! started it waits for its result.
//!
//! ```
//! # use std::time::Duration;
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::rpc::Function;
//! # use tiebeam_cluster::tasks::{On, RemoteTaskError, StreamConfig};
//! const RESIZE: Function<String, u64> = Function::new("images.resize");
//!
//! # async fn resize(image: String) -> u64 { image.len() as u64 }
//! # async fn example(cluster: &Cluster, images: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
//! let tasks = cluster.tasks();
//! tasks.offer(&RESIZE, resize).await?;
//! let size = tasks.run(On::Any(None), &RESIZE, &"a.png".to_owned(), Duration::from_secs(9)).await?;
//! let mut sizes = tasks.async_stream(images, On::LeastLoaded(None), &RESIZE, StreamConfig::default());
//! while let Some(size) = sizes.next().await {
//!     let size: Result<u64, RemoteTaskError> = size;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Delivery.** A task runs at most once, and is never started again behind the caller's back: when its node is lost the
//! caller hears [`RemoteTaskError::NoConnection`], and the task may have run in part, or run on. A task ends at its timeout,
//! or with the supervisor of its node.
//!
//! **Who offers what** is a process group of scope [`SCOPE`]: a node that has just begun to offer a function is found by
//! others within about 50 ms.
//!
//! **Limits.** 10,000 tasks run on a node at once, beyond which they are refused.

mod host;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_actor::{CALL_TIMEOUT, CallError, ExitReason, Pid};
use tiebeam_wire::{NodeId, Role, codec};

pub(crate) use self::host::TaskHost;
use self::host::{Entry, Failure, Host, Run};
use crate::node::lock;
use crate::rpc::{Function, VERSION};
use crate::{Cluster, ShareError, groups};

/// The scope of the process groups that say which nodes offer which tasks.
pub const SCOPE: &str = "tiebeam.tasks";
/// How many tasks of others run on a node at once.
pub const TASKS_MAX: u32 = 10_000;
/// By how much longer a caller waits than its task may take, so that it hears how that ended.
const GRACE: Duration = Duration::from_secs(1);

/// Starts tasks on other nodes, and offers to run theirs.
#[derive(Clone, Debug)]
pub struct RemoteTasks {
    cluster: Cluster,
}

/// Where a task is to run, among the connected nodes that offer it, this one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// On this node.
    Node(NodeId),
    /// On any, by chance; of this role, if one is named.
    Any(Option<Role>),
    /// On the one for which fewest tasks started here are under way; of this role, if one is named. What others start there
    /// isn't known here.
    LeastLoaded(Option<Role>),
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteTaskError {
    /// No connected node that is asked for offers the function, as far as this node sees. Nothing ran.
    #[error("no node that is asked for offers function {0:?}")]
    NoNode(String),
    /// The connection to the node was lost. The task may have run in part, and may run on.
    #[error("no connection to node {0}")]
    NoConnection(NodeId),
    /// The time was up, and the task was ended.
    #[error("task on node {0} took too long")]
    Timeout(NodeId),
    /// The task ended before its work was done: it panicked, or somebody ended it.
    #[error("task ended: {0}")]
    Exit(ExitReason),
    /// As many tasks run there, or calls wait here, as may. Nothing ran.
    #[error("tasks on node {0} are at their limit")]
    Overloaded(NodeId),
    /// The two sides mean other types by the name.
    #[error("argument or result of function {0:?} can't be decoded")]
    Incompatible(String),
}

/// Why a function is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The supervisor did not start.
    #[error("supervisor of tasks did not start: {0}")]
    Start(ExitReason),
    /// Others can't be told.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// How a stream of tasks runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// How many tasks are under way at the same time, on all nodes together. At least 1; default 16.
    pub concurrency_max: usize,
    /// Whether results come in the order of the items; else as they are there. Default yes.
    pub is_ordered: bool,
    /// How long one task may take. Default 5 s.
    pub timeout: Duration,
}

/// The results of one task for each item. Runs while it is polled, and holds no more than its tasks under way; when it is
/// dropped nobody waits for these any more, and they run on to their end or timeout.
#[must_use = "a stream does nothing until it is polled"]
pub struct RemoteTaskStream<R> {
    results: BoxStream<'static, Result<R, RemoteTaskError>>,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { concurrency_max: 16, is_ordered: true, timeout: CALL_TIMEOUT }
    }
}

impl RemoteTasks {
    pub(crate) const fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// Offers to run a function as tasks for all connected nodes, in place of an earlier one of its name.
    ///
    /// # Errors
    /// Each [`OfferError`] says why it isn't offered.
    pub async fn offer<Q, R, F>(
        &self,
        function: &Function<Q, R>,
        run: impl Fn(Q) -> F + Send + Sync + 'static,
    ) -> Result<(), OfferError>
    where
        Q: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let node = self.cluster.inner();
        let host = TaskHost::start(node).await.map_err(OfferError::Start)?;
        let entry: Entry = Arc::new(move |body| {
            let argument = codec::decode::<Q>(VERSION, &body).ok()?;
            let work = run(argument);
            Some(async move { codec::encode(VERSION, &work.await).into() }.boxed())
        });
        let functions = &node.sharing.tasks.functions;
        let former = functions.write().unwrap_or_else(PoisonError::into_inner).insert(function.name(), entry);
        if former.is_none() {
            self.cluster.groups().scope(SCOPE).group::<Host>(function.name()).join(&host)?;
        }
        Ok(())
    }

    /// Runs a function as a task on a node and waits for its result; the task may take `timeout`. Dropping the future gives
    /// the result up and leaves the task running.
    ///
    /// # Errors
    /// Each [`RemoteTaskError`] says why there is no result.
    pub async fn run<Q, R>(
        &self,
        on: On,
        function: &Function<Q, R>,
        argument: &Q,
        timeout: Duration,
    ) -> Result<R, RemoteTaskError>
    where
        Q: Serialize,
        R: DeserializeOwned,
    {
        let node = self.cluster.inner();
        let pid = self.choose(on, function.name())?;
        let _under_way = node.sharing.tasks.count(pid.node);
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let body = codec::encode(VERSION, argument).into();
        let host = node.system.addr::<Host>(pid);
        let run = Run { function: function.name().to_owned(), body, timeout_ms };
        let answer = host.call(run).timeout(timeout.saturating_add(GRACE)).await;
        let answer = answer.map_err(|error| lost(error, pid.node, function.name()))?;
        let bytes = answer.map_err(|failure| failed(failure, pid.node, function.name()))?;
        codec::decode(VERSION, &bytes).map_err(|_| RemoteTaskError::Incompatible(function.name().to_owned()))
    }

    /// Runs a task for each item, a few at the same time, each where `on` says at its start.
    pub fn async_stream<Q, R, I>(
        &self,
        items: I,
        on: On,
        function: &Function<Q, R>,
        config: StreamConfig,
    ) -> RemoteTaskStream<R>
    where
        Q: Serialize + Send + Sync + 'static,
        R: DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = Q, IntoIter: Send + 'static>,
    {
        let (tasks, function) = (self.clone(), *function);
        let runs = stream::iter(items).map(move |item| {
            let tasks = tasks.clone();
            async move { tasks.run(on, &function, &item, config.timeout).await }
        });
        let at_once = config.concurrency_max.max(1);
        let results = match config.is_ordered {
            true => runs.buffered(at_once).boxed(),
            false => runs.buffer_unordered(at_once).boxed(),
        };
        RemoteTaskStream { results }
    }

    /// Lists the connected nodes that offer a function, in order.
    #[must_use]
    pub fn offered_by<Q, R>(&self, function: &Function<Q, R>) -> Vec<NodeId> {
        self.hosts(function.name()).into_keys().collect()
    }

    fn hosts(&self, function: &str) -> BTreeMap<NodeId, Pid> {
        let hosts = groups::members(self.cluster.inner(), &(SCOPE.to_owned(), function.to_owned()));
        hosts.into_iter().map(|(pid, _)| (pid.node, pid)).collect()
    }

    fn choose(&self, on: On, function: &str) -> Result<Pid, RemoteTaskError> {
        let node = self.cluster.inner();
        let mut hosts = self.hosts(function);
        if let On::Any(Some(role)) | On::LeastLoaded(Some(role)) = on {
            let of_role: Vec<NodeId> =
                self.cluster.members().into_iter().filter(|m| m.role == role).map(|m| m.node).collect();
            hosts.retain(|node, _| of_role.contains(node));
        }
        let start = usize::try_from(tiebeam_world::random() % (hosts.len() as u64).max(1)).unwrap_or(0);
        // Beginning anywhere, so that not all choose the same of several that are alike.
        let mut turned = hosts.iter().cycle().skip(start).take(hosts.len());
        let chosen = match on {
            On::Node(wanted) => hosts.get_key_value(&wanted),
            On::Any(_) => turned.next(),
            On::LeastLoaded(_) => {
                let under_way = lock(&node.sharing.tasks.under_way).clone();
                turned.min_by_key(|(node, _)| under_way.get(node).copied().unwrap_or(0))
            }
        };
        chosen.map(|(_, pid)| *pid).ok_or_else(|| RemoteTaskError::NoNode(function.to_owned()))
    }
}

impl<R> RemoteTaskStream<R> {
    /// Waits for the next result; none when all items are through. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<R, RemoteTaskError>> {
        self.results.next().await
    }
}

impl<R> Stream for RemoteTaskStream<R> {
    type Item = Result<R, RemoteTaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.results.poll_next_unpin(cx)
    }
}

impl<R> fmt::Debug for RemoteTaskStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTaskStream").finish_non_exhaustive()
    }
}

/// The call to the host has no answer.
fn lost(error: CallError, node: NodeId, function: &str) -> RemoteTaskError {
    match error {
        CallError::NoConnection => RemoteTaskError::NoConnection(node),
        CallError::Timeout => RemoteTaskError::Timeout(node),
        CallError::Overloaded => RemoteTaskError::Overloaded(node),
        CallError::Incompatible => RemoteTaskError::Incompatible(function.to_owned()),
        CallError::NoProc => RemoteTaskError::NoNode(function.to_owned()),
        CallError::Exit(reason) => RemoteTaskError::Exit(reason),
        // The host dropped the call with its own end.
        _ => RemoteTaskError::Exit(ExitReason::Killed),
    }
}

/// The host says why there is no result.
fn failed(failure: Failure, node: NodeId, function: &str) -> RemoteTaskError {
    match failure {
        Failure::NoFunction => RemoteTaskError::NoNode(function.to_owned()),
        Failure::Incompatible => RemoteTaskError::Incompatible(function.to_owned()),
        Failure::Overloaded => RemoteTaskError::Overloaded(node),
        Failure::Timeout => RemoteTaskError::Timeout(node),
        Failure::Exit(reason) => RemoteTaskError::Exit(reason),
    }
}
