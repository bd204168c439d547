//! Actors with the semantics of Erlang/OTP: the front door for Rust programs.
//!
//! An actor is a process that owns its state and handles one message at a time. It is addressed by a value that names it,
//! linked and monitored, and restarted by a supervisor when it crashes. [`actor`](macro@actor) turns the methods of its
//! state into its messages:
//!
//! ```
//! use std::time::Duration;
//! use tiebeam::{Ctx, ExitReason, Incarnation, NodeId, System};
//!
//! struct Counter {
//!     n: u64,
//! }
//!
//! #[tiebeam::actor]
//! impl Counter {
//!     async fn init(n: u64, _ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
//!         Ok(Self { n })
//!     }
//!
//!     #[call]
//!     fn add(&mut self, by: u64) -> u64 {
//!         self.n += by;
//!         self.n
//!     }
//!
//!     #[cast]
//!     fn reset(&mut self) {
//!         self.n = 0;
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let system = System::new(NodeId(1), Incarnation(1));
//!     let counter = system.spawn::<Counter>(40).await?;
//!     assert_eq!(counter.add(2).await?, 42);
//!     counter.reset().await;
//!     assert_eq!(counter.add(1).timeout(Duration::from_secs(1)).await?, 1);
//!     counter.stop(ExitReason::Normal).await?;
//!     Ok(())
//! }
//! ```
//!
//! Where to go from here: [`System`] starts actors, [`Ctx`] is what an actor can do, [`Supervisor`] restarts,
//! [`protocol`](macro@protocol) lets code hold an address without knowing whose it is. Below the macros are plain traits,
//! [`Actor`], [`Handler`] and [`Deferred`], which can be implemented by hand and mixed with what the macros make.
//! `examples/` teaches one thing at a time; `docs/from-erlang.md` and `docs/from-tokio.md` start from what you know;
//! `docs/guarantees.md` says what may be relied on.
//!
//! What it does not do: this crate runs the actors of one process. Between nodes they are carried by `tiebeam-cluster`.

mod protocol;

