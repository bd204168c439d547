//! Who wrote which batches, so that each is kept once.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::command::{AppendReply, OpenReply, Opened};
use super::is_name;
use crate::Offset;
use crate::batch::{ProducerStamp, SEQUENCES};

/// Batches of each producer whose offsets are remembered; Kafka's clients have at most this many in flight.
pub const RECENT_BATCHES: usize = 5;

/// The most producers of a partition; more can't be opened.
pub const PRODUCERS_MAX: usize = 10_000;

/// Openings of each producer that are recognised when they are proposed again.
const NONCES: usize = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    by_id: BTreeMap<i64, Producer>,
    ids: BTreeMap<String, i64>,
    next_id: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Producer {
    name: String,
    epoch: i16,
    /// Counts its records; modulo 2^31 it is the sequence that comes next.
    appended: u64,
    recent: VecDeque<Recent>,
    openings: VecDeque<Opening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    base_sequence: i32,
    records: u32,
    base_offset: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opening {
    nonce: u64,
    producer_id: i64,
    epoch: i16,
}

impl Producers {
    /// Puts together what [`Producers::parts`] gave; `None` if it doesn't fit.
    pub(super) fn from_parts(next_id: i64, parts: Vec<(i64, Producer)>) -> Option<Self> {
        let mut producers = Self { next_id, ..Self::default() };
        for (id, producer) in parts {
            let known = producers.ids.insert(producer.name.clone(), id);
            let taken = producers.by_id.insert(id, producer);
            if known.is_some() || taken.is_some() || id >= next_id {
                return None;
            }
        }
        Some(producers)
    }

    pub(super) fn parts(&self) -> (i64, impl Iterator<Item = (&i64, &Producer)>) {
        (self.next_id, self.by_id.iter())
    }

    pub(super) fn open(&mut self, name: String, nonce: u64) -> OpenReply {
        if !is_name(&name) {
            return OpenReply::Refused { reason: format!("producer name of {} bytes", name.len()) };
        }
        let Some(&id) = self.ids.get(&name) else {
            return self.insert(name, nonce);
        };
        let producer = self.by_id.get_mut(&id).expect("a known name has a known id");
        // Only what was granted then: if the producer was opened by somebody else since, this one is fenced, and must
        // find out rather than fence them in turn.
        if let Some(again) = producer.openings.iter().find(|opening| opening.nonce == nonce) {
            let Opening { producer_id, epoch, .. } = *again;
            return OpenReply::Opened(Opened { producer_id, epoch, appended: producer.appended });
        }
        let (id, epoch) = match producer.epoch.checked_add(1) {
            Some(epoch) => (id, epoch),
            None => (self.renumber(id), 0),
        };
        let producer = self.by_id.get_mut(&id).expect("it was found, and maybe renumbered, just now");
        producer.begin(id, epoch, nonce)
    }

    /// Decides whether a batch that would lie at `end` is kept, and notes it if so; otherwise says what to reply.
    pub(super) fn append(&mut self, stamp: ProducerStamp, records: u32, end: Offset) -> Result<(), AppendReply> {
        let ProducerStamp { id, epoch, base_sequence } = stamp;
        let Some(producer) = self.by_id.get_mut(&id) else {
            // Ids are given out in order: a lower one was this producer's before its epochs ran out.
            return Err(match id < self.next_id {
                true => AppendReply::Fenced { epoch: i16::MAX },
                false => AppendReply::Invalid { reason: format!("producer id {id} was never given out") },
            });
        };
        if epoch < producer.epoch {
            return Err(AppendReply::Fenced { epoch: producer.epoch });
        }
        if epoch > producer.epoch {
            return Err(AppendReply::Invalid { reason: format!("epoch {epoch} of producer {id} was never given out") });
        }
        producer.place(base_sequence, records)?;
        producer.appended += u64::from(records);
        if producer.recent.len() == RECENT_BATCHES {
            producer.recent.pop_front();
        }
        producer.recent.push_back(Recent { base_sequence, records, base_offset: end });
        Ok(())
    }

    pub(super) fn appended(&self, name: &str) -> u64 {
        let producer = self.ids.get(name).and_then(|id| self.by_id.get(id));
        producer.map_or(0, |producer| producer.appended)
    }

    pub(super) fn count(&self) -> u32 {
        self.by_id.len() as u32
    }

    pub(super) fn check(&self, end: Offset) {
        assert_eq!(self.ids.len(), self.by_id.len());
        for (id, producer) in &self.by_id {
            assert_eq!(self.ids.get(&producer.name), Some(id));
            assert!(*id < self.next_id, "producer {id} was given out, next is {}", self.next_id);
            assert!(producer.recent.len() <= RECENT_BATCHES);
            assert!(producer.openings.len() <= NONCES);
            assert!(producer.appended <= end.get(), "{} of {end} records", producer.appended);
        }
    }

    fn insert(&mut self, name: String, nonce: u64) -> OpenReply {
        if self.by_id.len() == PRODUCERS_MAX {
            return OpenReply::Refused { reason: format!("partition has {PRODUCERS_MAX} producers, the most it may") };
        }
        let id = self.next_id;
        self.next_id += 1;
        self.ids.insert(name.clone(), id);
        let producer = Producer { name, epoch: 0, appended: 0, recent: VecDeque::new(), openings: VecDeque::new() };
        self.by_id.entry(id).or_insert(producer).begin(id, 0, nonce)
    }

    /// Gives the producer a new id, since its epochs ran out.
    fn renumber(&mut self, old: i64) -> i64 {
        let producer = self.by_id.remove(&old).expect("the caller found it");
        let id = self.next_id;
        self.next_id += 1;
        self.ids.insert(producer.name.clone(), id);
        self.by_id.insert(id, producer);
        id
    }
}

impl Producer {
    fn begin(&mut self, producer_id: i64, epoch: i16, nonce: u64) -> OpenReply {
        self.epoch = epoch;
        if self.openings.len() == NONCES {
            self.openings.pop_front();
        }
        self.openings.push_back(Opening { nonce, producer_id, epoch });
        OpenReply::Opened(Opened { producer_id, epoch, appended: self.appended })
    }

    fn place(&self, base_sequence: i32, records: u32) -> Result<(), AppendReply> {
        let expected = self.appended % SEQUENCES;
        // Sequences wrap, so "before" means: within as many records back as there are, and at most half of the circle.
        let back = (expected + SEQUENCES - u64::from(base_sequence.unsigned_abs())) % SEQUENCES;
        if back == 0 {
            return Ok(());
        }
        let before = back <= self.appended.min(SEQUENCES / 2);
        if !before || back < u64::from(records) {
            return Err(AppendReply::OutOfOrder { expected: expected as i32 });
        }
        let same = |recent: &&Recent| recent.base_sequence == base_sequence && recent.records == records;
        let base_offset = self.recent.iter().rev().find(same).map(|recent| recent.base_offset);
        Err(AppendReply::Duplicate { base_offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(reply: OpenReply) -> Opened {
        match reply {
            OpenReply::Opened(opened) => opened,
            OpenReply::Refused { reason } => panic!("refused: {reason}"),
        }
    }

    /// A table in which producer 0 has appended `appended` records.
    fn after(appended: u64) -> Producers {
        let mut producers = Producers::default();
        opened(producers.open("p".to_owned(), 1));
        producers.by_id.get_mut(&0).unwrap().appended = appended;
        producers
    }

    const fn stamp(base_sequence: i32) -> ProducerStamp {
        ProducerStamp { id: 0, epoch: 0, base_sequence }
    }

    #[test]
    fn sequence_wraps_after_the_largest() {
        let mut producers = after(SEQUENCES - 2);
        assert_eq!(producers.append(stamp(i32::MAX - 1), 5, Offset::ZERO), Ok(()));
        assert_eq!(producers.append(stamp(3), 1, Offset::ZERO.advance(5)), Ok(()));
        let again = producers.append(stamp(i32::MAX - 1), 5, Offset::ZERO.advance(6));
        assert_eq!(again, Err(AppendReply::Duplicate { base_offset: Some(Offset::ZERO) }));
    }

    /// A fresh producer expects 0; the largest sequence lies just before 0 on the circle, but nothing was appended yet.
    #[test]
    fn nothing_lies_before_the_first_record() {
        let mut producers = after(0);
        let reply = producers.append(stamp(i32::MAX), 1, Offset::ZERO);
        assert_eq!(reply, Err(AppendReply::OutOfOrder { expected: 0 }));
    }

    #[test]
    fn batch_that_is_there_in_part_is_out_of_order() {
        let mut producers = after(10);
        assert_eq!(producers.append(stamp(8), 3, Offset::ZERO), Err(AppendReply::OutOfOrder { expected: 10 }));
        assert_eq!(producers.append(stamp(8), 2, Offset::ZERO), Err(AppendReply::Duplicate { base_offset: None }));
    }

    #[test]
    fn producer_whose_epochs_ran_out_gets_a_new_id() {
        let mut producers = after(7);
        producers.by_id.get_mut(&0).unwrap().epoch = i16::MAX;
        assert_eq!(opened(producers.open("p".to_owned(), 2)), Opened { producer_id: 1, epoch: 0, appended: 7 });
        assert_eq!(producers.append(stamp(7), 1, Offset::ZERO), Err(AppendReply::Fenced { epoch: i16::MAX }));
        producers.check(Offset::ZERO.advance(7));
    }

    #[test]
    fn opening_proposed_again_grants_what_it_granted() {
        let mut producers = after(0);
        let first = opened(producers.open("p".to_owned(), 2));
        let second = opened(producers.open("p".to_owned(), 3));
        assert_eq!((first.epoch, second.epoch), (1, 2));
        assert_eq!(opened(producers.open("p".to_owned(), 3)), second);
        // The first one's repetition arrives late: it must not fence the second.
        assert_eq!(opened(producers.open("p".to_owned(), 2)), first);
        assert_eq!(producers.by_id[&0].epoch, 2);
    }

    #[test]
    fn names_have_limits() {
        let mut producers = Producers::default();
        assert!(matches!(producers.open(String::new(), 1), OpenReply::Refused { .. }));
        assert!(matches!(producers.open("x".repeat(256), 1), OpenReply::Refused { .. }));
        assert!(matches!(producers.open("x".repeat(255), 1), OpenReply::Opened(_)));
    }

    #[test]
    fn one_producer_too_many_is_refused() {
        let mut producers = Producers::default();
        for n in 0..PRODUCERS_MAX {
            opened(producers.open(n.to_string(), 1));
        }
        assert!(matches!(producers.open("late".to_owned(), 1), OpenReply::Refused { .. }));
        assert!(matches!(producers.open("0".to_owned(), 2), OpenReply::Opened(_)));
    }
}
