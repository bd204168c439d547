//! From offset to Raft index, for every batch that was kept.
//!
//! The index names each kept batch, none between: a reader can't tell from the log alone which appends were kept and
//! which were repetitions. Batches differ in size, so run lengths would not shrink it; instead each batch is two
//! varints, the step in Raft index and the number of records, in chunks that begin with both numbers in full. That is
//! 2 to 4 bytes for a batch, and a lookup is a binary search over chunks and a walk over at most [`CHUNK_BATCHES`].

use serde::{Deserialize, Serialize};

use crate::Offset;

/// Batches in a chunk: bounds the walk of a lookup.
const CHUNK_BATCHES: u32 = 256;

/// Where a kept batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The Raft index of the append.
    pub index: u64,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// How many records it has.
    pub records: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    chunks: Vec<Chunk>,
    end: Offset,
    last_index: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    base_offset: Offset,
    /// What the first step counts from.
    base_index: u64,
    batches: u32,
    steps: Vec<u8>,
}

impl Index {
    /// Builds the index from the chunks of another; `None` if they don't follow each other.
    pub(super) fn from_chunks(chunks: Vec<Chunk>) -> Option<Self> {
        let mut index = Self::default();
        for chunk in &chunks {
            if chunk.base_offset != index.end || chunk.base_index < index.last_index || chunk.batches == 0 {
                return None;
            }
            let last = chunk.places().last()?;
            if chunk.places().count() != chunk.batches as usize {
                return None;
            }
            index.end = last.base_offset.advance(u64::from(last.records));
            index.last_index = last.index;
        }
        Some(Self { chunks, ..index })
    }

    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Notes that the entry at `index` holds the next `records` records.
    pub(super) fn push(&mut self, index: u64, records: u32) {
        assert!(self.chunks.is_empty() || self.last_index < index, "entry {index} after {}", self.last_index);
        assert!(records > 0, "entry {index} without records");
        if self.chunks.last().is_none_or(|chunk| chunk.batches == CHUNK_BATCHES) {
            let chunk = Chunk { base_offset: self.end, base_index: index, batches: 0, steps: Vec::new() };
            self.chunks.push(chunk);
            self.last_index = index;
        }
        let chunk = self.chunks.last_mut().expect("one was just made sure of");
        put(&mut chunk.steps, index - self.last_index);
        put(&mut chunk.steps, u64::from(records));
        chunk.batches += 1;
        self.last_index = index;
        self.end = self.end.advance(u64::from(records));
    }

    pub(super) const fn end(&self) -> Offset {
        self.end
    }

    /// The batch that holds `from` and those after it, at most `batches_max`; empty from the end on.
    pub(super) fn places(&self, from: Offset, batches_max: usize) -> Vec<Place> {
        let first = self.chunks.partition_point(|chunk| chunk.base_offset <= from).saturating_sub(1);
        let places = self.chunks[first.min(self.chunks.len())..].iter().flat_map(Chunk::places);
        let places = places.skip_while(|p| p.base_offset.advance(u64::from(p.records)) <= from);
        places.take(batches_max).collect()
    }

    /// Walks over everything; returns the number of records.
    pub(super) fn check(&self) -> u64 {
        let rebuilt = Self::from_chunks(self.chunks.clone()).expect("chunks follow each other");
        assert_eq!(rebuilt.end, self.end);
        assert_eq!(rebuilt.last_index, self.last_index);
        self.end.get()
    }
}

impl Chunk {
    fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let mut steps = &self.steps[..];
        let (mut index, mut end) = (self.base_index, self.base_offset);
        std::iter::from_fn(move || {
            index = index.checked_add(take(&mut steps)?)?;
            let records = u32::try_from(take(&mut steps)?).ok().filter(|n| *n > 0)?;
            let base_offset = end;
            end = end.advance(u64::from(records));
            Some(Place { index, base_offset, records })
        })
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plain list of batches; more than two chunks, so that a lookup at a seam is wrong if it is.
        #[test]
        fn every_offset_is_found(batches in proptest::collection::vec((1..300_u64, 1..70_000_u32), 1..600)) {
            let (mut index, mut list, mut at) = (Index::default(), Vec::new(), 0);
            for (step, records) in batches {
                at += step;
                list.push(Place { index: at, base_offset: index.end(), records });
                index.push(at, records);
            }
            index.check();
            for (n, place) in list.iter().enumerate() {
                let last = place.base_offset.advance(u64::from(place.records) - 1);
                let expected = &list[n..list.len().min(n + 3)];
                prop_assert_eq!(&index.places(place.base_offset, 3)[..], expected);
                prop_assert_eq!(&index.places(last, 3)[..], expected);
            }
            prop_assert_eq!(index.places(index.end(), 3), vec![]);
            prop_assert_eq!(Index::from_chunks(index.chunks().to_vec()), Some(index));
        }
    }

    #[test]
    fn empty_index_has_no_places() {
        assert_eq!(Index::default().places(Offset::ZERO, 9), []);
    }

    /// What a million batches cost in memory is what makes an index of every batch affordable.
    #[test]
    fn batch_takes_a_few_bytes() {
        let mut index = Index::default();
        for n in 0..100_000 {
            index.push(n, 100);
        }
        let bytes: usize = index.chunks().iter().map(|c| c.steps.len() + size_of::<Chunk>()).sum();
        assert!(bytes < 300_000, "{bytes} bytes for 100,000 batches");
    }
}
