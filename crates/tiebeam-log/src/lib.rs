//! Replicates many logs: openraft driven over the cluster, kept in storage, applied to state machines.

mod state_machine;

pub use state_machine::{RestoreError, StateMachine};
