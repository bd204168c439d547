//! What the macros make, and that the examples run.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop there")]

mod actors;
mod between_nodes;
mod examples;
mod protocols;
mod shapes;

use tiebeam::{Incarnation, NodeId, System};

fn system(node: u64) -> System {
    System::new(NodeId(node), Incarnation(1))
}
