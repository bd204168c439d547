//! Replicates many logs: openraft driven over the cluster, kept in storage, applied to state machines.
//!
//! # Contract
//!
//! | event | answer |
//! |---|---|
//! | [`Group::propose`] on the leader | the entry is on the disks of a majority (fsync done), applied here, and the state machine's reply is returned |
//! | [`Group::propose`] elsewhere | `NotLeader` with a hint; nothing was done |
//! | [`Client::propose`] anywhere | finds the leader, tries again until its deadline; the command may be applied twice |
//! | [`Group::linearize`], [`Client::query`] | a read that sees everything committed before it (read index) |
//! | a Raft core panics | the replica is rebuilt from its log, at most 3 times a minute |
//! | its disk fails | the replica stops for good and says why in its status |
//!
//! # Invariants
//!
//! - An acknowledged entry is on a majority of disks before the acknowledgement leaves.
//! - Applied commands are the same, in the same order, on every replica.
//! - Time, chance and the network come through `tiebeam-world` and [`Transport`].
//!
//! # What it does not do
//!
//! It knows no topic, no key and no workflow. It changes no membership yet: a group keeps the voters it was born with.
//!
//! Further reading: Ongaro, "Consensus: Bridging Theory and Practice" (2014); openraft's own `docs` module.

mod client;
mod config;
mod group;
mod groups;
mod machine;
mod network;
mod state_machine;
mod store;
mod transport;
mod type_config;

pub use client::{Client, ClientError, Route};
pub use config::{GroupConfig, Snapshots};
pub use group::{Commands, CommandsError, Group, ProposeError, Term};
pub use groups::{GROUPS_MAX, GroupStatus, Groups, OpenError};
pub use state_machine::{RestoreError, StateMachine};
pub use transport::{Asker, Channel, Handler, Transport, TransportError};
