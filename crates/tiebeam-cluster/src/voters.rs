//! Which core nodes decide. A majority of them is what a part of a split cluster must reach to go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use tiebeam_wire::NodeId;
use tokio::sync::watch;

/// The core nodes whose majority decides, and since which change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Grows with each change, everywhere alike: the index of the log entry that made it, or 0 for the nodes that the
    /// cluster was born with.
    pub version: u64,
    /// Their numbers; empty if nothing of this cluster needs agreement.
    pub nodes: BTreeSet<NodeId>,
}

impl Voters {
    /// How many of them are a majority: any two majorities have a node in common. One, if there are none, which nobody
    /// reaches.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }
}

/// What a node knows of the voters.
#[derive(Debug)]
pub(crate) struct VotersCell(watch::Sender<Arc<Voters>>);

impl VotersCell {
    pub(crate) fn new(first: Voters) -> Self {
        Self(watch::Sender::new(Arc::new(first)))
    }

    /// Takes in a later change, and says whether it was later.
    pub(crate) fn set(&self, voters: Voters) -> bool {
        self.0.send_if_modified(|current| {
            let later = voters.version > current.version;
            if later {
                *current = Arc::new(voters);
            }
            later
        })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Voters>> {
        self.0.subscribe()
    }

    pub(crate) fn now(&self) -> Arc<Voters> {
        Arc::clone(&self.0.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(version: u64, nodes: &[u64]) -> Voters {
        Voters { version, nodes: nodes.iter().copied().map(NodeId).collect() }
    }

    /// Two halves of four must not both decide.
    #[test]
    fn any_two_majorities_meet() {
        let sizes: Vec<_> = (0..=6).map(|n| voters(0, &(1..=n).collect::<Vec<_>>()).majority()).collect();
        assert_eq!(sizes, [1, 1, 2, 2, 3, 3, 4]);
    }

    /// News of a change comes on several ways, in any order.
    #[test]
    fn an_earlier_change_never_replaces_a_later_one() {
        let cell = VotersCell::new(voters(0, &[1]));
        assert!(cell.set(voters(7, &[1, 2, 3])));
        assert!(!cell.set(voters(5, &[1, 2])));
        assert!(!cell.set(voters(7, &[9])));
        assert_eq!(*cell.now(), voters(7, &[1, 2, 3]));
    }
}
