//! Signals to and from other nodes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::oneshot;

use super::System;
use crate::cell::{Delivered, Filling, Inbound, Signal};
use crate::reply::RemoteCaller;
use crate::scheduler::{Gathers, yield_now};
use crate::{CallError, Dest, ExitReason, NoConnection, Pid, Ref, RemoteSignal, Room, Router};

/// Calls to other nodes that wait for their answer, by the serial of their [`Ref`].
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    node: NodeId,
    /// Unknown if a name was called.
    incarnation: Option<Incarnation>,
    caller: oneshot::Sender<Result<Bytes, CallError>>,
}

/// A call to another node; forgets itself when dropped, so that a late answer finds nobody.
#[derive(Debug)]
pub(crate) struct PendingCall {
    system: System,
    pub(crate) call: Ref,
    pub(crate) answer: oneshot::Receiver<Result<Bytes, CallError>>,
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.system.calls().waiting.remove(&self.call.serial);
    }
}

impl System {
    /// Installs what carries signals to other nodes. Without it they fail with `NoConnection`.
    pub fn install_router(&self, router: Arc<dyn Router>) {
        *self.inner.router.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    /// Takes in a signal that `from` sent. Never waits; must be called in the order of arrival.
    ///
    /// A signal for a process that is gone, or of another incarnation of this node, is answered with `NoProc`.
    pub fn deliver(&self, from: NodeId, signal: RemoteSignal) {
        let sender = signal.pair().0;
        if sender.node != from || from == self.node() {
            tracing::warn!(%from, %sender, "signal names a sender of another node, dropped");
            return;
        }
        match signal {
            RemoteSignal::Message { from, to, tag, body, reply, deadline_ms } => {
                self.deliver_message(from, to, tag, body, reply.map(|call| (call, deadline_ms)));
            }
            RemoteSignal::Reply { from, call, result, .. } => self.deliver_reply(from, call, result),
            RemoteSignal::Link { from, to } => self.deliver_signal(to, Signal::Link { from }),
            RemoteSignal::Unlink { from, to, id } => self.deliver_signal(to, Signal::Unlink { from, id }),
            RemoteSignal::UnlinkAck { from, to, id } => self.deliver_signal(to, Signal::UnlinkAck { from, id }),
            RemoteSignal::Exit { from, to, reason, kind } => {
                self.deliver_signal(to, Signal::Exit { from, reason, kind });
            }
            RemoteSignal::Monitor { from, to, monitor } => self.deliver_signal(to, Signal::Monitor { from, monitor }),
            RemoteSignal::Demonitor { from, to, monitor } => {
                self.deliver_signal(to, Signal::Demonitor { from, monitor });
            }
            RemoteSignal::Down { from, to, monitor, reason } => {
                self.deliver_signal(to, Signal::Down { from, monitor, reason });
            }
            RemoteSignal::Full { from, .. } => self.full_abroad(from),
            RemoteSignal::Room { from, .. } => self.room_abroad(from),
        }
    }

    /// Gives an actor of this node a call as its table encodes it, at once, and returns what waits for the answer, encoded
    /// too. For whoever carries calls in ways of its own.
    ///
    /// # Errors
    /// As a call from another node; here at once [`CallError::NoProc`], [`CallError::Incompatible`] and
    /// [`CallError::Overloaded`], if the actor didn't get it.
    pub fn forward_call(
        &self,
        to: Pid,
        tag: u32,
        body: Bytes,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<Bytes, CallError>> + Send + use<>, CallError> {
        let process = self.process(to).ok_or(CallError::NoProc)?;
        let mut pending = self.begin_call(self.node(), &Dest::Pid(to))?;
        let deadline = tiebeam_world::now() + timeout;
        let caller =
            RemoteCaller { system: self.clone(), callee: to, caller: self.root(), call: pending.call, deadline };
        let inbound = Inbound { tag, body, caller: Some(caller) };
        process.try_deliver(inbound, Filling::ToTheBrim).map_err(|refused| refused.1)?;
        Ok(async move {
            let left = deadline.since(tiebeam_world::now());
            let answer = tiebeam_world::timeout(left, &mut pending.answer).await.map_err(|_| CallError::Timeout)?;
            answer.unwrap_or(Err(CallError::Unanswered))
        })
    }

    /// Gives an actor of this node a message as its table encodes it, without an answer.
    ///
    /// # Errors
    /// As [`System::forward_call`] at once.
    pub fn forward_cast(&self, to: Pid, tag: u32, body: Bytes) -> Result<(), CallError> {
        let process = self.process(to).ok_or(CallError::NoProc)?;
        let delivered = process.try_deliver(Inbound { tag, body, caller: None }, Filling::ToTheBrim);
        delivered.map(drop).map_err(|refused| refused.1)
    }

    /// Declares the connection to this start of `node` lost: every link, monitor and call across it ends with
    /// `NoConnection`, once. Nothing that came over the lost connection may be delivered afterwards.
    pub fn node_down(&self, node: NodeId, incarnation: Incarnation) {
        let lost: Vec<_> = {
            let mut calls = self.calls();
            let is_lost = |call: &Waiting| call.node == node && call.incarnation.is_none_or(|i| i == incarnation);
            calls.waiting.extract_if(.., |_, call| is_lost(call)).map(|(_, call)| call.caller).collect()
        };
        for caller in lost {
            let _ = caller.send(Err(CallError::NoConnection));
        }
        self.pressure_down(node, incarnation);
        for process in self.inner.processes.all() {
            // A million actors that never heard of another node are not woken.
            if process.marks().has_foreign_ties.load(Ordering::SeqCst) {
                let _ = process.signal(Signal::NodeDown { node, incarnation });
            }
        }
    }

    /// Sends to another node.
    pub(crate) fn route(&self, to: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        let router = self.inner.router.read().unwrap_or_else(PoisonError::into_inner);
        let router = router.as_ref().ok_or(NoConnection)?;
        let bytes = signal.body_bytes();
        let room = router.route(to, signal)?;
        // A worker gathers what its processes send.
        match self.inner.scheduler.gathers(bytes) {
            Gathers::No => router.flush(),
            Gathers::More => {}
            // Who sends much at once lets others have their turn, and what they get is looked for.
            Gathers::Full => return Ok(room.or_else(|| Some(Box::pin(yield_now())))),
        }
        Ok(room)
    }

    /// Notes a call to another node.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] if too many wait already.
    pub(crate) fn begin_call(&self, node: NodeId, to: &Dest) -> Result<PendingCall, CallError> {
        let incarnation = match to {
            Dest::Pid(pid) => Some(pid.incarnation),
            Dest::Name(_) => None,
        };
        let call = self.fresh_ref();
        let (caller, answer) = oneshot::channel();
        let mut calls = self.calls();
        if calls.waiting.len() >= self.inner.config.remote_calls_max as usize {
            return Err(CallError::Overloaded);
        }
        calls.waiting.insert(call.serial, Waiting { node, incarnation, caller });
        drop(calls);
        Ok(PendingCall { system: self.clone(), call, answer })
    }

    pub(super) fn send_abroad(&self, to: Pid, signal: Signal) {
        let Some(routed) = abroad(to, &signal) else {
            return self.bounce(to, signal, ExitReason::NoProc);
        };
        if self.route(to.node, routed).is_err() {
            self.bounce(to, signal, ExitReason::NoConnection);
        }
    }

    fn deliver_signal(&self, to: Pid, signal: Signal) {
        if let Some(process) = self.process(to) {
            process.marks().has_foreign_ties.store(true, Ordering::SeqCst);
        }
        if self.is_local(to) {
            self.send(to, signal);
        } else {
            tracing::warn!(%to, "signal for another node arrived here, dropped");
        }
    }

    fn deliver_message(&self, from: Pid, to: Dest, tag: u32, body: Bytes, call: Option<(Ref, u32)>) {
        let pid = match &to {
            Dest::Pid(pid) => Some(*pid),
            Dest::Name(name) => self.whereis(name),
        };
        let caller = call.map(|(call, deadline_ms)| RemoteCaller {
            system: self.clone(),
            callee: pid.unwrap_or(self.inner.root),
            caller: from,
            call,
            deadline: tiebeam_world::now() + Duration::from_millis(u64::from(deadline_ms)),
        });
        let inbound = Inbound { tag, body, caller };
        let Some((pid, process)) = pid.and_then(|pid| Some((pid, self.process(pid)?))) else {
            return inbound.refuse(CallError::NoProc);
        };
        // Whoever calls can be told that there is no room, whoever casts can't.
        let filling = if inbound.caller.is_some() { Filling::ToTheBrim } else { Filling::Beyond };
        match process.try_deliver(inbound, filling) {
            Ok(Delivered::Within) => {}
            Ok(Delivered::Beyond) => {
                self.press(pid, from);
                if process.is_pressed() {
                    self.relieve(pid);
                }
            }
            Err(refused) => {
                let (Some(caller), error) = *refused else { return };
                caller.answer(Err(error));
            }
        }
    }

    pub(crate) fn deliver_reply(&self, from: Pid, call: Ref, result: Result<Bytes, CallError>) {
        if (call.node, call.incarnation) != (self.node(), self.incarnation()) {
            return;
        }
        let mut calls = self.calls();
        // Another node can't answer in the callee's place.
        if calls.waiting.get(&call.serial).is_none_or(|waiting| waiting.node != from.node) {
            return;
        }
        let waiting = calls.waiting.remove(&call.serial);
        drop(calls);
        if let Some(waiting) = waiting {
            let _ = waiting.caller.send(result);
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a signal into wire form; none for those that never leave their node.
fn abroad(to: Pid, signal: &Signal) -> Option<RemoteSignal> {
    Some(match signal {
        Signal::Link { from } => RemoteSignal::Link { from: *from, to },
        Signal::Unlink { from, id } => RemoteSignal::Unlink { from: *from, to, id: *id },
        Signal::UnlinkAck { from, id } => RemoteSignal::UnlinkAck { from: *from, to, id: *id },
        Signal::Exit { from, reason, kind } => {
            RemoteSignal::Exit { from: *from, to, reason: reason.clone(), kind: *kind }
        }
        Signal::Monitor { from, monitor } => RemoteSignal::Monitor { from: *from, to, monitor: *monitor },
        Signal::Demonitor { from, monitor } => RemoteSignal::Demonitor { from: *from, to, monitor: *monitor },
        Signal::Down { from, monitor, reason } => {
            RemoteSignal::Down { from: *from, to, monitor: *monitor, reason: reason.clone() }
        }
        Signal::Wait(_)
        | Signal::Timer { .. }
        | Signal::NodeDown { .. }
        | Signal::Abandoned(_)
        | Signal::Stop { .. }
        | Signal::Inspect(_) => return None,
    })
}
