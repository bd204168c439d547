//! The bytes of a segment: one header, then records. All integers are little-endian. `docs/protocols/wal.md` draws it.

use tiebeam_wire::{GroupId, checksum};

/// First bytes of a segment. The line ends and the control byte reveal a transfer that changed the bytes as text.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"TBWAL\r\n\x1a";
pub(crate) const SEGMENT_VERSION: u32 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 40;
pub(crate) const RECORD_HEADER_BYTES: usize = 33;

/// Set in the kind of a batch's last record. A batch without it never got whole to the disk.
const ENDS_BATCH: u8 = 0x80;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The segment's number, equal to its file name.
    pub(crate) seq: u64,
    /// The number of its first batch, the checkpoint.
    pub(crate) batch: u64,
    /// The length of the segment before, in bytes; 0 for the first. A sealed segment that lost its end is found by it.
    pub(crate) previous_bytes: u64,
}

/// Why the first bytes of a file are not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Magic,
    Version(u32),
    Checksum,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.seq.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.batch.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.previous_bytes.to_le_bytes());
        let crc = checksum::crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, BadHeader> {
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(BadHeader::Magic);
        }
        if checksum::crc32c(&bytes[..36]) != u32_at(bytes, 36) {
            return Err(BadHeader::Checksum);
        }
        // After the checksum: a flipped bit must not pass for a newer version, which asks for another remedy.
        match u32_at(bytes, 8) {
            SEGMENT_VERSION => {}
            other => return Err(BadHeader::Version(other)),
        }
        Ok(Self { seq: u64_at(bytes, 12), batch: u64_at(bytes, 20), previous_bytes: u64_at(bytes, 28) })
    }
}

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Appends `payload` at `index`.
    Entry = 1,
    /// Sets state slot `index` to `payload`.
    State = 2,
    /// Removes all entries after `index`.
    Truncate = 3,
    /// Marks all entries up to and with `index` as not needed; `payload` becomes state slot `Purged`.
    Purge = 4,
    /// Forgets the group.
    Remove = 5,
    /// Opens a checkpoint: `payload` lists the sealed segments that exist, as pairs of first and last number.
    CheckpointSegments = 6,
    /// Is a group in a checkpoint: `index` its last index, `payload` its purged index and state slots.
    CheckpointGroup = 7,
    /// Says that segment `index` is needed no longer; its file goes once this is durable.
    SegmentDropped = 8,
    /// Says that the log was closed in order. It proves that the batch before it was synced.
    Closed = 9,
}

impl Kind {
    fn decode(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Entry,
            2 => Self::State,
            3 => Self::Truncate,
            4 => Self::Purge,
            5 => Self::Remove,
            6 => Self::CheckpointSegments,
            7 => Self::CheckpointGroup,
            8 => Self::SegmentDropped,
            9 => Self::Closed,
            _ => return None,
        })
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Length of the payload in bytes.
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) ends_batch: bool,
    pub(crate) batch: u64,
    pub(crate) group: GroupId,
    pub(crate) index: u64,
}

impl Head {
    /// Reads a header; its checksum is not verified, since that needs the payload.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < RECORD_HEADER_BYTES {
            return None;
        }
        Some(Self {
            length: u32_at(bytes, 0),
            kind: Kind::decode(bytes[8] & !ENDS_BATCH)?,
            ends_batch: bytes[8] & ENDS_BATCH != 0,
            batch: u64_at(bytes, 9),
            group: GroupId(u64_at(bytes, 17)),
            index: u64_at(bytes, 25),
        })
    }

    /// Length of the whole record in bytes.
    pub(crate) fn record_bytes(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.length)
    }
}

/// Reads the record that is exactly `bytes`, at `offset` of segment `seq`; `None` if anything about it is wrong.
pub(crate) fn verify(seq: u64, offset: u64, bytes: &[u8]) -> Option<Head> {
    let head = Head::decode(bytes)?;
    let whole = head.record_bytes() == bytes.len() as u64;
    (whole && record_checksum(seq, offset, bytes) == u32_at(bytes, 4)).then_some(head)
}

