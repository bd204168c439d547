//! State that somebody keeps, and that others read and change by closures; no actor needs to be written.

use std::fmt;

use crate::actor::Immediate;
use crate::{Actor, Addr, Call, Ctx, ExitReason, Handler};

/// Keeps a state of any type; closures run inside its process, one at a time, in the order of their arrival.
///
/// It begins with a value, so `starter.spawn::<Agent<u64>>(0)` starts one, and `ChildSpec::actor::<Agent<u64>>("hits", 0)`
/// supervises one, whose every life begins with that value. A closure that panics ends the agent; one that computes for
/// long keeps others waiting.
///
/// Like every actor it has a bounded mailbox, and closures don't travel to other nodes.
///
/// ```
/// # use std::time::Duration;
/// # use tiebeam_actor::{Addr, Agent, CallError, agent::Apply};
/// # async fn example(hits: Addr<Agent<u64>>) -> Result<(), CallError> {
/// hits.update(|hits| *hits += 1).await?;
/// let before = hits.get_and_update(std::mem::take).timeout(Duration::from_secs(1)).await?;
/// hits.cast(Apply::new(|hits| *hits += 1)).await;
/// assert_eq!((before, hits.get(|hits| *hits).await?), (1, 1));
/// # Ok(())
/// # }
/// ```
///
/// Further reading: `Agent` of Elixir.
pub struct Agent<S> {
    state: S,
}

/// Code to run on the state of an [`Agent`]: what its calls send, and what can be cast to it.
pub struct Apply<S, R = ()>(Box<dyn FnOnce(&mut S) -> R + Send>);

/// A call to an [`Agent`]; await it for the result, after [`Call::timeout`] if 5 s are not right.
pub type AgentCall<'a, S, R> = Call<'a, Agent<S>, Apply<S, R>, Immediate>;

impl<S, R> Apply<S, R> {
    /// Wraps `code`; its result is the call's answer, and dropped if it is cast.
    pub fn new(code: impl FnOnce(&mut S) -> R + Send + 'static) -> Self {
        Self(Box::new(code))
    }
}

impl<S: Send + 'static> Addr<Agent<S>> {
    /// Returns what `code` says of the state.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn get<R: Send + 'static>(&self, code: impl FnOnce(&S) -> R + Send + 'static) -> AgentCall<'_, S, R> {
        self.call(Apply::new(|state: &mut S| code(state)))
    }

    /// Changes the state, and waits until that is done.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn update(&self, code: impl FnOnce(&mut S) + Send + 'static) -> AgentCall<'_, S, ()> {
        self.call(Apply::new(code))
    }

    /// Changes the state and returns what `code` says, in one go.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn get_and_update<R: Send + 'static>(
        &self,
        code: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> AgentCall<'_, S, R> {
        self.call(Apply::new(code))
    }
}

impl<S: Send + 'static> Actor for Agent<S> {
    type Args = S;

    async fn init(state: S, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { state })
    }
}

impl<S: Send + 'static, R: Send + 'static> Handler<Apply<S, R>> for Agent<S> {
    type Reply = R;

    async fn handle(&mut self, Apply(code): Apply<S, R>, _: &mut Ctx<Self>) -> R {
        code(&mut self.state)
    }
}

impl<S> fmt::Debug for Agent<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("state", &std::any::type_name::<S>()).finish()
    }
}

impl<S, R> fmt::Debug for Apply<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apply").field("state", &std::any::type_name::<S>()).finish_non_exhaustive()
    }
}
