//! A partition as bytes: a sequence of values, each behind its length, so that no single value meets the codec's limit
//! although the whole may be far beyond it.
//!
//! `[length u32 LE][value]*`: the head, the unfinished instances in order of id, the finished ones in the order in which
//! they finished.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tiebeam_wire::codec::{self, DecodeError};

use super::Partition;
use super::instance::{Finished, Instance};
use crate::event::Event;
use crate::query::{Counts, Status};

const SNAPSHOT_VERSION: u8 = 1;
const LENGTH_BYTES: usize = 4;

#[derive(Serialize, Deserialize)]
struct Head {
    next_turn: u64,
    term: u64,
    counts: Counts,
    unfinished: u32,
    finished: u32,
}

#[derive(Serialize, Deserialize)]
struct Unfinished<'a> {
    id: std::borrow::Cow<'a, str>,
    turn: u64,
    definition: std::borrow::Cow<'a, str>,
    input: Bytes,
    journal: std::borrow::Cow<'a, [Event]>,
}

pub(super) fn write(partition: &Partition) -> Vec<u8> {
    let mut out = Vec::new();
    let count = |n: usize| u32::try_from(n).expect("the limits on instances are far below four billion");
    let head = Head {
        next_turn: partition.next_turn,
        term: partition.term,
        counts: partition.counts,
        unfinished: count(partition.unfinished.len()),
        finished: count(partition.finished.len()),
    };
    put(&mut out, &head);
    for (id, instance) in &partition.unfinished {
        let value = Unfinished {
            id: id.into(),
            turn: instance.turn,
            definition: (&instance.definition).into(),
            input: instance.input.clone(),
            journal: (&instance.journal).into(),
        };
        put(&mut out, &value);
    }
    for id in &partition.finished_order {
        let finished = partition.finished.get(id).expect("the order holds the ids of the finished");
        put(&mut out, &(id, finished));
    }
    out
}

pub(super) fn read(mut bytes: &[u8]) -> Result<Partition, DecodeError> {
    let head: Head = take(&mut bytes)?;
    let mut partition =
        Partition { next_turn: head.next_turn, term: head.term, counts: head.counts, ..Partition::default() };
    for _ in 0..head.unfinished {
        let Unfinished { id, turn, definition, input, journal } = take(&mut bytes)?;
        let instance = Instance::replay(turn, definition.into_owned(), input, journal.into_owned());
        if instance.status != Status::Stuck {
            partition.turns.insert(turn, id.clone().into_owned());
        }
        partition.unfinished.insert(id.into_owned(), instance);
    }
    for _ in 0..head.finished {
        let (id, finished): (String, Finished) = take(&mut bytes)?;
        partition.finished_order.push_back(id.clone());
        partition.finished.insert(id, finished);
    }
    if bytes.is_empty() { Ok(partition) } else { Err(DecodeError::Trailing { left: bytes.len() }) }
}

fn put<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    let bytes = codec::encode(SNAPSHOT_VERSION, value);
    let length = u32::try_from(bytes.len()).expect("limits keep every value of a snapshot below 16 MiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&bytes);
}

fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, DecodeError> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or(DecodeError::Empty)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(DecodeError::Empty)?;
    *bytes = rest;
    codec::decode(SNAPSHOT_VERSION, value)
}
