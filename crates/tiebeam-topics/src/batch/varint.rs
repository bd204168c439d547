//! Kafka's variable-length integers: 7 bits a byte, lowest first, zig-zag so that -1 is short.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::RecordError;

/// A place in bytes that are read from front to back.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        let byte = *self.bytes.get(self.at).ok_or(RecordError::Short)?;
        self.at += 1;
        Ok(byte)
    }

    /// A value of at most 64 bits. The tenth byte may only hold the last of them.
    pub(super) fn varlong(&mut self) -> Result<i64, RecordError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(RecordError::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(unzigzag(value));
            }
        }
        Err(RecordError::Varint)
    }

    /// A value of at most 32 bits.
    pub(super) fn varint(&mut self) -> Result<i32, RecordError> {
        i32::try_from(self.varlong()?).map_err(|_| RecordError::Varint)
    }

    /// Where the next `length` bytes lie.
    pub(super) fn skip(&mut self, length: usize) -> Result<Range<usize>, RecordError> {
        if length > self.left() {
            return Err(RecordError::Short);
        }
        let range = self.at..self.at + length;
        self.at = range.end;
        Ok(range)
    }

    pub(super) fn slice(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }
}

pub(super) fn put(bytes: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        bytes.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.put_u8(rest as u8);
}

/// How many bytes [`put`] writes.
pub(super) const fn size(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
