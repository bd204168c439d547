//! Groups of three replicas in one process: real logs on disk, requests over an in-memory mesh that can be cut.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cluster;
mod failover;
mod mesh;
mod snapshot;
