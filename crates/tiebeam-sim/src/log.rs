//! What happened, in order: the last part of it to be read, and a hash of all of it.

use std::collections::VecDeque;
use std::fmt;

use tiebeam_wire::NodeId;

use crate::network::Fate;

/// How many entries are kept to be read; older ones live on in the hash alone.
pub const ENTRIES_MAX: usize = 200_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node sent a datagram.
    Sent {
        /// Whom it is for.
        to: NodeId,
        /// Its length.
        bytes: usize,
        /// Its checksum.
        sum: u32,
        /// What becomes of it.
        fate: Fate,
    },
    /// A datagram arrived at the node.
    Arrived {
        /// Who sent it.
        from: NodeId,
        /// Its length.
        bytes: usize,
        /// Its checksum.
        sum: u32,
    },
    /// Something else, in words.
    Told(String),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in nanoseconds since the simulation began.
    pub at: u64,
    /// On which node; 0 for the simulation itself.
    pub node: NodeId,
    /// What.
    pub event: Event,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000_000, self.at % 1_000_000_000 / 1000);
        write!(f, "{seconds:4}.{micros:06} {:>4} ", self.node.to_string())?;
        match &self.event {
            Event::Sent { to, bytes, sum, fate } => {
                write!(f, "sends {bytes} bytes ({sum:08x}) to {to}: ")?;
                let after_us = |at: &u64| at.saturating_sub(self.at) / 1000;
                match fate {
                    Fate::Arrives(at) => write!(f, "arrives after {} us", after_us(at)),
                    Fate::ArrivesTwice(a, b) => write!(f, "arrives after {} us and {} us", after_us(a), after_us(b)),
                    Fate::Lost => f.write_str("lost"),
                    Fate::Cut => f.write_str("cut"),
                    Fate::TooLong => f.write_str("too long"),
                }
            }
            Event::Arrived { from, bytes, sum } => write!(f, "receives {bytes} bytes ({sum:08x}) from {from}"),
            Event::Told(text) => f.write_str(text),
        }
    }
}

/// The log of one run.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    hash: u64,
    count: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { entries: VecDeque::new(), hash: 0xcbf2_9ce4_8422_2325, count: 0 }
    }
}

impl Log {
    /// Takes in what happened.
    pub fn push(&mut self, entry: Entry) {
        self.mix(entry.at);
        self.mix(entry.node.0);
        match &entry.event {
            Event::Sent { to, bytes, sum, fate } => {
                let fate = match fate {
                    Fate::Arrives(at) => *at,
                    Fate::ArrivesTwice(a, b) => a.wrapping_mul(31) ^ b,
                    Fate::Lost => 1,
                    Fate::Cut => 2,
                    Fate::TooLong => 3,
                };
                [1, to.0, *bytes as u64, u64::from(*sum), fate].into_iter().for_each(|word| self.mix(word));
            }
            Event::Arrived { from, bytes, sum } => {
                [2, from.0, *bytes as u64, u64::from(*sum)].into_iter().for_each(|word| self.mix(word));
            }
            Event::Told(text) => {
                self.mix(3);
                self.mix(u64::from(crc32c::crc32c(text.as_bytes())));
            }
        }
        self.count += 1;
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The last [`ENTRIES_MAX`] entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Says in 64 bits what happened: two runs with the same hash did the same.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many entries there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// FNV's step, by words, with a rotation so that high bits reach low ones.
    const fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}
