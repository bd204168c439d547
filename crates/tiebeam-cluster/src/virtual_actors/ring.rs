//! Says which node should have which shard: a consistent hash ring, the same on all nodes that see the same hosts.

use std::collections::BTreeMap;

use tiebeam_actor::Pid;
use tiebeam_wire::NodeId;

/// How many shards a kind has. Part of what nodes agree on without saying so: it never changes.
pub const SHARDS: u16 = 256;
/// Places of a node on the ring; so many that no host of ten has twice its share.
const PLACES: u64 = 128;

/// The hosts of a kind, each at many places of a circle of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ring {
    hosts: BTreeMap<NodeId, Pid>,
    places: BTreeMap<u64, NodeId>,
}

impl Ring {
    /// Makes a ring of the gates of all hosts.
    pub(crate) fn new(hosts: BTreeMap<NodeId, Pid>) -> Self {
        let of_host = |node: NodeId| (0..PLACES).map(move |place| (mixed(&[node.0, place]), node));
        // A place that two nodes claim is the lower one's, on all nodes alike.
        let places = hosts.keys().rev().flat_map(|node| of_host(*node)).collect();
        Self { hosts, places }
    }

    pub(crate) const fn hosts(&self) -> &BTreeMap<NodeId, Pid> {
        &self.hosts
    }

    /// Where the gate of a host is.
    pub(crate) fn gate(&self, node: NodeId) -> Option<Pid> {
        self.hosts.get(&node).copied()
    }

    /// Whose a shard should be; none if there is no host.
    pub(crate) fn owner(&self, kind: &str, shard: u16) -> Option<NodeId> {
        let at = mixed(&[hash(kind.as_bytes()), u64::from(shard)]);
        let next = self.places.range(at..).next().or_else(|| self.places.first_key_value());
        next.map(|(_, node)| *node)
    }
}

/// Which shard a key belongs to.
pub(crate) fn shard_of(key: &str) -> u16 {
    // The one key of a singleton is its first shard.
    if key.is_empty() {
        return 0;
    }
    let shard = mixed(&[hash(key.as_bytes())]) % u64::from(SHARDS);
    u16::try_from(shard).expect("a remainder is below its divisor")
}

/// FNV-1a, 64 bits: nodes of all versions and machines must find the same.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Spreads words evenly (the finalizer of SplitMix64): FNV alone keeps similar inputs near each other.
fn mixed(words: &[u64]) -> u64 {
    words.iter().fold(0, |mixed: u64, word| {
        let mut z = mixed.wrapping_add(*word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::Incarnation;

    use super::*;

    fn ring(nodes: impl IntoIterator<Item = u64>) -> Ring {
        let pid = |node| Pid { node: NodeId(node), incarnation: Incarnation(1), serial: 1 };
        Ring::new(nodes.into_iter().map(|node| (NodeId(node), pid(node))).collect())
    }

    fn owners(ring: &Ring) -> Vec<NodeId> {
        (0..SHARDS).filter_map(|shard| ring.owner("cart", shard)).collect()
    }

    /// Who changes one of these makes nodes of two versions look for a key in two places.
    #[test]
    fn places_are_golden() {
        assert_eq!(["", "a", "b", "cart-17"].map(shard_of), [0, 39, 100, 54]);
        let owners: Vec<u64> = owners(&ring(1..=5)).iter().map(|node| node.0).take(12).collect();
        assert_eq!(owners, [2, 4, 5, 3, 1, 4, 4, 5, 3, 2, 3, 2]);
    }

    #[test]
    fn no_host_has_far_more_than_its_share() {
        for count in [2_u64, 3, 5, 10] {
            let owners = owners(&ring(1..=count));
            let most = (1..=count).map(|node| owners.iter().filter(|owner| owner.0 == node).count()).max().unwrap();
            assert!(most as u64 * count < 2 * u64::from(SHARDS), "{most} of {SHARDS} with {count} hosts");
        }
    }

    /// Who moves what need not move stops actors for nothing.
    #[test]
    fn host_that_goes_takes_nobody_elses_shards_along() {
        let (before, after) = (owners(&ring(1..=5)), owners(&ring([1, 2, 4, 5])));
        for (before, after) in before.iter().zip(after) {
            assert!(*before == NodeId(3) || *before == after, "{before} lost a shard to {after}");
        }
        assert_eq!(ring([]).owner("cart", 3), None);
    }
}
