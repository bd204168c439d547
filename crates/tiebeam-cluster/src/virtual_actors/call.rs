//! Messages to virtual actors: found where they are, and tried again as long as nothing was done.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_actor::{Actor, CallError, Dispatch, Table};
use tiebeam_wire::{Instant, NodeId};
use tokio::sync::oneshot;

use super::gate::{Deliver, Gate, Mode, Refusal};
use super::host::Letter;
use super::ring::shard_of;
use super::{VirtualError, VirtualRef};
use crate::node::lock;
use crate::sharing::plane::NAME_BYTES_MAX;

/// How long is waited before a host is asked again that didn't take a message: from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// A call that is made when it is awaited; its result is the answer or a [`VirtualError`].
///
/// Dropping the future gives the answer up; if the actor has not begun it may yet.
pub struct VirtualCall<'a, A: Actor, M, Mode> {
    to: &'a VirtualRef<A>,
    message: M,
    timeout: Duration,
    mode: PhantomData<fn() -> Mode>,
}

/// A message that is sent when this is awaited, which waits until it is in the actor's mailbox.
///
/// Dropping the future before that leaves open whether it will be.
pub struct VirtualCast<'a, A: Actor, M, Mode> {
    to: &'a VirtualRef<A>,
    message: M,
    timeout: Duration,
    mode: PhantomData<fn() -> Mode>,
}

impl<'a, A: Actor, M, Mode> VirtualCall<'a, A, M, Mode> {
    pub(super) const fn new(to: &'a VirtualRef<A>, message: M, timeout: Duration) -> Self {
        Self { to, message, timeout, mode: PhantomData }
    }

    /// Waits at most this long, for a host and for the answer together.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<'a, A: Actor, M, Mode> VirtualCast<'a, A, M, Mode> {
    pub(super) const fn new(to: &'a VirtualRef<A>, message: M, timeout: Duration) -> Self {
        Self { to, message, timeout, mode: PhantomData }
    }

    /// Waits at most this long.
    #[must_use = "a cast does nothing until it is awaited"]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<'a, A, M, Of> IntoFuture for VirtualCall<'a, A, M, Of>
where
    A: Dispatch<M, Of>,
    M: Send + 'static,
    Of: 'static,
{
    type Output = Result<A::Answer, VirtualError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let (to, encoded) = (self.to, Table::<A>::encode(&self.message));
        let timeout = self.timeout;
        async move {
            let answer = to.send(Mode::Call, encoded, timeout).await?;
            Table::<A>::decode_answer::<M, Of>(&answer).ok_or(VirtualError::Incompatible)
        }
        .boxed()
    }
}

impl<'a, A, M, Of> IntoFuture for VirtualCast<'a, A, M, Of>
where
    A: Dispatch<M, Of>,
    M: Send + 'static,
    Of: 'static,
{
    type Output = Result<(), VirtualError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let (to, encoded, timeout) = (self.to, Table::<A>::encode(&self.message), self.timeout);
        async move { to.send(Mode::Cast, encoded, timeout).await.map(drop) }.boxed()
    }
}

