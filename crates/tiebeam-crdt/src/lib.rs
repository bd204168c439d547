//! Merges without agreeing: sets, maps, counters and flags that many nodes change at once, and what brings them together.
//!
//! Floor 1: no runtime, clock or entropy. Whoever calls hands in the time, and performs what comes out.
//!
//! **Contract.** Every type here is one kernel, [`DotStore`], with a way to read it and to write it:
//!
//! | Type | What wins |
//! |---|---|
//! | [`AwSet`] | an add over a removal that didn't know of it |
//! | [`LwwMap`] | a put over a removal that didn't know of it; of puts that didn't know of each other, the later stamp |
//! | [`GCounter`], [`PnCounter`] | nothing has to: each replica counts for itself |
//! | [`EwFlag`] | enabling over a disabling that didn't know of it |
//!
//! A mutator reads the state and returns a delta: a small state of the same type, which takes effect by
//! [`DotStore::merge`], here as on every other replica. [`DotStore::update`] does both at once. Merging is commutative,
//! associative and idempotent, so deltas may be lost, doubled and reordered; [`Replicator`] sees to it that what was lost
//! comes again.
//!
//! **Invariants.**
//! - A [`Dot`] names one write for ever. So a replica that lost its state must come back as another [`ReplicaId`]; the
//!   replicator notices if it doesn't, and stops it.
//! - What a state holds and what it has seen go together: nobody has seen a dot without its effect.
//! - A forgotten replica stays forgotten. Its dots count as seen and removed, whoever brings them.
//! - Equal digests mean equal states; the order of iteration is the order of keys, on every replica.
//!
//! **Who is gone and who only can't be reached** are two questions. A replica that can't be reached is hidden, by
//! [`Live`]: its entries are unseen at once and come back with it, unharmed. `pg` of OTP drops them and fetches them again;
//! Phoenix.Tracker hides them, as we do, until a timer says that they are gone for good. Here no timer says so:
//! [`DotStore::forget`] is for whoever knows by consensus.
//!
//! **Not here.** Nothing is unique, and no count is exact at a moment: names that only one may hold, leases and settings
//! live in a replicated log. Nothing is kept on disk.
//!
//! Further reading: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018); Bieniusa and others, "An
//! Optimized Conflict-free Replicated Set" (2012); Kulkarni and others, "Logical Physical Clocks" (2014).

mod replica;

mod ranges;

mod context;
mod live;
mod store;

mod counter;
mod flag;
mod hlc;
mod map;
mod set;

mod wire;

pub mod replicator;

pub use context::{CausalContext, DotSet, MintError};
pub use counter::{Count, GCounter, PnCounter, Tally};
pub use flag::{Enabled, EwFlag};
pub use hlc::{DriftError, Hlc, Stamp};
pub use live::Live;
pub use map::{LwwMap, Stamped};
pub use replica::{Dot, ReplicaId};
pub use replicator::Replicator;
pub use set::AwSet;
pub use store::{Change, DotStore, KeptError, Piece, Value};
pub use wire::{STORE_VERSION, WireError};
