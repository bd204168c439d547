use serde::{Deserialize, Serialize};

use crate::credits::NoCredit;
use crate::{ExitReason, Pid};

/// Why a call has no answer. The variants are in wire order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallError {
    /// The time is up. The callee may have handled the call, or may yet; its late answer goes nowhere.
    #[error("call timed out")]
    Timeout,
    /// There is no such actor. The call was not handled.
    #[error("no such process")]
    NoProc,
    /// The callee's node can't be reached, or the connection was lost. The call may have been handled.
    #[error("no connection to the node")]
    NoConnection,
    /// The callee ended before it answered. The call may have been handled in part.
    #[error("callee ended: {0}")]
    Exit(ExitReason),
    /// The callee's mailbox stayed full. The call was not handled.
    #[error("mailbox is full")]
    Overloaded,
    /// The callee does not know this message, or one side can't decode what the other wrote. A call from another node
    /// to a message that the actor's table doesn't hold ends so.
    #[error("message is unknown to the callee, or can't be decoded")]
    Incompatible,
    /// The callee dropped the call's [`ReplyTo`](crate::ReplyTo) without an answer.
    #[error("callee dropped the call without an answer")]
    Unanswered,
}

impl CallError {
    /// Says whether the call was certainly not handled, so that trying again can't do its work twice.
    #[must_use]
    pub const fn is_unhandled(&self) -> bool {
        matches!(self, Self::NoProc | Self::Overloaded | Self::Incompatible)
    }
}

impl From<NoCredit> for CallError {
    fn from(no_credit: NoCredit) -> Self {
        match no_credit {
            NoCredit::Full => Self::Overloaded,
            NoCredit::Closed => Self::NoProc,
        }
    }
}

/// A node can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection to the node")]
pub struct NoConnection;

/// Why a name was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another process has it.
    #[error("name {name:?} is taken by {holder}")]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        holder: Pid,
    },
    /// There is no such process on this node.
    #[error("{pid} is no process of this node")]
    NoProc {
        /// The pid that was to be named.
        pid: Pid,
    },
}
