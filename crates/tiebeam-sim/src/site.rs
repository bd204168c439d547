//! What a workload sees of a node.

use std::sync::Arc;

use tiebeam_wire::{Incarnation, NodeId};

use crate::outside::Outside;

/// One start of a node, for those who work on it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its actors.
    pub system: tiebeam_actor::System,
    /// Its place in the cluster.
    pub cluster: tiebeam_cluster::Cluster,
    /// All nodes of the cluster, this one included.
    pub nodes: Arc<[NodeId]>,
    /// The log, the true time, and where to say that something broke.
    pub outside: Arc<Outside>,
}

impl Site {
    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.system.node()
    }

    /// Which start of it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.system.incarnation()
    }

    /// Draws another node.
    #[must_use]
    pub fn other(&self) -> NodeId {
        let others: Vec<NodeId> = self.nodes.iter().copied().filter(|node| *node != self.node()).collect();
        let index = usize::try_from(tiebeam_world::random() % others.len().max(1) as u64).unwrap_or(0);
        others.get(index).copied().unwrap_or_else(|| self.node())
    }
}

/// Draws from `range`, by the seed.
#[must_use]
pub fn draw(range: std::ops::Range<u64>) -> u64 {
    range.start + tiebeam_world::random() % (range.end - range.start).max(1)
}
