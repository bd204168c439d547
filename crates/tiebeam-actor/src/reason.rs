use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an actor ended. The variants are in wire order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// Its work was done. Linked actors that don't trap exits don't notice.
    Normal,
    /// It was asked to stop, as a supervisor does.
    Shutdown,
    /// The order that can't be trapped. Its victim ends as [`ExitReason::Killed`].
    Kill,
    /// It was killed.
    Killed,
    /// There was no such process.
    NoProc,
    /// The connection to its node was lost; the actor itself may live on.
    NoConnection,
    /// It panicked, with this message.
    Panic(String),
    /// What the application says.
    Other(String),
    /// Only as the result of a start: `init` chose not to run, and nothing is wrong. The process ends as
    /// [`ExitReason::Normal`]; a supervisor keeps such a child's spec, without a process.
    Ignore,
}

impl ExitReason {
    /// Text of a panic beyond this many bytes is cut: the reason is copied to every linked actor.
    pub(crate) const TEXT_BYTES_MAX: usize = 4096;

    /// Says whether somebody should hear about it: anything but an end that was meant.
    #[must_use]
    pub const fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown | Self::Ignore)
    }

    /// Makes a reason of what `error` says, for starts that fail: `.map_err(ExitReason::other)?`.
    pub fn other(error: impl fmt::Display) -> Self {
        Self::Other(error.to_string())
    }

    pub(crate) fn panicked(payload: Box<dyn std::any::Any + Send>) -> Self {
        let mut text = tiebeam_world::panic_message(&*payload);
        if text.len() > Self::TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(Self::TEXT_BYTES_MAX));
        }
        crate::process::quietly(|| drop(payload));
        Self::Panic(text)
    }
}

impl std::error::Error for ExitReason {}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Kill => f.write_str("kill"),
            Self::Killed => f.write_str("killed"),
            Self::NoProc => f.write_str("no such process"),
            Self::NoConnection => f.write_str("no connection"),
            Self::Panic(text) => write!(f, "panicked: {text}"),
            Self::Other(text) => f.write_str(text),
            Self::Ignore => f.write_str("ignore"),
        }
    }
}
