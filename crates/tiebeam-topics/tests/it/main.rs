//! Topics over real logs on real disks, several nodes in one process, with a network that can fail.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cluster;
mod consumer;
mod fetch;
mod mesh;
mod power;
mod producer;
