//! The actor of a node that runs tasks for others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_actor::task::TaskError;
use tiebeam_actor::{Actor, Addr, ChildError, Ctx, Deferred, DynamicSpec, ExitReason, ReplyTo, Table, TaskSupervisor};
use tiebeam_wire::NodeId;

use super::TASKS_MAX;
use crate::node::{Node, lock};

/// Makes the work of a function of its argument's bytes; nothing if these can't be decoded.
pub(crate) type Entry = Arc<dyn Fn(Bytes) -> Option<BoxFuture<'static, Bytes>> + Send + Sync>;

/// What a node offers to run, and how many tasks it has under way on each other node.
#[derive(Default)]
pub(crate) struct TaskHost {
    pub(super) functions: RwLock<BTreeMap<&'static str, Entry>>,
    pub(super) under_way: Mutex<BTreeMap<NodeId, usize>>,
    host: tokio::sync::Mutex<Option<Addr<Host>>>,
}

impl TaskHost {
    /// Starts the host, unless it runs.
    pub(super) async fn start(node: &Arc<Node>) -> Result<Addr<Host>, ExitReason> {
        let mut running = node.sharing.tasks.host.lock().await;
        if let Some(host) = running.as_ref().filter(|host| node.system.is_alive(host.pid())) {
            return Ok(host.clone());
        }
        let host = node.system.spawn::<Host>(Arc::downgrade(node)).await?;
        *running = Some(host.clone());
        Ok(host)
    }

    /// Counts a task until the guard is dropped.
    pub(super) fn count(&self, node: NodeId) -> UnderWay<'_> {
        *lock(&self.under_way).entry(node).or_default() += 1;
        UnderWay { host: self, node }
    }
}

pub(super) struct UnderWay<'a> {
    host: &'a TaskHost,
    node: NodeId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = lock(&self.host.under_way);
        if let Some(count) = under_way.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.node);
            }
        }
    }
}

/// Asks for a task; the order of fields is the format.
#[derive(Serialize, Deserialize)]
pub(crate) struct Run {
    pub(super) function: String,
    pub(super) body: Bytes,
    pub(super) timeout_ms: u32,
}

/// Why a task gave no result; the order of variants is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    NoFunction,
    Incompatible,
    Overloaded,
    Timeout,
    Exit(ExitReason),
}

/// Starts tasks under its supervisor, which ends with it.
pub(crate) struct Host {
    node: Weak<Node>,
    tasks: Addr<TaskSupervisor>,
}

impl Actor for Host {
    type Args = Weak<Node>;

    async fn init(node: Weak<Node>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let spec = DynamicSpec { children_max: TASKS_MAX, ..DynamicSpec::default() };
        let tasks = ctx.spawn_link::<TaskSupervisor>(spec).await?;
        Ok(Self { node, tasks })
    }

    fn table() -> Table<Self> {
        Table::new().call_deferred::<Run>(1)
    }
}

impl Deferred<Run> for Host {
    type Reply = Result<Bytes, Failure>;

    async fn handle_call(&mut self, run: Run, reply_to: ReplyTo<Self::Reply>, _: &mut Ctx<Self>) {
        let Some(node) = self.node.upgrade() else { return };
        let functions = &node.sharing.tasks.functions;
        let entry = functions.read().unwrap_or_else(PoisonError::into_inner).get(&*run.function).cloned();
        let Some(entry) = entry else { return reply_to.send(Err(Failure::NoFunction)) };
        let body = run.body;
        // Decoded in the task as well: it is the user's code, and may panic.
        let work = async move {
            match entry(body) {
                Some(work) => Ok(work.await),
                None => Err(Failure::Incompatible),
            }
        };
        match self.tasks.async_nolink(work).await {
            Ok(task) => {
                let task = task.timeout(Duration::from_millis(u64::from(run.timeout_ms)));
                let answer = async move { reply_to.send(task.await.unwrap_or_else(|error| Err(failure(error)))) };
                drop(node.sharing.spawn("cluster.task", answer));
            }
            Err(error) => reply_to.send(Err(failure(error))),
        }
    }
}

fn failure(error: TaskError) -> Failure {
    match error {
        TaskError::Timeout => Failure::Timeout,
        TaskError::Exit(reason) => Failure::Exit(reason),
        TaskError::Start(ChildError::TooMany { .. }) => Failure::Overloaded,
        other => Failure::Exit(ExitReason::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::codec;

    use super::*;

    /// Who changes these bytes changes what nodes of two versions say to each other.
    #[test]
    fn tasks_and_their_failures_are_golden() {
        let run = Run { function: "f".into(), body: Bytes::from_static(b"x"), timeout_ms: 5 };
        assert_eq!(codec::encode(1, &run), [1, 1, b'f', 1, b'x', 5]);
        let all = [Failure::NoFunction, Failure::Incompatible, Failure::Overloaded, Failure::Timeout];
        assert_eq!(all.map(|failure| codec::encode(1, &failure)), [[1, 0], [1, 1], [1, 2], [1, 3]]);
        assert_eq!(codec::encode(1, &Failure::Exit(ExitReason::Killed)), [1, 4, 3]);
    }
}
