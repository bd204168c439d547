use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::varint::{self, Cursor};
use crate::Offset;

/// The most headers of a record; more are refused.
pub const HEADERS_MAX: u32 = 256;

/// A named value beside a record's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name; may repeat within a record.
    pub key: String,
    /// Its value; `None` and empty differ.
    pub value: Option<Bytes>,
}

/// A record, as a producer hands it over and as a consumer gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where it stands in its partition. Ignored by producers: the partition decides it.
    pub offset: Offset,
    /// Milliseconds since 1970 by the producer's clock; -1 for none. Decides nothing.
    pub timestamp_ms: i64,
    /// Records with equal keys get into the same partition; `None` and empty differ.
    pub key: Option<Bytes>,
    /// What it says; `None` and empty differ.
    pub value: Option<Bytes>,
    /// At most [`HEADERS_MAX`], in order.
    pub headers: Vec<Header>,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It claims more bytes than there are.
    #[error("record ends before its last field")]
    Short,
    /// An integer with more bits than its type has.
    #[error("variable-length integer is too long")]
    Varint,
    /// Its length field contradicts its fields.
    #[error("record has {found} bytes, its length field says {said}")]
    Length {
        /// What the field says.
        said: i32,
        /// What the fields take.
        found: usize,
    },
    /// Its place is not the one after the record before.
    #[error("record has offset delta {0}, which is not its place in the batch")]
    OffsetDelta(i32),
    /// Its timestamp is below -1 or too large.
    #[error("record has a timestamp that is out of range")]
    Timestamp,
    /// A length below -1, or -1 where a value must be.
    #[error("record has a field of length {0}")]
    FieldLength(i32),
    /// More than [`HEADERS_MAX`], or a negative number.
    #[error("record has {0} headers, limit {HEADERS_MAX}")]
    Headers(i32),
    /// A header's key is not UTF-8.
    #[error("record has a header whose key is not UTF-8")]
    HeaderKey,
}

/// Where the fields of a record lie. All of them are checked, and nothing is allocated yet.
pub(super) struct RawRecord<'a> {
    timestamp_delta: i64,
    offset_delta: u32,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Cursor<'a>,
    headers_count: u32,
}

impl<'a> RawRecord<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>, number: u32) -> Result<Self, RecordError> {
        let said = cursor.varint()?;
        let start = cursor.at();
        let _attributes = cursor.byte()?; // Kafka uses none of its bits, and says to ignore them.
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        if u32::try_from(offset_delta) != Ok(number) {
            return Err(RecordError::OffsetDelta(offset_delta));
        }
        let key = field(cursor)?;
        let value = field(cursor)?;
        let count = cursor.varint()?;
        let headers_count = u32::try_from(count).ok().filter(|n| *n <= HEADERS_MAX);
        let headers_count = headers_count.ok_or(RecordError::Headers(count))?;
        let headers = cursor.clone();
        for _ in 0..headers_count {
            let (key, _) = header(cursor)?;
            std::str::from_utf8(cursor.slice(key)).map_err(|_| RecordError::HeaderKey)?;
        }
        let found = cursor.at() - start;
        if usize::try_from(said) != Ok(found) {
            return Err(RecordError::Length { said, found });
        }
        Ok(Self { timestamp_delta, offset_delta: number, key, value, headers, headers_count })
    }

    pub(super) fn timestamp_ms(&self, base_ms: i64) -> Result<i64, RecordError> {
        let timestamp_ms = base_ms.checked_add(self.timestamp_delta);
        timestamp_ms.filter(|ms| *ms >= -1).ok_or(RecordError::Timestamp)
    }

    /// Makes the record; `batch` are the bytes that it was read from.
    pub(super) fn into_record(mut self, batch: &Bytes, base_offset: Offset, base_ms: i64) -> Record {
        let headers = (0..self.headers_count).map(|_| {
            let (key, value) = header(&mut self.headers).expect("headers were read once already");
            let key = std::str::from_utf8(self.headers.slice(key)).expect("header keys were checked");
            Header { key: key.to_owned(), value: value.map(|range| batch.slice(range)) }
        });
        let headers = headers.collect();
        Record {
            offset: base_offset.advance(u64::from(self.offset_delta)),
            timestamp_ms: base_ms.saturating_add(self.timestamp_delta),
            key: self.key.map(|range| batch.slice(range)),
            value: self.value.map(|range| batch.slice(range)),
            headers,
        }
    }
}

/// A field with a length before it; -1 says that there is none.
fn field(cursor: &mut Cursor<'_>) -> Result<Option<Range<usize>>, RecordError> {
    match cursor.varint()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| RecordError::FieldLength(length))?;
            cursor.skip(length).map(Some)
        }
    }
}

fn header(cursor: &mut Cursor<'_>) -> Result<(Range<usize>, Option<Range<usize>>), RecordError> {
    let key = field(cursor)?.ok_or(RecordError::FieldLength(-1))?;
    Ok((key, field(cursor)?))
}

/// How many bytes [`put_record`] writes after the length, and with it.
pub(super) fn record_size(record: &Record, timestamp_delta: i64, offset_delta: u32) -> (usize, usize) {
    let field = |bytes: Option<usize>| match bytes {
        None => varint::size(-1),
        Some(length) => varint::size(length as i64) + length,
    };
    let headers = record.headers.iter().map(|h| field(Some(h.key.len())) + field(h.value.as_ref().map(Bytes::len)));
    let body = 1
        + varint::size(timestamp_delta)
        + varint::size(i64::from(offset_delta))
        + field(record.key.as_ref().map(Bytes::len))
        + field(record.value.as_ref().map(Bytes::len))
        + varint::size(record.headers.len() as i64)
        + headers.sum::<usize>();
    (body, varint::size(body as i64) + body)
}

pub(super) fn put_record(bytes: &mut BytesMut, record: &Record, timestamp_delta: i64, offset_delta: u32) {
    let (body, _) = record_size(record, timestamp_delta, offset_delta);
    varint::put(bytes, body as i64);
    bytes.extend_from_slice(&[0]);
    varint::put(bytes, timestamp_delta);
    varint::put(bytes, i64::from(offset_delta));
    put_field(bytes, record.key.as_deref());
    put_field(bytes, record.value.as_deref());
    varint::put(bytes, record.headers.len() as i64);
    for header in &record.headers {
        put_field(bytes, Some(header.key.as_bytes()));
        put_field(bytes, header.value.as_deref());
    }
}

fn put_field(bytes: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        None => varint::put(bytes, -1),
        Some(field) => {
            varint::put(bytes, field.len() as i64);
            bytes.extend_from_slice(field);
        }
    }
}
