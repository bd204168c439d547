use crate::{Dot, DotStore, MintError, ReplicaId};

/// A set in which an add wins over a removal that didn't know of it.
///
/// Each replica's add is a contribution of its own: an element that two replicas added stays when one of them is hidden,
/// forgotten or withdraws, and goes with the other.
///
/// ```
/// use tiebeam_crdt::{AwSet, ReplicaId};
/// use tiebeam_wire::{Incarnation, NodeId};
///
/// let (here, there) = (ReplicaId::new(NodeId(1), Incarnation(1)), ReplicaId::new(NodeId(2), Incarnation(1)));
/// let (mut a, mut b) = (AwSet::new(), AwSet::new());
/// let (delta, _) = a.update(|set| set.add(here, "tie"))?;
/// b.merge(&delta);
/// // One removes while the other adds again, and neither knows.
/// let removed = b.remove(&"tie");
/// let (added, _) = a.update(|set| set.add(here, "tie"))?;
/// b.merge(&added);
/// b.merge(&removed);
/// a.merge(&removed);
/// assert!(a == b && a.contains(&"tie"));
/// # b.update(|set| set.add(there, "beam"))?;
/// # Ok::<(), tiebeam_crdt::MintError>(())
/// ```
pub type AwSet<T> = DotStore<T, ()>;

impl<T: Ord + Clone> DotStore<T, ()> {
    /// Returns the delta by which `replica` adds `element`, in place of its own earlier adds of it.
    ///
    /// # Errors
    /// As [`CausalContext::next`](crate::CausalContext::next).
    pub fn add(&self, replica: ReplicaId, element: T) -> Result<Self, MintError> {
        // A new dot even if it is there already: a removal under way, which knows of the old one, must lose to this add.
        let own: Vec<Dot> = self.own_dots(replica, &element).collect();
        self.written(replica, element, (), own)
    }

    /// Returns the delta that removes `element`, whoever added it; it changes nothing if nobody did.
    #[must_use]
    pub fn remove(&self, element: &T) -> Self {
        Self::erased(self.dots_of(element).iter().copied())
    }

    /// Returns the delta that takes back what `replica` itself added; others' adds of it stay.
    #[must_use]
    pub fn withdraw(&self, replica: ReplicaId, element: &T) -> Self {
        Self::erased(self.own_dots(replica, element))
    }

    /// Whether anybody's add of `element` is left.
    #[must_use]
    pub fn contains(&self, element: &T) -> bool {
        !self.dots_of(element).is_empty()
    }
}
