//! Kafka's record batch, version 2 (magic 2): the bytes that producers send, the log keeps and consumers get.
//!
//! ```text
//! base offset i64 | length i32 | leader epoch i32 | magic i8 = 2 | crc u32 |
//! attributes i16 | last offset delta i32 | base timestamp i64 | max timestamp i64 |
//! producer id i64 | producer epoch i16 | base sequence i32 | count i32 | records
//! ```
//!
//! Big-endian; `length` counts what follows it, `crc` is the CRC-32C of everything after itself. Base offset and leader
//! epoch lie before the checksum, so the partition sets them without computing it again, and what the producer
//! checksummed is what the consumer verifies.
//!
//! # Invariants
//!
//! - A [`RecordBatch`] is valid to the last varint: only [`RecordBatch::decode`] and [`BatchBuilder`] make one.
//! - No bytes panic the decoder, and none make it allocate more than they occupy themselves.
//!
//! # What it does not do
//!
//! It refuses compression, transactions, control batches and log-append time: all are attributes, and every set
//! attribute is [`BatchError::Attributes`].
//!
//! Further reading: Kafka's `DefaultRecordBatch.java` and `DefaultRecord.java`.

mod builder;
mod record;
mod varint;

use bytes::{Bytes, BytesMut};
use tiebeam_wire::checksum;

pub(crate) use self::builder::check as check_record;
pub use self::builder::{BatchBuilder, PushError};
use self::record::RawRecord;
pub use self::record::{HEADERS_MAX, Header, Record, RecordError};
use self::varint::Cursor;
use crate::Offset;

/// The largest batch in bytes, its header included; a larger one is refused.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The most records in a batch; more are refused.
pub const BATCH_RECORDS_MAX: u32 = 65_536;

/// Bytes before the first record.
pub const BATCH_HEADER_BYTES: usize = 61;

/// Where each field begins.
mod at {
    pub(super) const LENGTH: usize = 8;
    pub(super) const LEADER_EPOCH: usize = 12;
    pub(super) const MAGIC: usize = 16;
    pub(super) const CRC: usize = 17;
    pub(super) const ATTRIBUTES: usize = 21;
    pub(super) const LAST_OFFSET_DELTA: usize = 23;
    pub(super) const BASE_TIMESTAMP: usize = 27;
    pub(super) const MAX_TIMESTAMP: usize = 35;
    pub(super) const PRODUCER_ID: usize = 43;
    pub(super) const PRODUCER_EPOCH: usize = 51;
    pub(super) const BASE_SEQUENCE: usize = 53;
    pub(super) const COUNT: usize = 57;
}

const MAGIC: u8 = 2;

/// The leader epoch of a batch whose leader is not said; Kafka's `NO_PARTITION_LEADER_EPOCH`.
const NO_LEADER_EPOCH: i32 = -1;

/// Sequences count records modulo 2^31: after [`i32::MAX`] comes 0, as Kafka's `incrementSequence` has it.
pub const SEQUENCES: u64 = 1 << 31;

/// Who wrote a batch, so that it is kept once however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The id that the partition gave to the producer; not negative.
    pub id: i64,
    /// Counts the incarnations of the producer; not negative.
    pub epoch: i16,
    /// The sequence of the batch's first record; not negative.
    pub base_sequence: i32,
}

