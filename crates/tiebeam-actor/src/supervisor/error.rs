use crate::{CallError, ExitReason};

/// Why a supervisor did not do what was asked of a child.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// There is a child with this id.
    #[error("child {id:?} exists already")]
    Exists {
        /// The child's id.
        id: String,
    },
    /// There is no child with this id.
    #[error("child {id:?} does not exist")]
    Missing {
        /// The child's id.
        id: String,
    },
    /// The child runs or is being restarted, and only one that is stopped can be restarted or deleted by hand.
    #[error("child {id:?} is not stopped")]
    Running {
        /// The child's id.
        id: String,
    },
    /// The supervisor has as many children as it may.
    #[error("supervisor has {limit} children already, which is the limit")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The child's spec combines what can't go together; see [`ChildSpec::significant`](crate::ChildSpec::significant).
    #[error("child {id:?} can't be significant: it is permanent, or its supervisor has no auto-shutdown")]
    Significant {
        /// The child's id.
        id: String,
    },
    /// The child did not start; with [`ExitReason::Ignore`] it chose not to.
    #[error("child did not start: {reason}")]
    Start {
        /// Why.
        reason: ExitReason,
    },
    /// The supervisor did not answer.
    #[error("supervisor did not answer")]
    Call(#[from] CallError),
}