/// Covers the place as well as the content. A record at another place is then no record: neither a misdirected write nor
/// a copy of a segment inside some payload can pass for one.
fn record_checksum(seq: u64, offset: u64, record: &[u8]) -> u32 {
    let place = checksum::extend(checksum::crc32c(&seq.to_le_bytes()), &offset.to_le_bytes());
    checksum::extend(checksum::extend(place, &record[..4]), &record[8..])
}

/// Writes the records of one batch one after the other.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    seq: u64,
    base: u64,
    batch: u64,
    bytes: Vec<u8>,
    /// Where the last record starts in `bytes`. Its checksum waits until we know whether it ends the batch.
    open: Option<usize>,
}

impl BatchBuilder {
    /// Starts batch number `batch` at `base` of segment `seq`, in the memory of `buffer`.
    pub(crate) fn new(seq: u64, base: u64, batch: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { seq, base, batch, bytes: buffer, open: None }
    }

    /// Adds a record and returns its offset in the segment.
    pub(crate) fn push(&mut self, kind: Kind, group: GroupId, index: u64, payload: &[u8]) -> u64 {
        self.seal(0);
        let length = u32::try_from(payload.len()).expect("payload limit is below 4 GiB");
        let start = self.bytes.len();
        self.open = Some(start);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&self.batch.to_le_bytes());
        self.bytes.extend_from_slice(&group.0.to_le_bytes());
        self.bytes.extend_from_slice(&index.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        self.base + start as u64
    }

    /// Ends the batch and returns its bytes; none if it holds no record.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.seal(ENDS_BATCH);
        self.bytes
    }

    fn seal(&mut self, flag: u8) {
        let Some(start) = self.open.take() else { return };
        self.bytes[start + 8] |= flag;
        let crc = record_checksum(self.seq, self.base + start as u64, &self.bytes[start..]);
        self.bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Returns the name of segment `seq`.
pub(crate) fn segment_name(seq: u64) -> String {
    format!("{seq:020}.wal")
}

/// Reads the number out of a segment's name; `None` if it is not one.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let seq = digits.parse().ok().filter(|_| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    (seq > 0).then_some(seq)
}

/// Reads a little-endian u32 at `at`; `bytes` must reach that far.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("slice of four bytes"))
}

/// Reads a little-endian u64 at `at`; `bytes` must reach that far.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("slice of eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Golden bytes: a change here makes every log on every disk unreadable and needs a new version.
    #[test]
    fn golden_bytes_of_a_header() {
        let header = SegmentHeader { seq: 2, batch: 3, previous_bytes: 0x1122 };
        let bytes = header.encode();
        assert_eq!(hex(&bytes), "544257414c0d0a1a01000000020000000000000003000000000000002211000000000000cf8fee27");
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
    }

    /// Golden bytes, as above (the checksums are from another implementation): two records of one batch, the second with the mark of the batch's end.
    #[test]
    fn golden_bytes_of_a_batch() {
        let mut batch = BatchBuilder::new(1, 40, 7, Vec::new());
        assert_eq!(batch.push(Kind::Entry, GroupId(5), 9, b"tie"), 40);
        assert_eq!(batch.push(Kind::Truncate, GroupId(5), 8, b""), 76);
        let bytes = batch.finish();
        assert_eq!(hex(&bytes[..36]), "03000000ae74f48501070000000000000005000000000000000900000000000000746965");
        assert_eq!(hex(&bytes[36..]), "00000000fb398d4d83070000000000000005000000000000000800000000000000");
    }

    #[test]
    fn record_is_valid_only_where_it_was_written() {
        let mut batch = BatchBuilder::new(1, 40, 7, Vec::new());
        batch.push(Kind::Entry, GroupId(5), 9, b"tie");
        let bytes = batch.finish();
        assert!(verify(1, 40, &bytes).is_some());
        assert_eq!(verify(1, 41, &bytes), None);
        assert_eq!(verify(2, 40, &bytes), None);
    }

    #[test]
    fn any_flipped_bit_of_a_record_is_found() {
        let mut batch = BatchBuilder::new(1, 40, 7, Vec::new());
        batch.push(Kind::State, GroupId(5), 0, b"beam");
        let bytes = batch.finish();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(1, 40, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn segment_names_are_strict() {
        assert_eq!(parse_segment_name(&segment_name(17)), Some(17));
        for name in ["17.wal", "00000000000000000000.wal", "+0000000000000000017.wal", "lock", "x.wal"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }
}
