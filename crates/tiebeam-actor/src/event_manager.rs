//! One process that tells events to handlers, which come and go while it runs.
//!
//! - [`EventManager`] is the actor, [`EventHandler`] is what a user writes; several kinds of handlers serve one manager.
//! - Handlers run inside the manager, one after the other, the one that was added last first. An event reaches all before
//!   the next is taken, and events of one sender come in the order in which they were sent.
//! - A handler that panics is removed and reported; the others, and the manager, go on. A handler that waits makes all of
//!   them wait.
//! - A handler may belong to an actor: the two are told of each other's end, see
//!   [`add_sup_handler`](crate::Addr::add_sup_handler).
//!
//! ```
//! use tiebeam_actor::event_manager::{EventHandler, HandlerError, Next};
//! use tiebeam_actor::{Addr, EventManager};
//!
//! struct Alarm(String);
//!
//! /// Counts until somebody asks for it.
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl EventHandler<Alarm> for Counter {
//!     async fn handle_event(&mut self, _: &Alarm) -> Next {
//!         self.0 += 1;
//!         Next::Keep
//!     }
//! }
//!
//! async fn count_one(alarms: Addr<EventManager<Alarm>>) -> Result<u64, HandlerError> {
//!     alarms.add_handler("counter", Counter::default()).await?;
//!     alarms.notify(Alarm("door".to_owned())).await;
//!     let Counter(count) = alarms.delete_handler("counter").await?;
//!     Ok(count)
//! }
//! ```
//!
//! Differs from `gen_event`: a handler that is deleted or swapped hands its state over as a value, and one that is dropped
//! cleans up in `Drop`; ids are unique; handlers don't hear what is no event.
//!
//! Further reading: "gen_event Behaviour" in OTP's design principles, `gen_event.erl`.

mod api;
mod installed;
mod manager;

use std::future::Future;

pub use manager::EventManager;

use crate::{CallError, ExitReason, Pid};

/// How many handlers one manager may have; more are refused.
pub const HANDLERS_MAX: usize = 1024;

/// What hears events of type `E`.
pub trait EventHandler<E: Send + Sync + 'static>: Send + 'static {
    /// Hears one event; says whether it wants more.
    fn handle_event(&mut self, event: &E) -> impl Future<Output = Next> + Send;
}

/// Answers requests of type `Q` to one handler, see [`call_handler`](crate::Addr::call_handler).
pub trait HandlerCall<E: Send + Sync + 'static, Q: Send + 'static>: EventHandler<E> {
    /// The answer.
    type Reply: Send + 'static;

    /// Answers one request.
    fn handle_call(&mut self, request: Q) -> impl Future<Output = Self::Reply> + Send;
}

/// Whether a handler stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// It stays.
    Keep,
    /// It is removed. OTP's `remove_handler`.
    Remove,
}

/// Tells an actor that a handler of its own is gone. OTP's `gen_event_EXIT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerExit {
    /// The manager.
    pub manager: Pid,
    /// The handler's id.
    pub id: String,
    /// Why.
    pub reason: Removal,
}

/// Why a handler is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// It had enough, or somebody deleted it.
    Normal,
    /// Another took its place and belongs to the same actor.
    Swapped {
        /// The other's id.
        by: String,
    },
    /// It panicked.
    Crashed(ExitReason),
    /// The manager stops.
    Shutdown,
}

/// Why a manager did not do what was asked of a handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// There is a handler with this id.
    #[error("handler {id:?} exists already")]
    Exists {
        /// The handler's id.
        id: String,
    },
    /// There is no handler with this id.
    #[error("handler {id:?} does not exist")]
    Missing {
        /// The handler's id.
        id: String,
    },
    /// The handler is of another type than was asked for.
    #[error("handler {id:?} is of another type")]
    Incompatible {
        /// The handler's id.
        id: String,
    },
    /// The manager has as many handlers as it may.
    #[error("event manager has {limit} handlers already, which is the limit")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The handler panicked meanwhile, and is gone.
    #[error("handler {id:?} crashed: {reason}")]
    Crashed {
        /// The handler's id.
        id: String,
        /// The panic.
        reason: ExitReason,
    },
    /// The manager did not answer.
    #[error("event manager did not answer")]
    Call(#[from] CallError),
}
