use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a record stands in its partition: 0 for the first, without gaps. Not a Raft index, which also counts commands
/// that hold no record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// The largest offset that a Kafka record batch can name.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Makes an offset; `None` beyond [`Offset::MAX`].
    #[must_use]
    pub const fn new(offset: u64) -> Option<Self> {
        if offset <= Self::MAX.0 { Some(Self(offset)) } else { None }
    }

    /// The offset `records` further on, at most [`Offset::MAX`].
    #[must_use]
    pub const fn advance(self, records: u64) -> Self {
        let sum = self.0.saturating_add(records);
        if sum <= Self::MAX.0 { Self(sum) } else { Self::MAX }
    }

    /// How many records lie from `earlier` up to here; 0 if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