/// Why bytes are no record batch. Sending them again can't help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than a header has.
    #[error("batch has {size} bytes, fewer than its header of {BATCH_HEADER_BYTES}")]
    Short {
        /// Bytes that there are.
        size: usize,
    },
    /// More bytes than [`BATCH_BYTES_MAX`].
    #[error("batch has {size} bytes, more than the limit of {BATCH_BYTES_MAX}")]
    TooLarge {
        /// Bytes that there are, or that the length field claims.
        size: usize,
    },
    /// The length field contradicts the bytes.
    #[error("batch has {size} bytes, its length field says {claimed}")]
    Length {
        /// Bytes that the field claims, with the 12 up to its own end.
        claimed: i64,
        /// Bytes that there are.
        size: usize,
    },
    /// Another format of batch.
    #[error("batch has magic {0}, expected {MAGIC}")]
    Magic(u8),
    /// The bytes are not those that were checksummed.
    #[error("batch has checksum {found:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// What the batch says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// Compression, transaction, control or timestamp bits, none of which are served.
    #[error(
        "batch has attributes {0:#06x}, expected none: compression, transactions and control batches are not served"
    )]
    Attributes(u16),
    /// The base offset is negative, or too large for the batch to end within [`Offset::MAX`].
    #[error("batch has base offset {0}, which is out of range")]
    BaseOffset(i64),
    /// No record, more than [`BATCH_RECORDS_MAX`], or a last offset delta that isn't one less.
    #[error("batch says {count} records with last offset delta {last_delta}, limit {BATCH_RECORDS_MAX}")]
    Count {
        /// The count field.
        count: i32,
        /// The last offset delta field.
        last_delta: i32,
    },
    /// A producer id with a negative epoch or sequence, or an id below -1.
    #[error("batch has producer {id} with epoch {epoch} and sequence {sequence}, which don't fit together")]
    Producer {
        /// The producer id.
        id: i64,
        /// The producer epoch.
        epoch: i16,
        /// The base sequence.
        sequence: i32,
    },
    /// The header's maximum is not the records' maximum.
    #[error("batch says maximum timestamp {said}, its records have {found}")]
    MaxTimestamp {
        /// What the header says.
        said: i64,
        /// What the records have.
        found: i64,
    },
    /// A record that can't be read.
    #[error("record {number} of the batch can't be read")]
    Record {
        /// Which one, from 0.
        number: u32,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// Bytes after the last record.
    #[error("batch has {0} bytes after its last record")]
    Trailing(usize),
}

/// A valid batch: 1 to [`BATCH_RECORDS_MAX`] records in at most [`BATCH_BYTES_MAX`] bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
    base_offset: Offset,
    records: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer: Option<ProducerStamp>,
}

impl RecordBatch {
    /// Takes `bytes` for one whole batch, after checking the checksum and every record.
    ///
    /// # Errors
    /// The first [`BatchError`] that was met.
    pub fn decode(bytes: Bytes) -> Result<Self, BatchError> {
        let claimed = claimed_size(&bytes)?;
        if claimed != bytes.len() {
            return Err(BatchError::Length { claimed: claimed as i64, size: bytes.len() });
        }
        let batch = Self::decode_header(bytes)?;
        batch.check_records()?;
        Ok(batch)
    }

    /// Takes the first of several batches off the front of `bytes`; `None` if they are empty.
    ///
    /// # Errors
    /// As [`RecordBatch::decode`]; `bytes` are unchanged then.
    pub fn take_first(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let size = claimed_size(bytes)?;
        if size > bytes.len() {
            return Err(BatchError::Length { claimed: size as i64, size: bytes.len() });
        }
        let batch = Self::decode(bytes.slice(..size))?;
        *bytes = bytes.slice(size..);
        Ok(Some(batch))
    }

    /// Moves the batch to `base_offset`. Touches 12 bytes before the checksum; copies the others only if they are shared.
    ///
    /// # Panics
    /// If the batch would end beyond [`Offset::MAX`].
    #[must_use]
    pub fn at(self, base_offset: Offset) -> Self {
        let end = base_offset.get().saturating_add(u64::from(self.records));
        assert!(Offset::new(end).is_some(), "batch at {base_offset} ends beyond the last offset");
        let mut bytes = self.bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        place(&mut bytes, base_offset);
        Self { bytes: bytes.freeze(), base_offset, ..self }
    }

    /// The batch as it goes over a wire and into a log.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The offset of the first record; [`Offset::ZERO`] until a partition placed the batch.
    #[must_use]
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The offset after the last record.
    #[must_use]
    pub const fn end_offset(&self) -> Offset {
        self.base_offset.advance(self.records as u64)
    }

    /// How many records there are; at least 1.
    #[must_use]
    pub const fn records_count(&self) -> u32 {
        self.records
    }

