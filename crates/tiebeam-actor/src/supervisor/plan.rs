//! What a supervisor does about a child that ended. Pure.

use std::ops::Range;

use super::{AutoShutdown, ChildState, Restart, Strategy};
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

/// Says whether the supervisor ends because a significant child did; `others` are the significant children that it still
/// knows. One whose restart is being tried again counts as alive, as in supervisor.erl.
pub(super) fn shuts_down(auto_shutdown: AutoShutdown, mut others: impl Iterator<Item = ChildState>) -> bool {
    match auto_shutdown {
        AutoShutdown::Never => false,
        AutoShutdown::AnySignificant => true,
        AutoShutdown::AllSignificant => others.all(|state| state == ChildState::Stopped),
    }
}
