use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tiebeam_wire::Instant;

use crate::cell::{Process, Refuse, Signal};
use crate::raw::{current, slot};
use crate::remote::RemoteSignal;
use crate::{CallError, Pid, Ref, System};

/// The way back to a caller. Answers once; can be kept, moved to a task and used after the handler returned.
///
/// Dropping it without an answer fails the call: with [`CallError::Exit`] if the actor ended, else with
/// [`CallError::Unanswered`]. For a cast there is nobody to answer, and answering does nothing.
pub struct ReplyTo<R: Send + 'static> {
    slot: Slot<R>,
    /// Whoever is to answer, once it may do so outside of its own code; until then that is the running process.
    callee: Option<Arc<dyn Process>>,
}

enum Slot<R> {
    Nobody,
    Local(slot::Sender<Result<R, CallError>>),
    Remote(Box<(RemoteCaller, Encode<R>)>),
}

/// Writes an answer down for another node.
type Encode<R> = fn(&R) -> Vec<u8>;

/// A caller on another node, or one whose call was carried here as bytes.
pub(crate) struct RemoteCaller {
    pub(crate) system: System,
    pub(crate) callee: Pid,
    pub(crate) caller: Pid,
    pub(crate) call: Ref,
    pub(crate) deadline: Instant,
}

impl RemoteCaller {
    pub(crate) fn answer(self, result: Result<Bytes, CallError>) {
        if self.system.is_local(self.caller) {
            return self.system.deliver_reply(self.callee, self.call, result);
        }
        let reply = RemoteSignal::Reply { from: self.callee, to: self.caller, call: self.call, result };
        // Without a connection the caller's node has failed the call already.
        let _ = self.system.route(self.caller.node, reply);
    }
}

impl<R: Send + 'static> ReplyTo<R> {
    /// Answers the caller. An answer that comes too late goes nowhere.
    #[inline]
    pub fn send(mut self, reply: R) {
        match std::mem::replace(&mut self.slot, Slot::Nobody) {
            Slot::Nobody => {}
            Slot::Local(caller) => caller.send(Ok(reply)),
            Slot::Remote(remote) => remote.0.answer(Ok((remote.1)(&reply).into())),
        }
    }

    /// Says whether somebody still waits: not after the caller's deadline, not if the caller is gone, never for a cast.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !matches!(self.slot, Slot::Nobody) && self.is_wanted()
    }

    pub(crate) const fn nobody() -> Self {
        Self { slot: Slot::Nobody, callee: None }
    }

    pub(crate) const fn local(caller: slot::Sender<Result<R, CallError>>) -> Self {
        Self { slot: Slot::Local(caller), callee: None }
    }

    /// Lets the answer be kept anywhere.
    pub(crate) fn kept_by(mut self, callee: Arc<dyn Process>) -> Self {
        if !matches!(self.slot, Slot::Nobody) {
            self.callee = Some(callee);
        }
        self
    }

    /// Refuses the call.
    pub(crate) fn refuse(mut self, error: CallError) {
        match std::mem::replace(&mut self.slot, Slot::Nobody) {
            Slot::Nobody => {}
            Slot::Local(caller) => caller.send(Err(error)),
            Slot::Remote(remote) => remote.0.answer(Err(error)),
        }
    }

    /// Says whether handling the message still has a purpose; always so for a cast.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.slot {
            Slot::Nobody => true,
            // A caller on this node closes its end itself when its time is up.
            Slot::Local(caller) => !caller.is_closed(),
            Slot::Remote(remote) => tiebeam_world::now() <= remote.0.deadline,
        }
    }
}

/// A caller on another node, before it is known what type it is answered with.
impl ReplyTo<()> {
    pub(crate) fn remote(caller: Option<RemoteCaller>) -> Self {
        let slot = caller.map_or(Slot::Nobody, |caller| Slot::Remote(Box::new((caller, |()| Vec::new()))));
        Self { slot, callee: None }
    }

    /// Gives the caller back.
    pub(crate) fn into_remote(mut self) -> Option<RemoteCaller> {
        match std::mem::replace(&mut self.slot, Slot::Nobody) {
            Slot::Remote(remote) => Some(remote.0),
            Slot::Nobody | Slot::Local(_) => None,
        }
    }

    pub(crate) fn encoded_by<R: Send + 'static>(mut self, encode: Encode<R>) -> ReplyTo<R> {
        let slot = match std::mem::replace(&mut self.slot, Slot::Nobody) {
            Slot::Remote(remote) => Slot::Remote(Box::new((remote.0, encode))),
            Slot::Nobody | Slot::Local(_) => Slot::Nobody,
        };
        ReplyTo { slot, callee: None }
    }
}

impl<R: Send + 'static> Drop for ReplyTo<R> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.slot, Slot::Nobody) {
            self.give_up();
        }
    }
}

impl<R: Send + 'static> ReplyTo<R> {
    #[cold]
    fn give_up(&mut self) {
        let refuse: Refuse = match std::mem::replace(&mut self.slot, Slot::Nobody) {
            Slot::Nobody => return,
            Slot::Local(caller) if caller.is_closed() => return,
            Slot::Local(caller) => Box::new(move |error| caller.send(Err(error))),
            // Not handled because its time was up, which the caller may be about to find out by itself.
            Slot::Remote(remote) if tiebeam_world::now() > remote.0.deadline => {
                return remote.0.answer(Err(CallError::Timeout));
            }
            Slot::Remote(remote) => Box::new(move |error| remote.0.answer(Err(error))),
        };
        match self.callee.take() {
            Some(callee) => abandon(Some(&*callee), refuse),
            None => current::with(|callee| abandon(callee, refuse)),
        }
    }
}

/// Has a caller told that there will be no answer.
///
/// Whether the actor forgot the caller or is just dying is known to its process alone, so it is asked: dying, it answers
/// with its reason. If it's gone its reason is known.
fn abandon(callee: Option<&dyn Process>, refuse: Refuse) {
    let Some(callee) = callee else { return refuse(CallError::NoProc) };
    if let Err(Signal::Abandoned(refuse)) = callee.signal(Signal::Abandoned(refuse)) {
        refuse(callee.exit_reason().map_or(CallError::NoProc, |reason| CallError::Exit(reason.clone())));
    }
}

impl<R: Send + 'static> fmt::Debug for ReplyTo<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = match &self.slot {
            Slot::Nobody => "nobody",
            Slot::Local(_) => "local",
            Slot::Remote(..) => "remote",
        };
        f.debug_struct("ReplyTo").field("caller", &slot).finish()
    }
}
