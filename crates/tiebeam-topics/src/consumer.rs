//! Runs a consumer beside the leader of each partition, its state and its offset committed together.
//!
//! ```text
//! take the seat: wait until this replica leads, read offset and state as committed
//! turn: read records -> process -> commit (expected offset, next offset, new state) -> turn
//! ```
//!
//! A commit is one entry of the partition's own log, and holds only if the consumer still stands where this one read.
//! So each record changes the state once, although it may be processed more than once: after a crash, a lost leadership
//! or a conflict the consumer begins again from what is committed, and what it had done since is forgotten with its
//! memory. What a processor does to the outside is not undone; it happens at least once.

mod host;
mod seat;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

pub use self::host::{AddPartition, ConsumerHost, ConsumerHostArgs};
pub use self::seat::TurnError;
use crate::batch::Record;

/// What went wrong in a processor, in its own words.
pub type ProcessError = Box<dyn Error + Send + Sync>;

/// Names a partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number in it.
    pub partition: u32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a consumer does with records: state that records change.
///
/// One processor belongs to one partition. It is made anew whenever the consumer begins again, and restored from the
/// committed state before it sees a record.
pub trait Processor: Send + 'static {
    /// Takes `records`, in order of offset and without gaps; at least one. They count only once the state that follows
    /// them is committed: until then they may be given again, to a processor restored to the state before them.
    ///
    /// # Errors
    /// Ends the consumer; its supervisor starts it again from the committed state.
    fn process(
        &mut self,
        partition: &TopicPartition,
        records: &[Record],
    ) -> impl Future<Output = Result<(), ProcessError>> + Send;

    /// Writes down what the processor knows; at most [`crate::partition::STATE_BYTES_MAX`].
    fn state(&self) -> Bytes;

    /// Takes up what [`Processor::state`] wrote. Not called before the first commit.
    ///
    /// # Errors
    /// As [`Processor::process`].
    fn restore(&mut self, state: &Bytes) -> Result<(), ProcessError>;
}

/// How a consumer reads.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// About how many bytes of batches a turn reads at most. Default 1 MiB.
    pub fetch_bytes_max: usize,
    /// Most records of a turn: they are processed and committed together. Default 10,000.
    pub records_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self { fetch_bytes_max: 1024 * 1024, records_max: 10_000 }
    }
}