impl<A: Actor> VirtualRef<A> {
    /// Finds the actor's host and sends it a message; again, elsewhere or later, as long as it was not taken.
    async fn send(
        &self,
        mode: Mode,
        encoded: Option<(u32, Vec<u8>)>,
        timeout: Duration,
    ) -> Result<Bytes, VirtualError> {
        let (tag, body) = encoded.ok_or(VirtualError::Incompatible)?;
        let size = self.key.len();
        if size > NAME_BYTES_MAX {
            return Err(VirtualError::KeyTooLong { size, limit: NAME_BYTES_MAX });
        }
        if self.node.voters.now().nodes.is_empty() {
            return Err(VirtualError::NoVoters);
        }
        let (until, body) = (tiebeam_world::now() + timeout, Bytes::from(body));
        let at = (self.kind, shard_of(&self.key));
        let virtuals = &self.node.virtuals;
        let mut hint = lock(&virtuals.found).get(&at).copied();
        let mut pause = PAUSE.0;
        loop {
            let ring = virtuals.ring(&self.node, self.kind);
            let hinted = hint.take().filter(|node| ring.gate(*node).is_some());
            let host = hinted.or_else(|| ring.owner(self.kind, at.1)).ok_or(VirtualError::NoHost(self.kind))?;
            if tiebeam_world::now() >= until {
                return Err(VirtualError::NotTaken);
            }
            let sent = match ring.gate(host).filter(|_| host != self.node.me.node) {
                Some(gate) => {
                    let deliver = Deliver {
                        kind: self.kind.to_owned(),
                        key: self.key.clone(),
                        mode,
                        tag,
                        body: body.clone(),
                        timeout_ms: millis(until),
                    };
                    let gate = self.node.system.addr::<Gate>(gate);
                    gate.call(deliver).timeout(until.since(tiebeam_world::now())).await
                }
                None => self.send_here(mode, tag, body.clone(), until).await,
            };
            match self.judge(sent, host)? {
                Found::Answer(answer) => {
                    lock(&virtuals.found).insert(at, host);
                    return Ok(answer);
                }
                Found::Elsewhere(node) => {
                    lock(&virtuals.found).remove(&at);
                    hint = node;
                }
            }
            tiebeam_world::sleep(pause / 2 + jitter(pause / 2)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Says what an attempt came to, if it wasn't the last.
    fn judge(&self, sent: Result<Result<Bytes, Refusal>, CallError>, host: NodeId) -> Result<Found, VirtualError> {
        match sent {
            Ok(Ok(answer)) => Ok(Found::Answer(answer)),
            Ok(Err(Refusal::Moved(node))) => Ok(Found::Elsewhere(node)),
            // Not handled, or the gate is of an earlier start.
            Ok(Err(Refusal::NoKind | Refusal::Call(CallError::NoProc))) | Err(CallError::NoProc) => {
                Ok(Found::Elsewhere(None))
            }
            Ok(Err(Refusal::Overloaded)) => Err(VirtualError::Overloaded),
            Ok(Err(Refusal::Start(reason))) => Err(VirtualError::Start(reason)),
            Ok(Err(Refusal::Call(error))) | Err(error) => Err(VirtualError::from_call(error, host)),
        }
    }

    async fn send_here(
        &self,
        mode: Mode,
        tag: u32,
        body: Bytes,
        until: Instant,
    ) -> Result<Result<Bytes, Refusal>, CallError> {
        let (answer, answered) = oneshot::channel();
        // Whoever waits no more is not told.
        let answer = Box::new(move |result| drop(answer.send(result)));
        super::host::deliver(&self.node, self.kind, &self.key, Letter { mode, tag, body, deadline: until, answer });
        let left = until.since(tiebeam_world::now());
        match tiebeam_world::timeout(left, answered).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(CallError::Unanswered),
            Err(_) => Err(CallError::Timeout),
        }
    }
}

enum Found {
    Answer(Bytes),
    /// Nothing was done; who has the actor, if that is known.
    Elsewhere(Option<NodeId>),
}

fn millis(until: Instant) -> u32 {
    u32::try_from(until.since(tiebeam_world::now()).as_millis()).unwrap_or(u32::MAX)
}

/// Draws a time up to `limit`, so that those who were refused together don't ask together.
fn jitter(limit: Duration) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(tiebeam_world::random() % nanos)
}

impl<A: Actor, M, Mode> fmt::Debug for VirtualCall<'_, A, M, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = std::any::type_name::<M>();
        f.debug_struct("VirtualCall").field("to", &self.to).field("message", &message).finish_non_exhaustive()
    }
}

impl<A: Actor, M, Mode> fmt::Debug for VirtualCast<'_, A, M, Mode> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = std::any::type_name::<M>();
        f.debug_struct("VirtualCast").field("to", &self.to).field("message", &message).finish_non_exhaustive()
    }
}
