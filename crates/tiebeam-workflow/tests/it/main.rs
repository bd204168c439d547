//! Workflows over real logs: three nodes in one process, their write-ahead logs on disk, the network a mesh in memory.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cluster;
mod mesh;
mod takeover;
