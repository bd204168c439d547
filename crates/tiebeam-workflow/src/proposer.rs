//! Gathers the commands of many instances into few log entries.

use std::collections::VecDeque;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::command::{Command, Reply};
use crate::limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX};
use crate::replica::Replica;

/// Most commands that wait for an entry. Edge: whoever proposes waits.
const QUEUE_MAX: usize = 4_096;

/// A command whose outcome is unknown: it may have been committed or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("command may not be committed: {0}")]
pub(crate) struct Lost(pub(crate) String);

type Queued = (Command, oneshot::Sender<Result<Reply, Lost>>);

/// A handle to the proposing task of one term. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Queued>,
}

impl Proposer {
    /// Makes a proposer and the task that works for it, which ends when the last handle is dropped.
    pub(crate) fn new<R: Replica>(replica: R) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        (Self { queue }, work(replica, queued))
    }

    /// Commits `command` together with whatever else is waiting, and returns the answer to it.
    pub(crate) fn propose(&self, command: Command) -> BoxFuture<'static, Result<Reply, Lost>> {
        let queue = self.queue.clone();
        Box::pin(async move {
            let (tx, rx) = oneshot::channel();
            let gone = || Lost("proposer is gone".to_owned());
            queue.send((command, tx)).await.map_err(|_| gone())?;
            rx.await.map_err(|_| gone())?
        })
    }
}

/// One entry at a time: while it is on its way, the next one fills up. That needs no timer, adds no delay when little is
/// going on, and makes entries as large as the disk is slow.
async fn work<R: Replica>(replica: R, mut queued: mpsc::Receiver<Queued>) {
    let mut held: VecDeque<Queued> = VecDeque::new();
    loop {
        if held.is_empty() {
            let Some(first) = queued.recv().await else { return };
            held.push_back(first);
        }
        while held.len() < BATCH_COMMANDS_MAX
            && let Ok(next) = queued.try_recv()
        {
            held.push_back(next);
        }
        let (commands, waiting) = batch(&mut held);
        match commit(&replica, commands).await {
            Ok(replies) => waiting.into_iter().zip(replies).for_each(|(to, reply)| drop(to.send(Ok(reply)))),
            Err(lost) => waiting.into_iter().for_each(|to| drop(to.send(Err(lost.clone())))),
        }
    }
}

/// Takes from the front what fits into one entry, at least one command.
fn batch(held: &mut VecDeque<Queued>) -> (Vec<Command>, Vec<oneshot::Sender<Result<Reply, Lost>>>) {
    let (mut commands, mut waiting, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some((command, _)) = held.front() {
        bytes += command.cost();
        if !commands.is_empty() && bytes > BATCH_BYTES_MAX {
            break;
        }
        let Some((command, to)) = held.pop_front() else { break };
        commands.push(command);
        waiting.push(to);
    }
    (commands, waiting)
}

async fn commit<R: Replica>(replica: &R, mut commands: Vec<Command>) -> Result<Vec<Reply>, Lost> {
    let count = commands.len();
    let command = match commands.pop() {
        Some(only) if count == 1 => only,
        Some(last) => {
            commands.push(last);
            Command::Batch(commands)
        }
        None => return Ok(Vec::new()),
    };
    let reply = replica.propose(command.encode()).await?;
    let reply = Reply::decode(&reply).map_err(|e| Lost(format!("reply can't be decoded: {e}")))?;
    let replies = match reply {
        Reply::Batch(replies) => replies,
        reply => vec![reply; count],
    };
    if replies.len() == count {
        return Ok(replies);
    }
    Err(Lost(format!("batch of {count} commands got {} replies", replies.len())))
}
