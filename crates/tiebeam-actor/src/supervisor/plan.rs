//! What a supervisor does about a child that ended. Pure.

use std::ops::Range;

use super::{Restart, Strategy};
use crate::ExitReason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Restart,
    /// Not restarted, but its spec stays.
    Keep,
    Forget,
}

pub(super) fn fate(restart: Restart, reason: &ExitReason) -> Fate {
    match restart {
        Restart::Permanent => Fate::Restart,
        Restart::Transient if reason.is_abnormal() => Fate::Restart,
        Restart::Transient => Fate::Keep,
        Restart::Temporary => Fate::Forget,
    }
}

/// Returns whom of `len` children the restart of the one at `index` concerns.
pub(super) const fn scope(strategy: Strategy, index: usize, len: usize) -> Range<usize> {
    match strategy {
        Strategy::OneForOne => index..index + 1,
        Strategy::OneForAll => 0..len,
        Strategy::RestForOne => index..len,
    }
}
