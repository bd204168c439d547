//! Whole nodes on loopback, each with a runtime of its own, so that one can be killed without a word.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop there")]

mod actors;
mod ear;
mod edges;
mod groups;
mod guard;
mod host;
mod leases;
mod membership;
mod names;
mod presence;
mod pubsub;
mod requests;
mod rpc;
mod services;
mod singletons;
mod split;
mod tasks;
mod virtual_actors;
