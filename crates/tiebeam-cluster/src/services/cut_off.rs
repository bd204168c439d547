//! What becomes of a node's instances when it is cut off: those that are to stop are stopped by their supervisors, and started
//! again when the node is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tiebeam_actor::{Addr, CallError, ChildError, ExitReason, Pid, Supervisor};
use tiebeam_resilience::Backoff;

use crate::node::Node;
use crate::standing::Standing;

/// What becomes of an instance when its node is [cut off](Standing::CutOff), or has not reached a majority yet.
#[derive(Clone, Debug, Default)]
pub enum WhenCutOff {
    /// It goes on with what it has: its answers may be out of date, and its side may not be the one that goes on.
    #[default]
    ServeStale,
    /// It is stopped as a child of `supervisor`, and started again by it when the node is back. A node that has just started
    /// is treated alike: an instance that registers before is stopped until then, unless it waits for
    /// [`Cluster::until_majority`](crate::Cluster::until_majority) first.
    Stop {
        /// Its supervisor, on this node.
        supervisor: Addr<Supervisor>,
        /// The id of its child spec there.
        child: String,
    },
}

/// Children by their supervisor and id.
pub(super) type Children = BTreeMap<(Pid, String), Addr<Supervisor>>;

/// Pauses between attempts to start what doesn't start.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };

/// Stops and starts children as the node's standing changes, for ever.
pub(crate) async fn run(node: Arc<Node>) {
    let mut standing = node.standing.watch();
    // What was stopped here; at most what was registered at once, since it is started again before more is stopped.
    let mut stopped = Children::new();
    let mut failures = 0;
    loop {
        let is_majority = *standing.borrow_and_update() == Standing::Majority;
        if is_majority {
            stopped = start(stopped).await;
        } else {
            let children = node.sharing.roster.to_stop();
            stop(&children).await;
            stopped.extend(children);
            // Those of a supervisor that was itself restarted meanwhile: the new one has children of its own.
            stopped.retain(|(supervisor, _), _| node.system.is_alive(*supervisor));
        }
        failures = if is_majority && !stopped.is_empty() { failures + 1 } else { 0 };
        let again = async {
            match failures {
                0 => std::future::pending().await,
                _ => tiebeam_world::sleep(AGAIN.delay(failures - 1, tiebeam_world::random())).await,
            }
        };
        tokio::select! {
            // The sender lives as long as the node.
            _ = standing.changed() => {}
            () = node.sharing.roster.added() => {}
            () = again => {}
        }
    }
}

async fn stop(children: &Children) {
    let stops = children.iter().map(|((_, child), supervisor)| async move {
        tracing::warn!(child, "cut off, child is stopped until a majority of the voters is reached");
        if let Err(error) = supervisor.stop_child(child).await {
            tracing::error!(child, %error, "child of a node that is cut off can't be stopped");
        }
    });
    join_all(stops).await;
}

/// Starts what was stopped; returns what didn't start, and is to be tried again.
async fn start(stopped: Children) -> Children {
    let starts = stopped.into_iter().map(|((pid, child), supervisor)| async move {
        let again = match supervisor.restart_child(&child).await {
            Ok(_) => {
                tracing::info!(child, "a majority of the voters is reached, child runs again");
                false
            }
            // Somebody else was faster, or it chooses not to run.
            Err(ChildError::Running { .. } | ChildError::Start { reason: ExitReason::Ignore }) => false,
            Err(error @ (ChildError::Missing { .. } | ChildError::Call(CallError::NoProc))) => {
                tracing::info!(child, %error, "child that was stopped is gone with its supervisor or its spec");
                false
            }
            Err(error) => {
                tracing::warn!(child, %error, "child does not start, trying again");
                true
            }
        };
        again.then_some(((pid, child), supervisor))
    });
    join_all(starts).await.into_iter().flatten().collect()
}
