//! The actor of a node by which messages of other nodes come in.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, CallError, Ctx, Deferred, ExitReason, ReplyTo, Table};
use tiebeam_wire::NodeId;

use super::host::Letter;
use crate::node::Node;

/// How many messages of other nodes wait for the gate.
pub(super) const MAILBOX_MESSAGES_MAX: u32 = 65_536;

/// A message for a virtual actor; the order of fields is the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deliver {
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) mode: Mode,
    pub(super) tag: u32,
    pub(super) body: Bytes,
    pub(super) timeout_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    Call,
    /// Answered as soon as the message is in the mailbox.
    Cast,
}

/// Why there is no answer; the order of variants is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Nothing was done; this node has the actor, or should have. None: ask again.
    Moved(Option<NodeId>),
    /// The node doesn't host the kind. Nothing was done.
    NoKind,
    /// Too much waits there already. Nothing was done.
    Overloaded,
    /// The actor doesn't start. Nothing was done.
    Start(ExitReason),
    /// The actor has it, or had.
    Call(CallError),
}

/// Hands in what other nodes send.
pub(crate) struct Gate {
    node: Weak<Node>,
}

impl Actor for Gate {
    type Args = Weak<Node>;

    async fn init(node: Weak<Node>, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { node })
    }

    fn table() -> Table<Self> {
        Table::new().call_deferred::<Deliver>(1)
    }
}

impl Deferred<Deliver> for Gate {
    type Reply = Result<Bytes, Refusal>;

    async fn handle_call(&mut self, deliver: Deliver, reply_to: ReplyTo<Self::Reply>, _: &mut Ctx<Self>) {
        let Some(node) = self.node.upgrade() else { return };
        let Deliver { kind, key, mode, tag, body, timeout_ms } = deliver;
        let deadline = tiebeam_world::now() + Duration::from_millis(u64::from(timeout_ms));
        let letter = Letter { mode, tag, body, deadline, answer: Box::new(|answer| reply_to.send(answer)) };
        super::host::deliver(&node, &kind, &key, letter);
    }
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::codec;

    use super::*;

    /// Who changes these bytes changes what nodes of two versions say to each other.
    #[test]
    fn messages_and_refusals_are_golden() {
        let body = Bytes::from_static(b"x");
        let deliver = Deliver { kind: "k".into(), key: "a".into(), mode: Mode::Cast, tag: 3, body, timeout_ms: 9 };
        assert_eq!(codec::encode(1, &deliver), [1, 1, b'k', 1, b'a', 1, 3, 1, b'x', 9]);
        assert_eq!(codec::encode(1, &Refusal::Moved(Some(NodeId(2)))), [1, 0, 1, 2]);
        assert_eq!(codec::encode(1, &Refusal::NoKind), [1, 1]);
        assert_eq!(codec::encode(1, &Refusal::Overloaded), [1, 2]);
        assert_eq!(codec::encode(1, &Refusal::Start(ExitReason::Killed)), [1, 3, 3]);
        assert_eq!(codec::encode(1, &Refusal::Call(CallError::NoProc)), [1, 4, 1]);
    }
}
