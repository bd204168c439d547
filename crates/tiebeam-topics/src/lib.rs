//! Keep partitioned records, deduplicated and replicated, and feed consumers beside them.

pub mod batch;
mod offset;
pub mod partition;

pub use offset::Offset;
