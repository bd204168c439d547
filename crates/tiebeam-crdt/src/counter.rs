use serde::{Deserialize, Serialize};

use crate::{DotStore, Live, MintError, ReplicaId, Value};

/// How far one replica has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count(pub u64);

impl Value for Count {
    type Rank = u64;

    fn rank(&self) -> u64 {
        self.0
    }
}

/// How far one replica has counted up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The sum of what was added.
    pub up: u64,
    /// The sum of what was taken away.
    pub down: u64,
}

impl Value for Tally {
    type Rank = (u64, u64);

    fn rank(&self) -> (u64, u64) {
        (self.up, self.down)
    }
}

/// A counter that only grows: the sum of what each replica counted.
///
/// What a hidden or forgotten replica counted goes from the sum. That suits what is there only as long as its node is
/// (sessions, connections); a sum that must outlive its nodes belongs in a replicated log.
///
/// ```
/// use tiebeam_crdt::{GCounter, ReplicaId};
/// use tiebeam_wire::{Incarnation, NodeId};
///
/// let (here, there) = (ReplicaId::new(NodeId(1), Incarnation(1)), ReplicaId::new(NodeId(2), Incarnation(1)));
/// let (mut a, mut b) = (GCounter::new(), GCounter::new());
/// a.update(|counter| counter.count(here, 2))?;
/// b.update(|counter| counter.count(there, 3))?;
/// a.merge(&b);
/// a.merge(&b);
/// assert_eq!(a.total(), 5);
/// # Ok::<(), tiebeam_crdt::MintError>(())
/// ```
pub type GCounter = DotStore<ReplicaId, Count>;

/// A counter that grows and shrinks: the sum of what each replica counted. See [`GCounter`] for who is counted.
///
/// ```
/// use tiebeam_crdt::{PnCounter, ReplicaId};
/// use tiebeam_wire::{Incarnation, NodeId};
///
/// let here = ReplicaId::new(NodeId(1), Incarnation(1));
/// let mut sessions = PnCounter::new();
/// sessions.update(|counter| counter.count(here, 3))?;
/// sessions.update(|counter| counter.count(here, -5))?;
/// assert_eq!(sessions.total(), -2);
/// # Ok::<(), tiebeam_crdt::MintError>(())
/// ```
pub type PnCounter = DotStore<ReplicaId, Tally>;

impl GCounter {
    /// Returns the delta by which `replica` counts `by` further. Its count stays at 2^64 - 1 once it is there.
    ///
    /// # Errors
    /// As [`CausalContext::next`](crate::CausalContext::next).
    pub fn count(&self, replica: ReplicaId, by: u64) -> Result<Self, MintError> {
        let count = self.get(&replica).copied().unwrap_or_default();
        let seen = self.dots_of(&replica).to_vec();
        self.written(replica, replica, Count(count.0.saturating_add(by)), seen)
    }

    /// Returns the sum.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.total_seen(&Live::Everyone)
    }

    /// Returns the sum of what the replicas in `live` counted.
    #[must_use]
    pub fn total_seen(&self, live: &Live) -> u128 {
        self.iter_seen(live).map(|(_, count)| u128::from(count.0)).sum()
    }
}

impl PnCounter {
    /// Returns the delta by which `replica` counts `by` further, down if it is negative. Each direction stays at 2^64 - 1
    /// once it is there.
    ///
    /// # Errors
    /// As [`CausalContext::next`](crate::CausalContext::next).
    pub fn count(&self, replica: ReplicaId, by: i64) -> Result<Self, MintError> {
        let mut tally = self.get(&replica).copied().unwrap_or_default();
        let direction = if by < 0 { &mut tally.down } else { &mut tally.up };
        *direction = direction.saturating_add(by.unsigned_abs());
        let seen = self.dots_of(&replica).to_vec();
        self.written(replica, replica, tally, seen)
    }

    /// Returns the sum.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.total_seen(&Live::Everyone)
    }

    /// Returns the sum of what the replicas in `live` counted.
    #[must_use]
    pub fn total_seen(&self, live: &Live) -> i128 {
        self.iter_seen(live).map(|(_, tally)| i128::from(tally.up) - i128::from(tally.down)).sum()
    }
}
