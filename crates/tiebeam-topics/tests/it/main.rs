//! Topics over real logs on real disks, several nodes in one process, with a network that can fail.

mod cluster;
mod consumer;
mod fetch;
mod mesh;
mod producer;
