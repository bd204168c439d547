//! Keeps load from becoming failure: backs off, breaks circuits, limits, sheds, sizes pools. Pure: time and chance are given.
//!
//! Floor 1: no clock, no entropy, no waiting. Each part is a value that its owner asks and tells, and each can be used alone:
//!
//! | Part | Question it answers |
//! |---|---|
//! | [`Backoff`], [`Delays`] | how long to wait before trying again |
//! | [`RetryBudget`] | whether to try again at all |
//! | [`Breaker`] | whether to call somebody who failed lately |
//! | [`TokenBucket`] | whether this much may pass now |
//! | [`Bulkhead`] | who runs, who waits, who is refused |
//! | [`Limiter`] | how many may be under way, learned from how long they take |
//! | [`Shedder`] | whether a request can still be done in time |
//! | [`CodelQueue`] | whom to drop from a queue that stays long |
//! | [`PoolSizer`] | how many workers there should be |
//!
//! **Contract.** Time is handed in as an [`Instant`](tiebeam_wire::Instant) and never goes back; a moment earlier than the
//! last one counts as the last one. Randomness is handed in as 64 bits. Equal inputs give equal answers. Nothing here
//! waits, and nothing is unbounded: what grows has a limit in its configuration.
//!
//! **Figures.** Each part has a `snapshot` of plain counters since it was made, for whoever exports them.

mod backoff;
mod retry_budget;
mod window;

mod breaker;

mod bulkhead;
mod token_bucket;

mod codel;
mod limiter;
mod shedder;

mod pool_sizer;

pub use backoff::{Backoff, Delays, Jitter};
pub use breaker::{Breaker, BreakerConfig, BreakerSnapshot, BreakerState, Outcome, Permit, Refused};
pub use bulkhead::{Bulkhead, BulkheadConfig, BulkheadSnapshot, Entry};
pub use codel::{CodelConfig, CodelQueue, CodelSnapshot, Popped};
pub use limiter::{Algorithm, Full, Limiter, LimiterConfig, LimiterSnapshot, Sample};
pub use pool_sizer::{Load, PoolConfig, PoolSizer, PoolSnapshot, Resize};
pub use retry_budget::{RetryBudget, RetryBudgetConfig, RetryBudgetSnapshot};
pub use shedder::{Shed, Shedder, ShedderSnapshot};
pub use token_bucket::{Short, TokenBucket, TokenBucketConfig, TokenBucketSnapshot};

use std::time::Duration;

/// A duration in nanoseconds; the longest that fits if it doesn't.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Spreads 64 random bits over the numbers from 0 to `last`, both included.
fn spread(random: u64, last: u64) -> u64 {
    // Multiply-shift, without the bias of a remainder (Lemire, 2019).
    let product = u128::from(random) * (u128::from(last) + 1);
    u64::try_from(product >> 64).unwrap_or(last)
}
