//! Workflows over real logs: three nodes in one process, their write-ahead logs on disk, the network a mesh in memory.

mod cluster;
mod mesh;
mod takeover;
