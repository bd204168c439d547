//! How far each consumer got, and what it knew there.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::CommitReply;
use super::is_name;
use crate::Offset;

/// The largest state of a consumer, in bytes; a commit with a larger one is refused.
pub const STATE_BYTES_MAX: usize = 1024 * 1024;

/// The most consumers of a partition; the first commit of one more is refused.
pub const CONSUMERS_MAX: usize = 64;

/// Where a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerState {
    /// The next offset that it has not seen.
    pub offset: Offset,
    /// What it knew after the record before that.
    pub state: Bytes,
    /// Where its last commit came from, so that the commit is recognised when it is proposed again.
    from: Offset,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Consumers(BTreeMap<String, ConsumerState>);

impl Consumers {
    pub(super) fn from_parts(parts: Vec<(String, ConsumerState)>) -> Self {
        Self(parts.into_iter().collect())
    }

    pub(super) fn parts(&self) -> impl ExactSizeIterator<Item = (&String, &ConsumerState)> {
        self.0.iter()
    }

    /// Moves `consumer` over `read`, which ends at or before `end`, if that is where it stands.
    pub(super) fn commit(&mut self, consumer: String, read: Range<Offset>, state: Bytes, end: Offset) -> CommitReply {
        if let Some(reason) = refusal(&consumer, &read, &state, end) {
            return CommitReply::Invalid { reason };
        }
        let next = ConsumerState { offset: read.end, state, from: read.start };
        let full = self.0.len() == CONSUMERS_MAX;
        match self.0.get_mut(&consumer) {
            Some(now) if now.offset == read.start => *now = next,
            // The same commit again, or that of another consumer which saw the same and came to the same: either way
            // what it wants is so.
            Some(now) if *now == next => {}
            Some(now) => return CommitReply::Conflict { offset: now.offset },
            None if read.start != Offset::ZERO => return CommitReply::Conflict { offset: Offset::ZERO },
            None if full => {
                let reason = format!("partition has {CONSUMERS_MAX} consumers, the most it may");
                return CommitReply::Invalid { reason };
            }
            None => drop(self.0.insert(consumer, next)),
        }
        CommitReply::Committed
    }

    pub(super) fn find(&self, consumer: &str) -> Option<&ConsumerState> {
        self.0.get(consumer)
    }

    pub(super) fn offsets(&self) -> Vec<(String, Offset)> {
        self.0.iter().map(|(name, state)| (name.clone(), state.offset)).collect()
    }

    pub(super) fn check(&self, end: Offset) {
        assert!(self.0.len() <= CONSUMERS_MAX);
        for (name, now) in &self.0 {
            assert!(now.from < now.offset, "{name} came from {} to {}", now.from, now.offset);
            assert!(now.offset <= end, "{name} stands at {} of {end}", now.offset);
        }
    }
}

fn refusal(consumer: &str, read: &Range<Offset>, state: &Bytes, end: Offset) -> Option<String> {
    if !is_name(consumer) {
        return Some(format!("consumer name of {} bytes", consumer.len()));
    }
    if state.len() > STATE_BYTES_MAX {
        return Some(format!("state has {} bytes, more than the limit of {STATE_BYTES_MAX}", state.len()));
    }
    // A commit that moves nothing could not be told from that of a rival: compare-and-set needs the offset to change.
    if read.is_empty() {
        return Some(format!("commit from {} to {} moves nothing", read.start, read.end));
    }
    (read.end > end).then(|| format!("commit up to {}, but the partition ends at {end}", read.end))
}
