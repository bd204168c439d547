//! Keeps partitioned records, deduplicated and replicated, and feeds consumers beside them.
//!
//! A topic is a number of partitions, a partition is a replicated log whose entries are Kafka record batches.
//!
//! - [`producer::Producer`] sends records: each is kept once and in order, however often the way there breaks.
//! - [`partition::Partition`] is the state beside a partition's log: what is kept, by whom it was sent, who read how far.
//! - [`fetch`] reads: on a replica's node from its log, elsewhere by asking.
//! - [`consumer::ConsumerHost`] runs a supervised consumer beside the leader of each partition, and commits its state
//!   and its offset together.
//! - [`catalog::Catalog`] knows which topics there are; whoever composes a node says where that is written.
//!
//! # Invariants
//!
//! - An acknowledged record is on a majority of disks, once, at an offset that never changes.
//! - Records of one producer to one partition lie there in the order in which they were sent.
//! - A consumer's state is the one that follows from the records before its offset, each counted once.
//!
//! # What it does not do
//!
//! No retention, no compaction, no compression, no transactions, no groups that share partitions out.
//!
//! Further reading: `docs/protocols/partition.md`.

pub mod batch;
pub mod catalog;
pub mod consumer;
pub mod fetch;
mod offset;
pub mod partition;
mod partitioner;
pub mod producer;

pub use offset::Offset;
pub use partitioner::partition_of;
