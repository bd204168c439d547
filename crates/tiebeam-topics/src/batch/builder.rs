use std::ops::Range;

use bytes::{BufMut, BytesMut};
use tiebeam_wire::checksum;

use super::record::{HEADERS_MAX, Record, put_record, record_size};
use super::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BATCH_RECORDS_MAX, MAGIC, NO_LEADER_EPOCH, ProducerStamp, RecordBatch, at,
};
use crate::Offset;

/// Timestamps that a record may have: any two of them have a difference, as the format needs it.
const TIMESTAMPS_MS: Range<i64> = -1..i64::MAX;

/// Why a record was not taken into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The batch is full: send it, and put the record into the next one.
    #[error("batch is full")]
    Full,
    /// The record doesn't fit even into an empty batch.
    #[error("record takes {size} bytes, more than a batch of at most {limit} has room for")]
    TooLarge {
        /// What the record takes.
        size: usize,
        /// What the whole batch may take.
        limit: usize,
    },
    /// The timestamp is below -1 or the very last one.
    #[error("record has timestamp {0}, expected -1 or more")]
    Timestamp(i64),
    /// More than [`HEADERS_MAX`] headers.
    #[error("record has {0} headers, limit {HEADERS_MAX}")]
    Headers(usize),
}

/// Says how many bytes `record` takes at the front of a batch, or why no batch of at most `bytes_max` bytes takes it.
pub(crate) fn check(record: &Record, bytes_max: usize) -> Result<usize, PushError> {
    if !TIMESTAMPS_MS.contains(&record.timestamp_ms) {
        return Err(PushError::Timestamp(record.timestamp_ms));
    }
    if record.headers.len() > HEADERS_MAX as usize {
        return Err(PushError::Headers(record.headers.len()));
    }
    let (_, size) = record_size(record, 0, 0);
    match size > bytes_max.saturating_sub(BATCH_HEADER_BYTES) {
        true => Err(PushError::TooLarge { size, limit: bytes_max }),
        false => Ok(size),
    }
}

/// Gathers records into a [`RecordBatch`].
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: BytesMut,
    bytes_max: usize,
    records_max: u32,
    records: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new(BATCH_BYTES_MAX, BATCH_RECORDS_MAX)
    }
}

impl BatchBuilder {
    /// Begins a batch of at most `bytes_max` bytes and `records_max` records; both are capped at what any batch may have.
    #[must_use]
    pub fn new(bytes_max: usize, records_max: u32) -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_bytes(0, BATCH_HEADER_BYTES);
        Self {
            bytes,
            bytes_max: bytes_max.min(BATCH_BYTES_MAX),
            records_max: records_max.clamp(1, BATCH_RECORDS_MAX),
            records: 0,
            base_timestamp_ms: 0,
            max_timestamp_ms: -1,
        }
    }

    /// Adds `record`; its offset is ignored.
    ///
    /// # Errors
    /// [`PushError::Full`] concerns this batch, all others concern the record itself. Nothing was added then.
    pub fn push(&mut self, record: &Record) -> Result<(), PushError> {
        check(record, self.bytes_max)?;
        let first = self.records == 0;
        // Both lie in `TIMESTAMPS_MS`, so the difference can't overflow.
        let delta = if first { 0 } else { record.timestamp_ms - self.base_timestamp_ms };
        let (_, size) = record_size(record, delta, self.records);
        if self.records == self.records_max || size > self.bytes_max - self.bytes.len() {
            return Err(PushError::Full);
        }
        if first {
            self.base_timestamp_ms = record.timestamp_ms;
        }
        put_record(&mut self.bytes, record, delta, self.records);
        self.max_timestamp_ms = self.max_timestamp_ms.max(record.timestamp_ms);
        self.records += 1;
        Ok(())
    }

    /// Says whether there is no record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How many records there are.
    #[must_use]
    pub const fn records_count(&self) -> u32 {
        self.records
    }

    /// How many bytes the batch has by now, its header included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Closes the batch; `None` if it has no record. A batch without a `producer` is not deduplicated.
    #[must_use]
    pub fn build(mut self, producer: Option<ProducerStamp>) -> Option<RecordBatch> {
        if self.is_empty() {
            return None;
        }
        self.put_header(producer.unwrap_or(ProducerStamp { id: -1, epoch: -1, base_sequence: -1 }));
        let crc = checksum::crc32c(&self.bytes[at::ATTRIBUTES..]);
        self.bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        Some(RecordBatch {
            bytes: self.bytes.freeze(),
            base_offset: Offset::ZERO,
            records: self.records,
            base_timestamp_ms: self.base_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            producer,
        })
    }

    fn put_header(&mut self, producer: ProducerStamp) {
        let length = (self.bytes.len() - at::LEADER_EPOCH) as i32;
        let mut header = &mut self.bytes[..BATCH_HEADER_BYTES];
        header.put_i64(0);
        header.put_i32(length);
        header.put_i32(NO_LEADER_EPOCH);
        header.put_u8(MAGIC);
        header.put_u32(0);
        header.put_u16(0);
        header.put_u32(self.records - 1);
        header.put_i64(self.base_timestamp_ms);
        header.put_i64(self.max_timestamp_ms);
        header.put_i64(producer.id);
        header.put_i16(producer.epoch);
        header.put_i32(producer.base_sequence);
        header.put_u32(self.records);
        assert!(header.is_empty(), "header has {} bytes too many", header.len());
    }
}
