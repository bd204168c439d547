//! Runs code that survives its node, by journal and replay.
//!
//! A workflow is a Rust async function with an explicit context, [`Wf`]. What its steps return is recorded in the journal
//! of its instance, which is part of a replicated log: a [`Partition`], one of [`limits::PARTITIONS`]. The node that leads
//! the log of a partition runs its instances; when it dies, the next leader runs their code from the beginning and hands
//! it what is recorded, until it comes to what is not.
//!
//! - [`Registry`] holds the code, [`Engine`] runs it, [`Workflows`] starts instances and asks after them from any node.
//! - Recorded exactly once: every start, outcome, compensation and end. **Done at least once**: every effect; steps are
//!   given a stable idempotency key ([`StepCall::key`]).
//! - Compensations belong to steps; if a workflow fails, those of all steps that had or may have had an effect run in
//!   reverse order.
//!
//! What it does not do yet: timers, signals and child workflows. `docs/protocols/journal.md` has the events and the
//! timeline of a takeover.

mod client;
mod command;
mod engine;
mod event;
pub mod limits;
mod partition;
mod proposer;
mod query;
mod registry;
mod replica;
mod retry;
mod wf;

pub use client::{NewInstance, StartError, Started, Workflows, WorkflowsError, partition_of};
pub use command::{Command, Refusal, Reply};
pub use engine::{Config, Engine, EngineArgs};
pub use event::{Event, StepId};
pub use partition::Partition;
pub use query::{Answer, Counts, InstanceView, Query, Status};
pub use registry::Registry;
pub use retry::{Retry, StepError, WorkflowError};
pub use tiebeam_resilience::Backoff;
pub use wf::{Step, StepCall, Wf};
