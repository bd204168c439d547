use serde::{Deserialize, Serialize};

use crate::{Dot, DotStore, Live, MintError, ReplicaId, Value};

/// What an [`EwFlag`] holds per replica that enabled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enabled;

impl Value for Enabled {
    type Rank = ();

    fn rank(&self) {}
}

/// A flag in which enabling wins over a disabling that didn't know of it. It begins disabled.
///
/// ```
/// use tiebeam_crdt::{EwFlag, ReplicaId};
/// use tiebeam_wire::{Incarnation, NodeId};
///
/// let here = ReplicaId::new(NodeId(1), Incarnation(1));
/// let mut flag = EwFlag::new();
/// flag.update(|flag| flag.enable(here))?;
/// assert!(flag.is_enabled());
/// flag.merge(&flag.disable());
/// assert!(!flag.is_enabled());
/// # Ok::<(), tiebeam_crdt::MintError>(())
/// ```
pub type EwFlag = DotStore<(), Enabled>;

impl EwFlag {
    /// Returns the delta by which `replica` enables the flag.
    ///
    /// # Errors
    /// As [`CausalContext::next`](crate::CausalContext::next).
    pub fn enable(&self, replica: ReplicaId) -> Result<Self, MintError> {
        let own: Vec<Dot> = self.own_dots(replica, &()).collect();
        self.written(replica, (), Enabled, own)
    }

    /// Returns the delta that disables the flag, whoever enabled it.
    #[must_use]
    pub fn disable(&self) -> Self {
        Self::erased(self.dots_of(&()).iter().copied())
    }

    /// Whether anybody's enabling is left.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.is_enabled_seen(&Live::Everyone)
    }

    /// As [`EwFlag::is_enabled`], for those who see `live` alone.
    #[must_use]
    pub fn is_enabled_seen(&self, live: &Live) -> bool {
        self.get_seen(&(), live).is_some()
    }
}
