use std::fmt;
use std::time::Duration;

use super::{Event, StateMachine};
use crate::{ExitReason, ReplyTo};

/// A timeout of a machine. One of each runs at a time: setting it again restarts it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timeout<T> {
    /// Ends when the state changes to another.
    State,
    /// Ends with the next event of any kind.
    Event,
    /// Ends when it is cancelled.
    Named(T),
}

/// What a machine does about an event: where it goes, and what else is to be done.
///
/// Of several settings of the same timeout the last counts.
#[must_use = "a transition does nothing unless it is returned"]
pub struct Transition<M: StateMachine> {
    pub(super) next: Next<M::State>,
    pub(super) postponed: Option<Event<M>>,
    pub(super) inserted: Vec<Event<M>>,
    pub(super) timeouts: Timeouts<M::Timer>,
}

/// What a machine does when it enters a state: set timeouts, or stop.
#[must_use = "an entry does nothing unless it is returned"]
pub struct Entry<M: StateMachine> {
    pub(super) stop: Option<ExitReason>,
    pub(super) timeouts: Timeouts<M::Timer>,
}

pub(super) enum Next<S> {
    Keep,
    Repeat,
    State(S),
    Stop(ExitReason),
}

/// Timeouts to set, those without a duration to cancel, in the order in which that was asked for.
pub(super) type Timeouts<T> = Vec<(Timeout<T>, Option<Duration>)>;

impl<M: StateMachine> Transition<M> {
    /// Stays in the state.
    pub const fn keep_state() -> Self {
        Self::new(Next::Keep)
    }

    /// Stays in the state and enters it again: [`StateMachine::enter`] runs, and that is all.
    pub const fn repeat_state() -> Self {
        Self::new(Next::Repeat)
    }

    /// Goes to `state`. If that is the state it is in, it stays.
    pub const fn next_state(state: M::State) -> Self {
        Self::new(Next::State(state))
    }

    /// Ends the machine; [`StateMachine::terminate`] runs, and no event that waits is handled. Callers whose events wait
    /// hear `reason`.
    pub const fn stop(reason: ExitReason) -> Self {
        Self::new(Next::Stop(reason))
    }

    /// Puts the event off until the state has changed to another.
    pub fn postpone(self, event: Event<M>) -> Self {
        Self { postponed: Some(event), ..self }
    }

    /// Inserts an event, behind those that this transition inserted before and before all that wait.
    pub fn next_event(mut self, event: Event<M>) -> Self {
        self.inserted.push(event);
        self
    }

    /// Answers a caller, at once.
    pub fn reply(self, reply_to: ReplyTo<M::Reply>, reply: M::Reply) -> Self {
        reply_to.send(reply);
        self
    }

    /// Has [`Event::Timeout`] come `after` this long, unless it ends before. One of no time comes before the mailbox is
    /// asked, behind the events that wait.
    pub fn timeout(mut self, timeout: Timeout<M::Timer>, after: Duration) -> Self {
        self.timeouts.push((timeout, Some(after)));
        self
    }

    /// Cancels a timeout; it doesn't come, not even if it was over already and waited in the mailbox.
    pub fn cancel(mut self, timeout: Timeout<M::Timer>) -> Self {
        self.timeouts.push((timeout, None));
        self
    }

    const fn new(next: Next<M::State>) -> Self {
        Self { next, postponed: None, inserted: Vec::new(), timeouts: Vec::new() }
    }
}

impl<M: StateMachine> Entry<M> {
    /// Does nothing.
    pub const fn new() -> Self {
        Self { stop: None, timeouts: Vec::new() }
    }

    /// Ends the machine, as [`Transition::stop`] does.
    pub fn stop(self, reason: ExitReason) -> Self {
        Self { stop: Some(reason), ..self }
    }

    /// Sets a timeout, as [`Transition::timeout`] does.
    pub fn timeout(mut self, timeout: Timeout<M::Timer>, after: Duration) -> Self {
        self.timeouts.push((timeout, Some(after)));
        self
    }

    /// Cancels a timeout, as [`Transition::cancel`] does.
    pub fn cancel(mut self, timeout: Timeout<M::Timer>) -> Self {
        self.timeouts.push((timeout, None));
        self
    }
}

impl<M: StateMachine> Default for Entry<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: StateMachine> fmt::Debug for Transition<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Transition");
        match &self.next {
            Next::Keep => debug.field("next", &"keep"),
            Next::Repeat => debug.field("next", &"repeat"),
            Next::State(state) => debug.field("next", state),
            Next::Stop(reason) => debug.field("stop", reason),
        };
        debug.field("postponed", &self.postponed).field("inserted", &self.inserted);
        debug.field("timeouts", &self.timeouts).finish()
    }
}

impl<M: StateMachine> fmt::Debug for Entry<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("stop", &self.stop).field("timeouts", &self.timeouts).finish()
    }
}
