//! What travels between the actors of two nodes.
//!
//! All signals between one sender and one receiver must arrive in the order in which they were routed, or not at all; a
//! lost connection ends with [`System::node_down`](crate::System::node_down) on both sides. [`RemoteSignal::pair`] names
//! the two ends, so that a lane can be chosen. The variants and their fields are in wire order and are never reordered.

mod frame;

use std::pin::Pin;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_wire::NodeId;

use crate::{CallError, ExitReason, NoConnection, Pid, Ref};

/// The version byte of messages, replies and [`RemoteSignal`]s in `tiebeam_wire::codec`.
pub(crate) const CODEC_VERSION: u8 = 1;

/// Carries signals to other nodes; `cluster` implements it.
pub trait Router: Send + Sync {
    /// Takes `signal` for node `to`, in order, without waiting. If more waits on the way there than should, returns what
    /// tells when there is [`Room`]: senders that can wait do, others need not.
    ///
    /// # Errors
    /// [`NoConnection`]: it was not taken. What was taken and is lost later is told by
    /// [`System::node_down`](crate::System::node_down), after which nothing more of that connection is delivered.
    fn route(&self, to: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection>;

    /// Sends what it has gathered. Called after [`Router::route`]: at once outside of actors; for actors when their worker
    /// has nothing else to do, and after the first turn that ends 50 us later, so that one packet carries what many send.
    fn flush(&self) {}

    /// Takes in what has arrived, if something is likely to have and that can be done here and now. Called again and again
    /// by a worker with nothing else to do. After [`Polled::Arrived`], [`Router::flush`] follows as after [`Router::route`].
    fn poll(&self) -> Polled {
        Polled::Quiet
    }

    /// Takes in what has arrived, if that can be done here and now. Called now and then by a worker that has much to do, or
    /// what arrives would wait until it has nothing to do; followed by [`Router::flush`] as `poll` is.
    fn look(&self) {}
}

/// Is ready when there is room on the way to another node, or no way any more. Cancel safe.
pub type Room = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What [`Router::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Something has arrived and was delivered.
    Arrived,
    /// Nothing, but something has arrived a moment ago: looking again is cheaper than being woken.
    Hot,
    /// Nothing, and there is no reason to look again.
    Quiet,
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dest {
    /// This process.
    Pid(Pid),
    /// Whoever has this name on the node when the message arrives.
    Name(String),
}

/// Where an exit signal comes from; decides what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExitKind {
    /// The other end of a link ended. Ignored if there is no such link any more.
    Link,
    /// A link could not be made or the connection below it was lost.
    Broken,
    /// Somebody sent it on purpose. Only this kind of `Kill` kills.
    Sent,
}

/// A signal from a process of one node to a process of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RemoteSignal {
    /// A call or a cast.
    Message {
        /// The sender; serial 0 if it is no actor.
        from: Pid,
        /// The receiver.
        to: Dest,
        /// Which entry of the receiver's [`Table`](crate::Table).
        tag: u32,
        /// The message, as the table encodes it.
        body: Bytes,
        /// Where the answer goes; none for a cast.
        reply: Option<Ref>,
        /// For how long the caller still waits, in milliseconds; 0 for a cast.
        deadline_ms: u32,
    },
    /// The answer to a call.
    Reply {
        /// The callee.
        from: Pid,
        /// The caller.
        to: Pid,
        /// The call.
        call: Ref,
        /// The answer, as the table encodes it, or why there is none.
        result: Result<Bytes, CallError>,
    },
    /// `from` links itself to `to`.
    Link {
        /// Who asked.
        from: Pid,
        /// The other end.
        to: Pid,
    },
    /// `from` dissolves its link to `to`.
    Unlink {
        /// Who asked.
        from: Pid,
        /// The other end.
        to: Pid,
        /// Counts the sender's unlinks; comes back in the acknowledgement.
        id: u64,
    },
    /// `from` has dissolved its end as asked by an `Unlink`.
    UnlinkAck {
        /// Who was asked.
        from: Pid,
        /// Who asked.
        to: Pid,
        /// The `Unlink`'s id.
        id: u64,
    },
    /// An exit signal.
    Exit {
        /// Who ended or who sent it.
        from: Pid,
        /// Whom it is for.
        to: Pid,
        /// Why.
        reason: ExitReason,
        /// What made it.
        kind: ExitKind,
    },
    /// `from` watches `to`.
    Monitor {
        /// The watcher.
        from: Pid,
        /// The watched.
        to: Pid,
        /// The watcher's name for this monitor.
        monitor: Ref,
    },
    /// `from` no longer watches `to`.
    Demonitor {
        /// The watcher.
        from: Pid,
        /// The watched.
        to: Pid,
        /// Which monitor.
        monitor: Ref,
    },
    /// `from`, which `to` watched, is gone.
    Down {
        /// The watched.
        from: Pid,
        /// The watcher.
        to: Pid,
        /// Which monitor.
        monitor: Ref,
        /// Why.
        reason: ExitReason,
    },
    /// `from` has no room for casts: senders on `to`'s node are to wait.
    Full {
        /// Whose mailbox is full.
        from: Pid,
        /// The node's root.
        to: Pid,
    },
    /// `from` has room again, or has ended.
    Room {
        /// Whose mailbox was full.
        from: Pid,
        /// The node's root.
        to: Pid,
    },
}

impl RemoteSignal {
    /// Returns how many bytes it carries that the sender or the answerer chose.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Message { body, .. } | Self::Reply { result: Ok(body), .. } => body.len(),
            _ => 0,
        }
    }

    /// Returns the sender and, if it is named by a pid, the receiver: what a lane is chosen by.
    #[must_use]
    pub const fn pair(&self) -> (Pid, Option<Pid>) {
        match self {
            Self::Message { from, to, .. } => match to {
                Dest::Pid(to) => (*from, Some(*to)),
                Dest::Name(_) => (*from, None),
            },
            Self::Reply { from, to, .. }
            | Self::Link { from, to }
            | Self::Unlink { from, to, .. }
            | Self::UnlinkAck { from, to, .. }
            | Self::Exit { from, to, .. }
            | Self::Monitor { from, to, .. }
            | Self::Demonitor { from, to, .. }
            | Self::Down { from, to, .. }
            | Self::Full { from, to }
            | Self::Room { from, to } => (*from, Some(*to)),
        }
    }
}
