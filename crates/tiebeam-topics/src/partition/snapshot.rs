//! A partition's state as bytes: `[version]`, then frames `[length u32 le][codec bytes]`.
//!
//! Many frames and not one value, since the codec limits a value to 16 MiB, and 64 consumers may keep 64 MiB.

use bytes::BufMut;
use serde::{Deserialize, Serialize};
use tiebeam_wire::codec::DecodeError;

use super::Partition;
use super::command::{self, Counters};
use super::consumers::{ConsumerState, Consumers};
use super::index::{Chunk, Index};
use super::producers::{Producer, Producers};

/// Version of the framing; what lies in frames has the commands' version.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    counters: Counters,
    next_producer_id: i64,
    chunks: u32,
    producers: u32,
    consumers: u32,
}

pub(super) fn write(partition: &Partition) -> Vec<u8> {
    let Partition { index, producers, consumers, counters } = partition;
    let (next_producer_id, parts) = producers.parts();
    let head = Head {
        counters: *counters,
        next_producer_id,
        chunks: index.chunks().len() as u32,
        producers: producers.count(),
        consumers: consumers.parts().len() as u32,
    };
    let mut bytes = vec![FORMAT];
    put(&mut bytes, &head);
    index.chunks().iter().for_each(|chunk| put(&mut bytes, chunk));
    parts.for_each(|producer| put(&mut bytes, &producer));
    consumers.parts().for_each(|consumer| put(&mut bytes, &consumer));
    bytes
}

pub(super) fn read(bytes: &[u8]) -> Result<Partition, DecodeError> {
    let (format, mut rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *format != FORMAT {
        return Err(DecodeError::Version { found: *format, expected: FORMAT });
    }
    let head: Head = take(&mut rest)?;
    let chunks: Vec<Chunk> = take_all(&mut rest, head.chunks)?;
    let producers: Vec<(i64, Producer)> = take_all(&mut rest, head.producers)?;
    let consumers: Vec<(String, ConsumerState)> = take_all(&mut rest, head.consumers)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { left: rest.len() });
    }
    Ok(Partition {
        index: Index::from_chunks(chunks).ok_or(DecodeError::Empty)?,
        producers: Producers::from_parts(head.next_producer_id, producers).ok_or(DecodeError::Empty)?,
        consumers: Consumers::from_parts(consumers),
        counters: head.counters,
    })
}

fn put<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    let frame = command::encode(value);
    bytes.put_u32_le(frame.len() as u32);
    bytes.extend_from_slice(&frame);
}

fn take<T: for<'de> Deserialize<'de>>(rest: &mut &[u8]) -> Result<T, DecodeError> {
    let (length, after) = rest.split_first_chunk().ok_or(DecodeError::Empty)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (frame, after) = after.split_at_checked(length).ok_or(DecodeError::Empty)?;
    *rest = after;
    command::decode(frame)
}

/// The count comes from the same bytes, so nothing is reserved for it in advance.
fn take_all<T: for<'de> Deserialize<'de>>(rest: &mut &[u8], count: u32) -> Result<Vec<T>, DecodeError> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(take(rest)?);
    }
    Ok(all)
}
