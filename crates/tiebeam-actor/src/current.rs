//! Knows which actor the running code belongs to, so that what it sends is ordered with its exit.

use std::future::Future;

use crate::{Pid, System};

tokio::task_local! {
    static CURRENT: Pid;
}

pub(crate) fn scope<F: Future>(pid: Pid, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(pid, future)
}

/// Returns the running actor's pid; the pid with serial 0 outside of actors.
///
/// A message to another node must carry its true sender: lanes are chosen by sender and receiver, and a worker's result
/// sent under another name could be overtaken by the worker's `Down`.
pub(crate) fn sender(system: &System) -> Pid {
    let root = system.root();
    let pid = CURRENT.try_with(|pid| *pid).unwrap_or(root);
    if (pid.node, pid.incarnation) == (root.node, root.incarnation) { pid } else { root }
}
