//! Differences from OTP that are known and not mended yet. The scenarios step around them, so that others show; mend
//! one, then delete its constant and what asks for it.

/// A process that ends leaves its monitors behind in those it watched: they go on listing it, and keep the entry until
/// they end. In OTP a monitor ends with its watcher.
///
/// `spawn p1 plain -`, `spawn p2 plain -`, `do p2 monitor:p1:m1 end:shutdown`: p1 is still watched by p2.
pub(crate) const WATCHERS_STAY_WHEN_THEY_DIE: bool = true;

/// A callee that stops without an answer, and whose `terminate` waits for something, tells its caller
/// [`CallError::Unanswered`](tiebeam_actor::CallError::Unanswered) instead of the reason of its end.
///
/// `spawn p1 plain -`, `spawn p2 plain -`, `do p2 call:p1:end:x1`: p2 hears `Unanswered` instead of `ended x1`.
pub(crate) const STOPPING_CALLEE_IS_UNANSWERED: bool = true;

/// A caller whose own exit signal ended the callee, before the call, hears why the callee ended. In OTP it hears
/// `noproc`: the exit was sent first, so the call finds nobody.
///
/// `spawn p1 plain -`, `spawn p2 plain -`, `do p2 exit:p1:x1 call:p1:reply`: p2 hears `ended x1` instead of `noproc`.
pub(crate) const CALL_BEHIND_OWN_EXIT_HEARS_REASON: bool = true;

/// A child whose parent is killed while the child is in `init` is not told: it goes on with `init`, linked to nobody
/// alive, and is ended only when `init` is done, if ever. In OTP the link ends it, or tells it if it traps exits.
///
/// `spawn p1 trap -`, `spawnslow p3 plain p1`, `outside p1 kill`: p3 lives on, it should have died as `killed`.
pub(crate) const CHILD_IN_INIT_OUTLIVES_ITS_PARENT: bool = true;
