//! Which of the cluster's own groups there are, and who holds them: a function of the list of cores.

use tiebeam_log::Route;
use tiebeam_wire::{GroupId, NodeId};
use tiebeam_workflow::limits::PARTITIONS;

/// The group of the first workflow partition; the others follow.
const FIRST_WORKFLOW: u64 = 2;

/// Most replicas of a workflow partition; a third one survives one loss, a sixth only costs.
const REPLICATION_MAX: usize = 3;

/// Where each workflow partition lives, in order of partition.
pub(crate) fn workflow_routes(cores: &[NodeId]) -> Vec<Route> {
    let replicas = |partition: u32| {
        let from = partition as usize % cores.len();
        cores.iter().copied().cycle().skip(from).take(cores.len().min(REPLICATION_MAX)).collect()
    };
    (0..PARTITIONS)
        .map(|partition| Route { group: GroupId(FIRST_WORKFLOW + u64::from(partition)), replicas: replicas(partition) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member list in another order on another node would be another group.
    #[test]
    fn partitions_are_spread_and_replicated() {
        let cores = [NodeId(1), NodeId(2), NodeId(3), NodeId(4)];
        let routes = workflow_routes(&cores);
        assert_eq!(routes.len(), PARTITIONS as usize);
        assert_eq!(routes[0].replicas, [NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(routes[3].replicas, [NodeId(4), NodeId(1), NodeId(2)]);
        assert_eq!(workflow_routes(&cores[..1])[5].replicas, [NodeId(1)]);
    }
}
