mod window;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::replay::{Record, Replay};
use super::{Corruption, OpenError, Segment};
use crate::disk::DiskFile;
use crate::format::{
    BadHeader, Head, Kind, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, SegmentHeader, verify,
};
use window::Window;

/// How a segment was found.
#[derive(Debug)]
pub(super) enum Scan {
    /// Every byte of it is accounted for.
    Whole { len: u64, fresh_len: u64, records: u64 },
    /// Its last batch did not get to the disk whole and starts at `len`.
    Torn { len: u64, fresh_len: u64, records: u64, bytes: u64 },
    /// Not even its checkpoint got to the disk whole.
    HalfMade { bytes: u64 },
}

/// Reads one segment.
pub(super) struct Scanner<'a> {
    path: &'a Path,
    seq: u64,
    window: Window<'a>,
}

/// What was read of a segment's batches.
struct Read {
    /// Records applied.
    records: u64,
    /// Where the checkpoint ends; `None` if it is not whole.
    fresh_len: Option<u64>,
    /// Why not all was read.
    stop: Option<Stop>,
}

/// Where the records stop being valid.
struct Stop {
    offset: u64,
    /// Where the batch that is not whole starts.
    batch_start: u64,
    batch: u64,
    /// Whether the bytes at `offset` are wrong, rather than none.
    damaged: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(path: &'a Path, seq: u64, file: &'a dyn DiskFile) -> Result<Self, OpenError> {
        let window = Window::new(file).map_err(|source| io_error(path, source))?;
        Ok(Self { path, seq, window })
    }

    /// Applies the segment's records to `replay`. `before` is the segment before it, if that was read; only the last
    /// segment may be torn.
    pub(super) fn scan(
        mut self,
        replay: &mut Replay,
        before: Option<&Segment>,
        is_last: bool,
    ) -> Result<Scan, OpenError> {
        let len = self.window.len();
        let Some(header) = self.header(replay, before.is_some(), is_last)? else {
            return Ok(Scan::HalfMade { bytes: len });
        };
        self.check_header(&header, replay, before)?;
        let Read { records, fresh_len, stop } = self.records(replay, before.is_some())?;
        let Some(stop) = stop else { return Ok(Scan::Whole { len, fresh_len: fresh_len.unwrap_or(len), records }) };
        let reason = if stop.damaged { Corruption::Record } else { Corruption::Unfinished };
        if !is_last || self.later_batch_follows(stop.offset, stop.batch)? {
            return Err(self.corrupt(stop.offset, reason));
        }
        match fresh_len {
            Some(fresh_len) => {
                Ok(Scan::Torn { len: stop.batch_start, fresh_len, records, bytes: len - stop.batch_start })
            }
            None if self.may_be_half_made(before.is_some(), is_last) => Ok(Scan::HalfMade { bytes: len }),
            None => Err(self.corrupt(stop.offset, reason)),
        }
    }

    /// Reads the header; `None` if it never got to the disk whole.
    fn header(&mut self, replay: &Replay, follows: bool, is_last: bool) -> Result<Option<SegmentHeader>, OpenError> {
        let bytes = self.bytes(0, SEGMENT_HEADER_BYTES)?;
        let bytes: Option<[u8; SEGMENT_HEADER_BYTES]> = bytes.and_then(|bytes| bytes.try_into().ok());
        match bytes.map(|bytes| SegmentHeader::decode(&bytes)) {
            Some(Ok(header)) => return Ok(Some(header)),
            Some(Err(BadHeader::Version(found))) => {
                return Err(OpenError::Version { path: self.path.to_owned(), found, supported: SEGMENT_VERSION });
            }
            Some(Err(BadHeader::Magic | BadHeader::Checksum)) | None => {}
        }
        if self.may_be_half_made(follows, is_last) && !self.later_batch_follows(0, replay.next_batch())? {
            return Ok(None);
        }
        Err(self.corrupt(0, Corruption::Header))
    }

    /// The first segment of all, or the one after a segment that is there, may be half made. Any other was begun so long
    /// ago that the one before it is gone, and that was recorded after this one's start was synced.
    const fn may_be_half_made(&self, follows: bool, is_last: bool) -> bool {
        is_last && (follows || self.seq == 1)
    }

