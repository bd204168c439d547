//! A disk in memory that breaks on demand, for the tests of this crate and of those above it.
//!
//! [`MemDisk`] knows which bytes and names are durable. [`MemDisk::crash`] gives the disk that a power loss would leave.
