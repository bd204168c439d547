use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of a hybrid logical clock: near the wall clock, and later than all the clock had heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Which of the moments within that millisecond.
    pub logical: u32,
}

/// A stamp that is too far ahead to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stamp is {ahead_ms} ms ahead of this node's clock, more than the limit of {drift_max_ms} ms")]
pub struct DriftError {
    /// How far ahead it is.
    pub ahead_ms: u64,
    /// How far is allowed.
    pub drift_max_ms: u64,
}

/// Stamps what this replica puts. Pure: the wall clock's milliseconds are handed in at each call.
///
/// Stamps decide nothing but between puts that didn't know of each other, so a wrong clock can lose a meeting and no more.
/// Still it shall not spread: a stamp too far ahead isn't followed, or one node's year 2100 would become everybody's. The
/// entry that carries it stays as it is, since replicas that each clamped it by their own clock would never agree.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_crdt::{Hlc, Stamp};
///
/// let mut clock = Hlc::new(Duration::from_secs(1));
/// clock.observe(1_000, Stamp { wall_ms: 1_400, logical: 7 })?;
/// assert_eq!(clock.stamp(1_001), Stamp { wall_ms: 1_400, logical: 8 });
/// assert!(clock.observe(1_002, Stamp { wall_ms: 9_000, logical: 0 }).is_err());
/// assert_eq!(clock.stamp(1_500), Stamp { wall_ms: 1_500, logical: 0 });
/// # Ok::<(), tiebeam_crdt::DriftError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hlc {
    last: Stamp,
    drift_max: Duration,
    refused: u64,
}

impl Hlc {
    /// Makes a clock that follows others at most `drift_max` ahead of this node's wall clock.
    #[must_use]
    pub const fn new(drift_max: Duration) -> Self {
        Self { last: Stamp { wall_ms: 0, logical: 0 }, drift_max, refused: 0 }
    }

    /// Returns a stamp later than all that were returned or observed, at the wall clock's `wall_ms`.
    ///
    /// A wall clock that jumps back is waited for by counting; so stamps keep their order.
    pub fn stamp(&mut self, wall_ms: u64) -> Stamp {
        self.last = if wall_ms > self.last.wall_ms {
            Stamp { wall_ms, logical: 0 }
        } else if let Some(logical) = self.last.logical.checked_add(1) {
            Stamp { wall_ms: self.last.wall_ms, logical }
        } else {
            Stamp { wall_ms: self.last.wall_ms.saturating_add(1), logical: 0 }
        };
        self.last
    }

    /// Takes in the stamp of a remote put, so that the next one here is later.
    ///
    /// # Errors
    /// [`DriftError`] if it is too far ahead of `wall_ms`; the clock stays as it is, and [`Hlc::refused`] counts it.
    pub fn observe(&mut self, wall_ms: u64, remote: Stamp) -> Result<(), DriftError> {
        let ahead_ms = remote.wall_ms.saturating_sub(wall_ms);
        let drift_max_ms = u64::try_from(self.drift_max.as_millis()).unwrap_or(u64::MAX);
        if ahead_ms > drift_max_ms {
            self.refused = self.refused.saturating_add(1);
            return Err(DriftError { ahead_ms, drift_max_ms });
        }
        self.last = self.last.max(remote);
        Ok(())
    }

    /// Returns the latest stamp that was returned or observed.
    #[must_use]
    pub const fn last(&self) -> Stamp {
        self.last
    }

    /// Returns how many stamps were too far ahead.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRIFT_MAX: Duration = Duration::from_millis(500);

    #[test]
    fn wall_clock_that_jumps_back_is_waited_for() {
        let mut clock = Hlc::new(DRIFT_MAX);
        let stamps: Vec<Stamp> = [100, 40, 40, 101].into_iter().map(|wall| clock.stamp(wall)).collect();
        let expected = [(100, 0), (100, 1), (100, 2), (101, 0)];
        assert_eq!(stamps, expected.map(|(wall_ms, logical)| Stamp { wall_ms, logical }));
    }

    #[test]
    fn stamp_at_the_limit_is_followed_and_one_beyond_is_counted() {
        let mut clock = Hlc::new(DRIFT_MAX);
        assert_eq!(clock.observe(1_000, Stamp { wall_ms: 1_500, logical: 0 }), Ok(()));
        let beyond = clock.observe(1_000, Stamp { wall_ms: 1_501, logical: 0 });
        assert_eq!(beyond, Err(DriftError { ahead_ms: 501, drift_max_ms: 500 }));
        assert_eq!((clock.last().wall_ms, clock.refused()), (1_500, 1));
    }

    #[test]
    fn logical_part_carries_into_the_wall_part() {
        let mut clock = Hlc::new(DRIFT_MAX);
        clock.observe(7, Stamp { wall_ms: 7, logical: u32::MAX }).unwrap();
        assert_eq!(clock.stamp(7), Stamp { wall_ms: 8, logical: 0 });
    }

    proptest! {
        /// Two puts of one replica with one stamp, or in the wrong order, would let the earlier one win.
        #[test]
        fn stamps_only_grow_and_stay_near_the_wall(steps in prop::collection::vec((0..2_000_u64, 0..4_000_u64), 1..60)) {
            let mut clock = Hlc::new(DRIFT_MAX);
            let (mut last, mut wall_max) = (Stamp::default(), 0);
            for (wall, remote) in steps {
                let _ = clock.observe(wall, Stamp { wall_ms: remote, logical: 3 });
                let stamp = clock.stamp(wall);
                wall_max = wall.max(wall_max);
                prop_assert!(stamp > last);
                prop_assert!(stamp.wall_ms <= wall_max + 500, "{stamp:?} at {wall_max}");
                last = stamp;
            }
        }
    }
}
