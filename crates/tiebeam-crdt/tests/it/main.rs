//! The kernel against its laws and against naive models, the replicator against a network that does its worst.

mod golden;
mod known_failures;
mod laws;
mod model;
mod network;
mod replicator;
mod subjects;
