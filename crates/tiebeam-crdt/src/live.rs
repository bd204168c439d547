use std::collections::BTreeSet;

use tiebeam_wire::{Incarnation, NodeId};

use crate::ReplicaId;

/// Whose entries are seen. It lies beside the state and is no part of it: each node has its own view of who lives.
///
/// Taking a replica out hides its entries at once and harms nothing; putting it back shows them again, with whatever it
/// wrote meanwhile once anti-entropy has brought that. Who isn't named isn't seen, so an entry never shows before its
/// node is known to be there, nor one of a past incarnation after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// Everybody's.
    Everyone,
    /// Those of these replicas.
    Only(BTreeSet<ReplicaId>),
}

impl Live {
    /// Names who is seen.
    #[must_use]
    pub fn only(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self::Only(replicas.into_iter().collect())
    }

    /// Whether entries of `replica` are seen.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(replicas) => replicas.contains(&replica),
        }
    }

    /// Returns the incarnations of `node` that are seen, if they are named, in order.
    pub(crate) fn of(&self, node: NodeId) -> impl DoubleEndedIterator<Item = ReplicaId> {
        let (first, last) = (ReplicaId::new(node, Incarnation(0)), ReplicaId::new(node, Incarnation(u64::MAX)));
        let named = match self {
            Self::Everyone => None,
            Self::Only(replicas) => Some(replicas.range(first..=last).copied()),
        };
        named.into_iter().flatten()
    }

    /// Returns the view in which `replica` is seen as well.
    #[must_use]
    pub fn with(&self, replica: ReplicaId) -> Self {
        let mut after = self.clone();
        if let Self::Only(replicas) = &mut after {
            replicas.insert(replica);
        }
        after
    }

    /// Returns the view in which `replica` isn't seen. [`Live::Everyone`] names nobody, so nobody can be taken out of it.
    #[must_use]
    pub fn without(&self, replica: ReplicaId) -> Self {
        let mut after = self.clone();
        if let Self::Only(replicas) = &mut after {
            replicas.remove(&replica);
        }
        after
    }
}
