use std::collections::BTreeSet;

use tiebeam_wire::NodeId;

use crate::Serial;
use crate::certificate::Leaf;

/// Most entries of a [`DenyList`]. A cluster has 500 members; whoever must deny twenty times that many needs a new
/// authority.
pub const DENIED_MAX: usize = 10_000;

/// Who stays out although the authority let him in.
///
/// A number is denied for ever, since numbers are never given twice. A serial denies one certificate: its node may come
/// back with another one, as after a key was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    nodes: BTreeSet<NodeId>,
    serials: BTreeSet<Serial>,
}

/// One entry of a [`DenyList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// All certificates of a node.
    Node(NodeId),
    /// One certificate.
    Serial(Serial),
}

/// The list has [`DENIED_MAX`] entries and took no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deny list has {DENIED_MAX} entries, its limit")]
pub struct DenyListFull;

impl DenyList {
    /// The list that denies nobody.
    pub const EMPTY: Self = Self { nodes: BTreeSet::new(), serials: BTreeSet::new() };

    /// Adds an entry; one that is there already changes nothing.
    ///
    /// # Errors
    /// [`DenyListFull`]; the list is unchanged.
    pub fn insert(&mut self, denied: Denied) -> Result<(), DenyListFull> {
        if self.len() >= DENIED_MAX && !self.contains(&denied) {
            return Err(DenyListFull);
        }
        match denied {
            Denied::Node(node) => self.nodes.insert(node),
            Denied::Serial(serial) => self.serials.insert(serial),
        };
        Ok(())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() + self.serials.len()
    }

    /// Says whether nobody is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn contains(&self, denied: &Denied) -> bool {
        match denied {
            Denied::Node(node) => self.nodes.contains(node),
            Denied::Serial(serial) => self.serials.contains(serial),
        }
    }

    /// Says in words why the bearer of `leaf` stays out; none if he doesn't.
    pub(crate) fn denies(&self, leaf: &Leaf) -> Option<String> {
        if self.nodes.contains(&leaf.identity.node) {
            return Some(format!("{} is revoked", leaf.identity));
        }
        let serial = self.serials.get(&leaf.serial)?;
        Some(format!("certificate {serial} of {} is revoked", leaf.identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_list_takes_no_more_and_keeps_what_it_has() {
        let mut list = DenyList::default();
        assert!(list.is_empty());
        for node in 1..=DENIED_MAX as u64 {
            list.insert(Denied::Node(NodeId(node))).unwrap();
        }
        assert_eq!(list.insert(Denied::Serial("01".parse().unwrap())), Err(DenyListFull));
        assert_eq!(list.insert(Denied::Node(NodeId(1))), Ok(()));
        assert_eq!(list.len(), DENIED_MAX);
    }
}
