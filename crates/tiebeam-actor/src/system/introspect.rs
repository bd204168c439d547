use std::collections::{BTreeMap, BTreeSet};

use super::System;
use crate::cell::Process;
use crate::{ChildInfo, Pid};

/// What a process does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It waits for messages, or in a handler for something else.
    Waiting,
    /// It waits for its turn.
    Ready,
    /// It runs.
    Running,
    /// It takes no messages until it is resumed.
    Suspended,
}

/// What can be seen of a process from outside, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its pid.
    pub pid: Pid,
    /// Its names, sorted; mostly none or one.
    pub names: Vec<String>,
    /// The actor's type, with its path.
    pub kind: &'static str,
    /// Who started it with a link, if an actor did.
    pub parent: Option<Pid>,
    /// What it does.
    pub status: Status,
    /// How many messages wait, without the one in hand.
    pub queue_len: u64,
    /// How many messages it has begun to handle.
    pub handled: u64,
    /// How many messages were refused since its mailbox was full.
    pub refused: u64,
    /// How many messages were dropped: since its mailbox was full, or since nobody waited for the answer any more.
    pub dropped: u64,
    /// The type of the message in hand, if it handles one.
    pub handling: Option<&'static str>,
    /// Whether it traps exits.
    pub traps_exit: bool,
    /// The processes it is linked to, in order.
    pub links: Vec<Pid>,
    /// The processes it monitors, one entry for each monitor.
    pub monitors: Vec<Pid>,
    /// The processes that monitor it, one entry for each monitor.
    pub monitored_by: Vec<Pid>,
    /// Its children in start order, if it is a supervisor.
    pub children: Vec<ChildInfo>,
}

/// A process and those that it started with a link and that still run, in the order of their start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTree {
    /// The process.
    pub process: ProcessInfo,
    /// Its children.
    pub children: Vec<Self>,
}

impl System {
    /// Returns the processes of this node as trees, in the order of their start: a process whose parent is gone, or that
    /// has none, is a root.
    #[must_use]
    pub fn trees(&self) -> Vec<ProcessTree> {
        let mut waiting: BTreeMap<Option<Pid>, Vec<ProcessTree>> = BTreeMap::new();
        let processes = self.processes();
        let alive: BTreeSet<Pid> = processes.iter().map(|process| process.pid).collect();
        // Children start after their parents, so from the last to the first each finds its own complete.
        for process in processes.into_iter().rev() {
            let mut children = waiting.remove(&Some(process.pid)).unwrap_or_default();
            children.reverse();
            let parent = process.parent.filter(|parent| alive.contains(parent));
            waiting.entry(parent).or_default().push(ProcessTree { process, children });
        }
        let mut roots = waiting.remove(&None).unwrap_or_default();
        roots.reverse();
        roots
    }

    /// Lists the processes of this node in the order of their start. Each is seen at its own moment.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        self.inner.processes.all().iter().map(|process| self.describe(&**process)).collect()
    }

    /// Describes one process; none if it is gone.
    #[must_use]
    pub fn process_info(&self, pid: Pid) -> Option<ProcessInfo> {
        self.process(pid).map(|process| self.describe(&*process))
    }

    /// Counts the processes of this node.
    #[must_use]
    pub fn process_count(&self) -> u64 {
        u64::from(self.inner.processes.count())
    }

    fn describe(&self, process: &dyn Process) -> ProcessInfo {
        let pid = process.pid();
        let names = self.names().of(pid);
        let ties = process.lock_ties();
        let ties = ties.as_deref();
        let (handled, refused, dropped) = process.counts();
        ProcessInfo {
            pid,
            names,
            kind: process.kind(),
            parent: process.parent(),
            status: process.status(),
            queue_len: process.queue_len() as u64,
            handled,
            refused,
            dropped,
            handling: process.handling(),
            traps_exit: ties.is_some_and(|ties| ties.traps_exit),
            links: ties.map(|ties| ties.links.active().collect()).unwrap_or_default(),
            monitors: ties.map(|ties| ties.monitors.values().copied().collect()).unwrap_or_default(),
            monitored_by: ties.map(|ties| ties.watchers.values().copied().collect()).unwrap_or_default(),
            children: ties.map(|ties| ties.children.clone()).unwrap_or_default(),
        }
    }
}