    /// The largest timestamp of a record, in milliseconds since 1970; -1 if none has one.
    #[must_use]
    pub const fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }

    /// Who wrote the batch; `None` if it isn't to be deduplicated.
    #[must_use]
    pub const fn producer(&self) -> Option<ProducerStamp> {
        self.producer
    }

    /// Reads the records, in order of offset. Keys and values share the batch's memory.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let mut cursor = Cursor::new(&self.bytes, BATCH_HEADER_BYTES);
        (0..self.records).map(move |number| {
            let raw = RawRecord::read(&mut cursor, number).expect("every record was read when the batch was decoded");
            raw.into_record(&self.bytes, self.base_offset, self.base_timestamp_ms)
        })
    }

    fn decode_header(bytes: Bytes) -> Result<Self, BatchError> {
        let b = &bytes[..];
        if b[at::MAGIC] != MAGIC {
            return Err(BatchError::Magic(b[at::MAGIC]));
        }
        let (found, computed) = (u32::from_be_bytes(array(b, at::CRC)), checksum::crc32c(&b[at::ATTRIBUTES..]));
        if found != computed {
            return Err(BatchError::Checksum { found, computed });
        }
        let attributes = u16::from_be_bytes(array(b, at::ATTRIBUTES));
        if attributes != 0 {
            return Err(BatchError::Attributes(attributes));
        }
        let records = count(b)?;
        Ok(Self {
            base_offset: base_offset(b, records)?,
            records,
            base_timestamp_ms: i64::from_be_bytes(array(b, at::BASE_TIMESTAMP)),
            max_timestamp_ms: i64::from_be_bytes(array(b, at::MAX_TIMESTAMP)),
            producer: producer(b)?,
            bytes,
        })
    }

    fn check_records(&self) -> Result<(), BatchError> {
        let mut cursor = Cursor::new(&self.bytes, BATCH_HEADER_BYTES);
        let mut found = i64::MIN;
        for number in 0..self.records {
            let record = |source| BatchError::Record { number, source };
            let raw = RawRecord::read(&mut cursor, number).map_err(record)?;
            found = found.max(raw.timestamp_ms(self.base_timestamp_ms).map_err(record)?);
        }
        if cursor.left() > 0 {
            return Err(BatchError::Trailing(cursor.left()));
        }
        if found != self.max_timestamp_ms {
            return Err(BatchError::MaxTimestamp { said: self.max_timestamp_ms, found });
        }
        Ok(())
    }
}

/// Writes the fields before the checksum of the batch that `bytes` begin with.
pub(crate) fn place(bytes: &mut [u8], base_offset: Offset) {
    bytes[..at::LENGTH].copy_from_slice(&base_offset.get().to_be_bytes());
    bytes[at::LEADER_EPOCH..at::MAGIC].copy_from_slice(&NO_LEADER_EPOCH.to_be_bytes());
}

/// The size of the batch that `bytes` begin with, as its length field has it.
fn claimed_size(bytes: &[u8]) -> Result<usize, BatchError> {
    if bytes.len() < BATCH_HEADER_BYTES {
        return Err(BatchError::Short { size: bytes.len() });
    }
    let claimed = i64::from(i32::from_be_bytes(array(bytes, at::LENGTH))) + at::LEADER_EPOCH as i64;
    let size = usize::try_from(claimed).unwrap_or(0);
    if size < BATCH_HEADER_BYTES {
        return Err(BatchError::Length { claimed, size: bytes.len() });
    }
    if size > BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge { size });
    }
    Ok(size)
}

fn count(header: &[u8]) -> Result<u32, BatchError> {
    let count = i32::from_be_bytes(array(header, at::COUNT));
    let last_delta = i32::from_be_bytes(array(header, at::LAST_OFFSET_DELTA));
    match u32::try_from(count) {
        Ok(records) if (1..=BATCH_RECORDS_MAX).contains(&records) && last_delta == count - 1 => Ok(records),
        _ => Err(BatchError::Count { count, last_delta }),
    }
}

fn base_offset(header: &[u8], records: u32) -> Result<Offset, BatchError> {
    let base = i64::from_be_bytes(array(header, 0));
    let end = u64::try_from(base).ok().and_then(|base| base.checked_add(u64::from(records)));
    match end.and_then(Offset::new) {
        Some(end) => Ok(Offset::new(end.get() - u64::from(records)).expect("below an offset lie offsets only")),
        None => Err(BatchError::BaseOffset(base)),
    }
}

fn producer(header: &[u8]) -> Result<Option<ProducerStamp>, BatchError> {
    let id = i64::from_be_bytes(array(header, at::PRODUCER_ID));
    let epoch = i16::from_be_bytes(array(header, at::PRODUCER_EPOCH));
    let sequence = i32::from_be_bytes(array(header, at::BASE_SEQUENCE));
    match id {
        -1 => Ok(None),
        0.. if epoch >= 0 && sequence >= 0 => Ok(Some(ProducerStamp { id, epoch, base_sequence: sequence })),
        _ => Err(BatchError::Producer { id, epoch, sequence }),
    }
}

/// The `N` bytes from `at` on, which the caller has made sure are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the header was measured before its fields are read")
}

#[cfg(test)]
mod tests;
