use std::fmt;

use serde::{Deserialize, Serialize};
use tiebeam_wire::{Incarnation, NodeId};

/// Names one life of one actor, anywhere in the cluster. Never reused: a restarted actor has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid {
    /// The node that runs the actor.
    pub node: NodeId,
    /// Which start of that node; a pid of an earlier start names nobody.
    pub incarnation: Incarnation,
    /// Counts the node's processes from 1; 0 stands for code that is no actor.
    pub serial: u64,
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}.{}>", self.node, self.incarnation, self.serial)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one monitor or one call; made by the watcher's or the caller's node and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ref {
    /// The node that made it.
    pub node: NodeId,
    /// Which start of that node.
    pub incarnation: Incarnation,
    /// Counts the node's refs from 1.
    pub serial: u64,
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}.{}", self.node, self.incarnation, self.serial)
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_names_node_incarnation_and_serial() {
        let pid = Pid { node: NodeId(1), incarnation: Incarnation(3), serial: 42 };
        assert_eq!(pid.to_string(), "<n1.i3.42>");
    }
}
