//! Runs whole nodes in one process, on virtual time, from a seed.
//!
//! - [`Simulation`] is a cluster: real actor systems, real clusters, real QUIC and TLS, over a [`network::Network`] that is
//!   a model. Nodes are started, crashed and paused, links are cut and made worse, clocks are skewed.
//! - [`interpose`] answers for the clocks and the entropy of the thread, so that the same seed does the same, byte for byte.
//!
//! Invariants: one thread runs all nodes of a simulation. Time stands still while a node works, and goes on to whatever
//! is due next. Nothing that is written into the [`log::Log`] depends on anything but the seed and the program.
//!
//! What it does not do: it simulates no disk and no threads; what a node does on a thread of its own is not repeatable.
//! Linux alone.
//!
//! Further reading: ADR 0027; `docs/glossary.md`.

pub mod interpose;

mod clock;
pub mod faults;
mod host;
pub mod log;
pub mod members;
pub mod network;
mod outside;
mod plug;
pub mod run;
mod simulation;
mod site;
mod trace;
pub mod workload;

pub use outside::Outside;
pub use simulation::{SECOND, Simulation, Work, on_thread};
pub use site::{Site, draw};
