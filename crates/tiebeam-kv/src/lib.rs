//! Keeps keys, linearizable over the log.
//!
//! One group holds them all: configuration, the catalogue of topics, the registry of services. Every change gets the
//! next **revision**; a key knows the revision that last changed it, and a transaction compares revisions before it acts
//! (etcd's model: compare, then, else).
//!
//! | event | answer |
//! |---|---|
//! | [`Kv::txn`] whose comparisons hold | all its operations at one revision, or none |
//! | [`Kv::txn`] whose comparisons don't hold | nothing changed; the present pairs of the compared keys |
//! | [`Kv::get`], [`Kv::list`] | linearizable: reflect every change acknowledged before the call |
//!
//! A transaction may be proposed twice when an acknowledgement is lost. One that compares can't act twice; one that
//! puts without comparing puts the same value twice, which costs a revision and nothing else.

mod client;
mod state;
mod txn;

pub use client::{Kv, KvError};
pub use state::KvState;
pub use txn::{Compare, InvalidTxn, KEY_BYTES_MAX, OPS_MAX, Op, Pair, Revision, Txn, TxnReply, VALUE_BYTES_MAX};