pub use protocol::{AddrOf, BoxCall, BoxCast};
#[doc(inline)]
pub use tiebeam_actor::*;
/// Makes the type of an `impl` block an actor: methods become its messages.
///
/// ```
/// use tiebeam::{Ctx, ExitReason, Info, ReplyTo};
///
/// #[derive(Default)]
/// struct Desk {
///     waiting: Vec<ReplyTo<String>>,
/// }
///
/// #[tiebeam::actor]
/// impl Desk {
///     // Makes the state, in the new process. Takes an argument or none, and `ctx` if it needs that.
///     async fn init(name: String, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
///         if name.is_empty() {
///             return Err(ExitReason::Other("a desk has a name".into()));
///         }
///         ctx.trap_exit();
///         Ok(Self::default())
///     }
///
///     // Answered when it returns: `desk.count().await?`.
///     #[call]
///     fn count(&self) -> usize {
///         self.waiting.len()
///     }
///
///     // Answered when somebody uses `reply_to`: `desk.queue().timeout(minute).await?`.
///     #[call(deferred)]
///     fn queue(&mut self, reply_to: ReplyTo<String>) {
///         self.waiting.push(reply_to);
///     }
///
///     // Not answered: `desk.next(name).await`, or `desk.try_next(name)?`, which does not wait for room in the mailbox.
///     #[cast]
///     async fn next(&mut self, name: String, ctx: &mut Ctx<Self>) {
///         if let Some(reply_to) = self.waiting.pop() {
///             reply_to.send(format!("{name} at {}", ctx.pid()));
///         }
///     }
///
///     // Hears of deaths, exits and timers.
///     #[info]
///     fn hear(&mut self, info: Info, _ctx: &mut Ctx<Self>) {
///         println!("{info:?}");
///     }
///
///     // Says what the state is, in crash reports and to whoever asks. `fn hibernate(&mut self)` is known as well.
///     fn format_status(&self) -> Option<String> {
///         Some(format!("{} wait", self.waiting.len()))
///     }
///
///     // Cleans up, as `Actor::terminate` says.
///     fn terminate(&mut self, reason: &ExitReason) {
///         println!("closed: {reason}");
///     }
/// }
/// ```
///
/// # What is read
///
/// - `init`, required, sync or async, with at most one argument beside `ctx: &mut Ctx<Self>`; returns
///   `Result<Self, ExitReason>`, or `Self` if it can't fail.
/// - `#[call]` and `#[cast]`: sync or async, on `&mut self` or `&self`, with any number of owned arguments, and `ctx` if
///   they want it. An async one on `&self` needs a state that is `Sync`.
/// - `#[call(deferred)]` takes a `ReplyTo<R>` and answers with an `R`, whenever.
/// - `#[call(tag = 7)]`, `#[cast(tag = 8)]`: other nodes may send it too. The tag goes into the actor's [`Table`] and is
///   part of the wire format: it stays with the method for ever, and a method whose arguments change gets another. Their
///   types, and the answer's, are serde's then; without a tag nothing needs serde, and a call from another node is
///   [`CallError::Incompatible`].
/// - `#[info]` on the one method that takes an [`Info`]; `terminate`, by its name, with the reason, `ctx`, both or none.
/// - Whatever has no mark is the user's own.
///
/// `Ctx`, `ReplyTo`, `ExitReason`, `Info` and `Result` are known by these names, so don't rename them.
///
/// # What is made
///
/// The methods stay as they are, so that they can call each other and be tested without an actor. Beside the block, in the
/// same scope, stand
///
/// - one tuple struct for each message, named after actor and method, as in `DeskNext(pub String)`: `desk.cast(DeskNext(name))`
///   is what the client does;
/// - `impl Actor for Desk`, and [`Handler`] or [`Deferred`] for each message;
/// - the trait `DeskClient`, implemented for [`Addr<Desk>`](Addr) and [`Named<Desk>`](Named); import it where the actor is
///   called from another module. It returns the runtime's own [`Call`] and [`Cast`]: nothing is boxed.
///
/// Structs and trait are `pub` and so as visible as their module; `#[actor(vis = pub(crate))]` makes them less, which an
/// actor that is `pub` and takes private types needs. There is one such block for each actor; further messages are
/// implemented by hand, or come with protocols, whose tags `#[actor(protocols(A, B))]` adds to the table.
pub use tiebeam_macros::actor;
/// Makes a trait a protocol: messages that code can send without knowing the type of the actor.
///
/// For parts that must not know each other, for actors that would need each other's types, and for stand-ins in tests.
///
/// ```
/// use std::sync::Arc;
/// use tiebeam::{AddrOf, BoxCall, BoxCast, CallError, Ctx, Incarnation, NodeId, System};
///
/// #[tiebeam::protocol]
/// pub trait Ledger {
///     /// Says how much is on an account.
///     #[call]
///     fn balance(&self, account: u64) -> u64;
///
///     /// Writes something down.
///     #[cast]
///     fn note(&self, text: String);
/// }
///
/// // Whoever uses it:
/// async fn is_rich(ledger: &AddrOf<dyn Ledger>) -> Result<bool, CallError> {
///     Ok(ledger.balance(7).await? >= 1_000_000)
/// }
///
/// // Who serves it: an actor, with the protocol's methods in a block of their own.
/// struct Bank;
///
/// #[tiebeam::actor]
/// impl Bank {
///     fn init() -> Self {
///         Self
///     }
/// }
///
/// #[tiebeam::protocol]
/// impl Ledger for Bank {
///     #[call]
///     fn balance(&self, account: u64) -> u64 {
///         account * 10
///     }
///
///     #[cast]
///     async fn note(&mut self, text: String, ctx: &mut Ctx<Self>) {
///         println!("{}: {text}", ctx.pid());
///     }
/// }
///
/// // Or a stand-in in a test, without an actor.
/// struct Rich;
///
/// impl Ledger for Rich {
///     fn balance(&self, _account: u64) -> BoxCall<u64> {
///         BoxCall::ready(Ok(u64::MAX))
///     }
///
///     fn note(&self, _text: String) -> BoxCast<'_> {
///         Box::pin(std::future::ready(()))
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let system = System::new(NodeId(1), Incarnation(1));
/// let bank = system.spawn::<Bank>(()).await?;
/// assert!(!is_rich(&bank.into()).await?);
/// assert!(is_rich(&AddrOf::new(Arc::new(Rich))).await?);
/// # Ok(())
/// # }
/// ```
///
/// # What is made
///
/// Of the trait: one tuple struct for each message, named after protocol and method, as in `LedgerBalance(pub u64)`; and the
/// trait itself as addresses implement it. A call returns a [`BoxCall`], with [`BoxCall::timeout`] and the errors of any
/// call; a cast returns a [`BoxCast`] and has a twin that begins with `try_` and does not wait, which stand-ins need not
/// write. [`Addr<A>`](Addr) and [`Named<A>`](Named) implement it for every `A` that handles the messages: [`Deferred`] for
/// each call, so that the actor may answer later, and [`Handler`] for each cast. [`AddrOf`] is made from them by `into`.
///
/// Of the `impl` block: the methods, as inherent ones, and the handlers. Here a call may be `#[call(deferred)]`. All that
/// the protocol asks for must be there, or be implemented by hand.
///
/// Tags stand in the trait. They share the numbers of the table with the tags of every actor that serves the protocol,
/// which says so by `#[actor(protocols(Ledger))]`; give protocols numbers of their own, from 1000 for instance.
pub use tiebeam_macros::protocol;
#[doc(inline)]
pub use tiebeam_wire::{Incarnation, NodeId};

/// What expanded macros name. No part of the API.
#[doc(hidden)]
pub mod __private {
    pub use serde;

    pub use crate::protocol::{Entries, MessageOf, Serves, try_now};
}

/// Guides whose code is compiled and run as documentation tests.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/from-erlang.md")]
    mod from_erlang {}

    #[doc = include_str!("../../../docs/from-tokio.md")]
    mod from_tokio {}
}