    fn check_header(
        &self,
        header: &SegmentHeader,
        replay: &mut Replay,
        before: Option<&Segment>,
    ) -> Result<(), OpenError> {
        if header.seq != self.seq {
            return Err(self.corrupt(0, Corruption::Sequence { expected: self.seq, found: header.seq }));
        }
        // The length first: a segment that lost its end is also short of batches, and it is the one to name.
        if let Some(before) = before.filter(|before| before.len != header.previous_bytes) {
            let path = self.path.with_file_name(crate::format::segment_name(before.seq));
            let reason = Corruption::Length { expected: header.previous_bytes, found: before.len };
            return Err(OpenError::Corrupt { path, offset: before.len, reason });
        }
        let expected = replay.next_batch();
        let in_order =
            if before.is_some() || self.seq == 1 { header.batch == expected } else { header.batch >= expected };
        if !in_order {
            return Err(self.corrupt(0, Corruption::Batch { expected, found: header.batch }));
        }
        replay.skip_to(header.batch);
        Ok(())
    }

    /// Applies batch after batch, until the end or until one is not whole.
    fn records(&mut self, replay: &mut Replay, follows: bool) -> Result<Read, OpenError> {
        let (mut offset, mut records, mut fresh_len) = (SEGMENT_HEADER_BYTES as u64, 0, None);
        let mut batch_start = offset;
        let mut batch = Vec::new();
        loop {
            let due = replay.next_batch();
            let at_end = offset == self.window.len();
            if at_end && batch.is_empty() && fresh_len.is_some() {
                return Ok(Read { records, fresh_len, stop: None });
            }
            let Some((head, payload)) = self.record(offset)? else {
                let stop = Stop { offset, batch_start, batch: due, damaged: !at_end };
                return Ok(Read { records, fresh_len, stop: Some(stop) });
            };
            if head.batch != due {
                return Err(self.corrupt(offset, Corruption::Batch { expected: due, found: head.batch }));
            }
            batch.push(Record { head, offset, payload });
            offset += head.record_bytes();
            if !head.ends_batch {
                continue;
            }
            records += batch.len() as u64;
            let whole = std::mem::take(&mut batch);
            if fresh_len.is_some() {
                replay.batch(self.seq, whole).map_err(|(at, reason)| self.corrupt(at, reason))?;
            } else {
                let applied = replay.checkpoint(self.seq, whole, follows || self.seq == 1);
                applied.map_err(|reason| self.corrupt(batch_start, reason))?;
                fresh_len = Some(offset);
            }
            batch_start = offset;
        }
    }

    /// Reads the record at `offset`; `None` if there is no valid one. The payload of an entry is verified and left.
    fn record(&mut self, offset: u64) -> Result<Option<(Head, Bytes)>, OpenError> {
        let seq = self.seq;
        let Some(head) = self.bytes(offset, RECORD_HEADER_BYTES)?.and_then(Head::decode) else { return Ok(None) };
        let Ok(length) = usize::try_from(head.record_bytes()) else { return Ok(None) };
        let Some(bytes) = self.bytes(offset, length)? else { return Ok(None) };
        let Some(head) = verify(seq, offset, bytes) else { return Ok(None) };
        let payload = match head.kind {
            Kind::Entry => Bytes::new(),
            _ => Bytes::copy_from_slice(&bytes[RECORD_HEADER_BYTES..]),
        };
        Ok(Some((head, payload)))
    }

    /// Says whether a valid record of a batch after `batch` starts anywhere after `offset`. Every byte is tried, since
    /// the length of a damaged record can't be believed. A record's checksum covers its place, so a copy of a segment
    /// inside a payload is no proof.
    fn later_batch_follows(&mut self, offset: u64, batch: u64) -> Result<bool, OpenError> {
        let bytes_left = self.window.len().saturating_sub(offset);
        let batch_max = batch.saturating_add(bytes_left / RECORD_HEADER_BYTES as u64);
        for at in offset + 1..self.window.len() {
            let Some(bytes) = self.bytes(at, RECORD_HEADER_BYTES)? else { return Ok(false) };
            // Cheap tests first: only few places need a checksum.
            let likely = Head::decode(bytes).is_some_and(|head| batch < head.batch && head.batch <= batch_max);
            if likely && self.record(at)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn bytes(&mut self, offset: u64, length: usize) -> Result<Option<&[u8]>, OpenError> {
        self.window.bytes(offset, length).map_err(|source| io_error(self.path, source))
    }

    fn corrupt(&self, offset: u64, reason: Corruption) -> OpenError {
        OpenError::Corrupt { path: self.path.to_owned(), offset, reason }
    }
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { operation: "read", path: PathBuf::from(path), source }
}
