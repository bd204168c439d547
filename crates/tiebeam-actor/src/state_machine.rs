//! State machines whose events may be put off, with timeouts that end with a state or with the next event.
//!
//! - [`StateMachine`] is what a user writes: states, the events of each, and a [`Transition`] for every event.
//! - [`Machine`] is the actor that runs one: start it, supervise it and call it like any other.
//!
//! The rules are those of `gen_statem`, and real OTP holds the tests to them. In this order, after each event:
//!
//! 1. The state changes. If it is another one, its [`Timeout::State`] ends and [`StateMachine::enter`] runs.
//! 2. [`Timeout::Event`] ends, whatever the event was.
//! 3. If the state is another one, all events that were postponed are due again, the oldest first, before what waits.
//! 4. Events that the transition inserts come before those.
//! 5. Timeouts are set. Those of no time at all come behind all of the above, in the order in which they were set.
//!
//! Only when none of these events is left is the mailbox asked.
//!
//! ```
//! use std::time::Duration;
//! use tiebeam_actor::state_machine::{Event, Timeout, Transition};
//! use tiebeam_actor::{Ctx, ExitReason, Machine, StateMachine};
//!
//! /// Goes on when it is pressed, and off by itself.
//! struct Light;
//!
//! #[derive(Clone, Debug, PartialEq)]
//! enum State { Off, On }
//!
//! enum Message { Press, WaitUntilOff }
//!
//! impl StateMachine for Light {
//!     type Args = ();
//!     type State = State;
//!     type Message = Message;
//!     type Reply = ();
//!     type Timer = ();
//!
//!     async fn init((): (), _: &mut Ctx<Machine<Self>>) -> Result<(Self, State), ExitReason> {
//!         Ok((Self, State::Off))
//!     }
//!
//!     async fn handle(&mut self, state: &State, event: Event<Self>, _: &mut Ctx<Machine<Self>>) -> Transition<Self> {
//!         match (state, event) {
//!             (_, Event::Message(Message::Press, _)) => {
//!                 Transition::next_state(State::On).timeout(Timeout::State, Duration::from_secs(60))
//!             }
//!             (State::On, event @ Event::Message(Message::WaitUntilOff, _)) => Transition::keep_state().postpone(event),
//!             (State::Off, Event::Message(Message::WaitUntilOff, reply_to)) => Transition::keep_state().reply(reply_to, ()),
//!             (_, Event::Timeout(_)) => Transition::next_state(State::Off),
//!             (_, Event::Internal(_) | Event::Info(_)) => Transition::keep_state(),
//!         }
//!     }
//! }
//! ```
//!
//! Differs from `gen_statem`: calls and casts are the same event, as for every [`Deferred`](crate::Deferred) message;
//! timeouts carry a name and no content; the start waits until the first state is entered; absolute times, updates of a
//! running timeout and changes of the module are left out.
//!
//! Further reading: "gen_statem Behaviour" in OTP's design principles, `gen_statem.erl`.

mod engine;
mod machine;
mod transition;

use std::fmt;
use std::future::{Future, ready};

pub use machine::{Machine, MachineStatus};
pub use transition::{Entry, Timeout, Transition};

use crate::{Ctx, ExitReason, Info, ReplyTo};

/// A machine with states of one enum and messages of another; the value itself is the data that all states share.
pub trait StateMachine: Sized + Send + 'static {
    /// What [`init`](Self::init) needs.
    type Args: Send + 'static;
    /// The states. Two that are equal are the same state; data that changes within one belongs into `Self`.
    type State: Clone + PartialEq + fmt::Debug + Send + Sync + 'static;
    /// What others send, and what the machine may insert itself.
    type Message: Send + 'static;
    /// What calls are answered with.
    type Reply: Send + 'static;
    /// Names the timeouts that outlive states and events; `()` if one is enough.
    type Timer: Clone + Ord + fmt::Debug + Send + Sync + 'static;

    /// How many events may be postponed or inserted and not handled yet, together. One more crashes the machine: it puts
    /// off what it never handles.
    const EVENTS_MAX: u32 = 4096;

    /// Makes the data and the first state, in the new process. [`enter`](Self::enter) runs next, with that state as the
    /// old one too.
    fn init(
        args: Self::Args,
        ctx: &mut Ctx<Machine<Self>>,
    ) -> impl Future<Output = Result<(Self, Self::State), ExitReason>> + Send;

    /// Handles one event in `state`.
    fn handle(
        &mut self,
        state: &Self::State,
        event: Event<Self>,
        ctx: &mut Ctx<Machine<Self>>,
    ) -> impl Future<Output = Transition<Self>> + Send;

    /// Hears that the state changes from `old` to `new`, or is [repeated](Transition::repeat_state), before any event of
    /// `new` is handled. What it sets counts as if the transition had set it last. Does nothing unless written.
    fn enter(
        &mut self,
        old: &Self::State,
        new: &Self::State,
        ctx: &mut Ctx<Machine<Self>>,
    ) -> impl Future<Output = Entry<Self>> + Send {
        let _ = (old, new, ctx);
        ready(Entry::new())
    }

    /// Cleans up, when and as [`Actor::terminate`](crate::Actor::terminate) does.
    fn terminate(
        &mut self,
        reason: &ExitReason,
        state: &Self::State,
        ctx: &mut Ctx<Machine<Self>>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (reason, state, ctx);
        ready(())
    }
}

/// What a machine handles.
pub enum Event<M: StateMachine> {
    /// Somebody called or cast. Answer by the [`ReplyTo`] whenever you like, by [`Transition::reply`], or postpone the
    /// event whole; for a cast, answering does nothing.
    Message(M::Message, ReplyTo<M::Reply>),
    /// The machine inserted it.
    Internal(M::Message),
    /// A timeout came.
    Timeout(Timeout<M::Timer>),
    /// A death, an exit, or a timer of [`Ctx::send_after`].
    Info(Info),
}

impl<M: StateMachine> From<Timeout<M::Timer>> for Event<M> {
    fn from(timeout: Timeout<M::Timer>) -> Self {
        Self::Timeout(timeout)
    }
}

impl<M: StateMachine> fmt::Debug for Event<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(..) => f.write_str("Message"),
            Self::Internal(_) => f.write_str("Internal"),
            Self::Timeout(timeout) => f.debug_tuple("Timeout").field(timeout).finish(),
            Self::Info(info) => f.debug_tuple("Info").field(info).finish(),
        }
    }
}
