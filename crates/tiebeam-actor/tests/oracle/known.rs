//! Differences from OTP that are known and not mended yet. Random scenarios step around them, so that others show. A
//! test holds that each is still there: who mends one says so here, and the scenario then guards it.

use crate::scenario::{Kind, Scenario};

/// A process that ends leaves its monitors behind in those it watched: they go on listing it, and keep the entry until
/// they end. In OTP a monitor ends with its watcher.
pub(crate) const WATCHERS_STAY_WHEN_THEY_DIE: bool = false;

/// A callee that stops without an answer, and whose `terminate` waits for something, tells its caller
/// [`CallError::Unanswered`](tiebeam_actor::CallError::Unanswered) instead of the reason of its end.
pub(crate) const STOPPING_CALLEE_IS_UNANSWERED: bool = false;

/// A caller whose own exit signal ended the callee, before the call, hears why the callee ended. In OTP it hears
/// `noproc`: the exit was sent first, so the call finds nobody.
pub(crate) const CALL_BEHIND_OWN_EXIT_HEARS_REASON: bool = false;

/// A child whose parent is killed while the child is in `init` is not told: it goes on with `init`, linked to nobody
/// alive, and is ended only when `init` is done, if ever. In OTP the link ends it, or tells it if it traps exits.
pub(crate) const CHILD_IN_INIT_OUTLIVES_ITS_PARENT: bool = false;

/// Whether each is still there, and the scenario that shows it.
pub(crate) fn differences() -> Vec<(bool, Scenario)> {
    let listed: [(bool, &[&str]); 5] = [
        (WATCHERS_STAY_WHEN_THEY_DIE, &["spawn p1 plain -", "spawn p2 plain -", "do p2 monitor:p1:m1 end:shutdown"]),
        (STOPPING_CALLEE_IS_UNANSWERED, &["spawn p1 plain -", "spawn p2 plain -", "do p2 call:p1:end:x1"]),
        (
            CALL_BEHIND_OWN_EXIT_HEARS_REASON,
            &["spawn p1 plain -", "spawn p2 plain -", "do p2 exit:p1:x1 call:p1:reply"],
        ),
        (CHILD_IN_INIT_OUTLIVES_ITS_PARENT, &["spawn p1 trap -", "spawnslow p3 plain p1", "outside p1 kill"]),
        (
            CHILD_IN_INIT_OUTLIVES_ITS_PARENT,
            &["spawn p1 trap -", "spawnslow p3 trap p1", "outside p1 kill", "release p3"],
        ),
    ];
    listed.into_iter().map(|(is_there, steps)| (is_there, Scenario::by_hand(Kind::Processes, steps))).collect()
}
