//! Messages to actors of other nodes.

use std::any::Any;

use tiebeam_wire::{Instant, NodeId};

use crate::raw::current;
use crate::remote::RemoteSignal;
use crate::table::table_of;
use crate::{Actor, CallError, Dest, Room, System};

/// Sends a cast; returns what the sender is to wait for before its next one, if it can.
pub(super) fn cast<A: Actor, M: Send + 'static>(
    system: &System,
    node: NodeId,
    to: Dest,
    message: &M,
) -> Result<Option<Room>, CallError> {
    let entry = table_of::<A>().entry_of::<M>().ok_or(CallError::Incompatible)?;
    let body = (entry.encode)(message).ok_or(CallError::Incompatible)?.into();
    let from = current::sender(system);
    let signal = RemoteSignal::Message { from, to, tag: entry.tag, body, reply: None, deadline_ms: 0 };
    system.route(node, signal).map_err(|_| CallError::NoConnection)
}

pub(super) async fn call<A: Actor, M: Send + 'static, R: Send + 'static>(
    system: &System,
    node: NodeId,
    to: Dest,
    message: M,
    deadline: Instant,
) -> Result<R, CallError> {
    let (tag, body, decode_reply) = {
        let entry = table_of::<A>().entry_of::<M>().ok_or(CallError::Incompatible)?;
        (entry.tag, (entry.encode)(&message).ok_or(CallError::Incompatible)?.into(), entry.decode_reply)
    };
    drop(message);
    if let Dest::Pid(pid) = to
        && system.is_full_abroad(pid)
    {
        let left = deadline.since(tiebeam_world::now());
        tiebeam_world::timeout(left, system.until_room_abroad(pid)).await.map_err(|_| CallError::Overloaded)?;
    }
    let mut pending = system.begin_call(node, &to)?;
    let left = deadline.since(tiebeam_world::now());
    let deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
    let (from, reply) = (current::sender(system), Some(pending.call));
    let signal = RemoteSignal::Message { from, to, tag, body, reply, deadline_ms };
    system.route(node, signal).map_err(|_| CallError::NoConnection)?;
    let answer = tiebeam_world::timeout(left, &mut pending.answer).await.map_err(|_| CallError::Timeout)?;
    let body = answer.unwrap_or(Err(CallError::NoConnection))?;
    let reply: Box<dyn Any + Send> = decode_reply(&body).map_err(|error| {
        tracing::warn!(%node, tag, %error, "reply of another node can't be decoded");
        CallError::Incompatible
    })?;
    reply.downcast::<R>().map(|reply| *reply).map_err(|_| CallError::Incompatible)
}
