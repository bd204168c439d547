//! The rules of OTP, one test each.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop there")]

mod agents;
mod calls;
mod deadlines;
mod event_managers;
mod exits;
mod inspect;
mod life;
mod mailbox;
mod monitors;
mod multi_calls;
mod names;
mod others_mistakes;
mod overflow;
mod partitions;
mod pressure;
mod probe;
mod registries;
mod remote;
mod state_machines;
mod storm;
mod supervisor_model;
mod supervisors;
mod tasks;
mod turns;
mod wire;
