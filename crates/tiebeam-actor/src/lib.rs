//! Runs, links, monitors and supervises actors in one process, with the semantics of Erlang/OTP.
//!
//! - [`System`] is a node's table of processes; [`Actor`], [`Handler`] and [`Deferred`] are what a user writes;
//!   [`Addr`] is how anybody calls; [`Ctx`] is what an actor can do; [`Supervisor`] and [`DynamicSupervisor`] restart.
//! - Everything that one sender sends to one receiver arrives in the order in which it was sent: messages, exits, links,
//!   monitors and downs share one queue. So a worker's result arrives before its [`Info::Down`].
//! - Messages wait their turn; signals act at once, also behind a long queue and while a handler waits.
//! - Messages are bounded by credits; signals and replies are never refused.
//! - Names are free before anybody hears of a death. A [`Pid`] is never used twice.
//! - A panic is an exit reason. It ends one actor, whose supervisor decides.
//!
//! What it does not do: it knows no network. A pid of another node is a value; its signals go to the installed
//! [`Router`] and come in through [`System::deliver`].
//!
//! Further reading: "Processes" in the Erlang reference manual (signals, links, monitors), `supervisor.erl`, EEP 53.

#[cfg(panic = "abort")]
compile_error!("tiebeam needs panic = \"unwind\": a panic ends one actor, not the node");

mod actor;
mod addr;
pub mod agent;
mod alias;
mod cell;
mod code_change;
mod credits;
mod ctx;
mod deadline;
mod error;
pub mod event_manager;
mod inspect;
mod message;
mod multi_call;
mod overflow;
mod pid;
mod process;
mod raw;
mod reason;
pub mod registry;
mod remote;
mod reply;
mod scheduler;
mod starter;
pub mod state_machine;
mod supervisor;
mod system;
mod table;
pub mod task;
mod trace;
mod watchdog;

pub use actor::{Actor, Deferred, Dispatch, Handler, Immediate, Info, Later};
pub use addr::{Addr, CALL_TIMEOUT, Call, Calling, Cast, Named};
pub use agent::Agent;
pub use alias::Alias;
pub use code_change::{CodeChange, Exported};
pub use ctx::{Ctx, TASKS_MAX, TIMERS_MAX, TimerId};
pub use deadline::{DEADLINE_OVER, Deadline};
pub use error::{CallError, NoConnection, RegisterError};
pub use event_manager::EventManager;
pub use multi_call::{MultiCall, multi_call};
pub use overflow::Overflow;
pub use pid::{Pid, Ref};
pub use reason::ExitReason;
pub use registry::Registry;
pub use remote::{Dest, ExitKind, Polled, RemoteSignal, Room, Router};
pub use reply::ReplyTo;
pub use starter::Starter;
pub use state_machine::{Machine, StateMachine};
pub use supervisor::{
    AutoShutdown, ChildCounts, ChildError, ChildInfo, ChildSpec, ChildState, DynamicSpec, DynamicSupervisor, Intensity,
    PartitionSupervisor, Restart, Shutdown, Strategy, Supervisor, SupervisorSpec,
};
pub use system::{Config, ProcessInfo, ProcessTree, Status, System};
pub use table::Table;
pub use task::{Task, TaskSupervisor};
pub use trace::{Trace, TraceEvent, TraceKind, TraceLimits};
