use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes};

use crate::wal::{Slots, StateSlot};

/// All that must be known of a group when the segments before are gone: its bounds and its state.
///
/// The bounds matter as much as the state. A cut whose record went with its segment must still hold for the entries in
/// an older segment that stayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupCheckpoint {
    pub(crate) purged: u64,
    pub(crate) last: u64,
    pub(crate) slots: Slots,
}

impl GroupCheckpoint {
    pub(crate) fn put(&mut self, slot: StateSlot, value: Bytes) {
        self.slots[usize::from(slot.number())] = Some(value);
    }

    /// Writes the purged index, then each value as slot number, length and bytes. The last index travels in the header.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.purged.to_le_bytes().to_vec();
        for slot in StateSlot::ALL {
            let Some(value) = &self.slots[usize::from(slot.number())] else { continue };
            bytes.put_u8(slot.number());
            bytes.put_u32_le(u32::try_from(value.len()).expect("a write is at most 1 GiB"));
            bytes.put_slice(value);
        }
        bytes
    }

    /// Reads what `encode` wrote; `None` if it is anything else.
    pub(crate) fn decode(last: u64, mut payload: Bytes) -> Option<Self> {
        let purged = payload.try_get_u64_le().ok()?;
        let mut slots = Slots::default();
        while payload.has_remaining() {
            let slot = StateSlot::from_number(u64::from(payload.get_u8()))?;
            let length = payload.try_get_u32_le().ok()? as usize;
            let value = (length <= payload.len()).then(|| payload.split_to(length))?;
            slots[usize::from(slot.number())].replace(value).is_none().then_some(())?;
        }
        (purged <= last).then_some(Self { purged, last, slots })
    }
}

/// Writes ascending segment numbers as pairs of first and last of each run.
pub(crate) fn encode_segments(segments: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in segments.chunk_by(|a, b| a + 1 == *b) {
        bytes.put_u64_le(run[0]);
        bytes.put_u64_le(run[run.len() - 1]);
    }
    bytes
}

/// Reads what `encode_segments` wrote; `None` if it is anything else or names more than `count_max` segments.
pub(crate) fn decode_segments(mut payload: Bytes, count_max: u64) -> Option<BTreeSet<u64>> {
    let mut segments = BTreeSet::new();
    while payload.has_remaining() {
        let first = payload.try_get_u64_le().ok()?;
        let last = payload.try_get_u64_le().ok()?;
        let above = segments.last().is_none_or(|before| *before < first);
        let fits = first > 0 && last.checked_sub(first)?.saturating_add(segments.len() as u64) < count_max;
        (above && fits).then(|| segments.extend(first..=last))?;
    }
    Some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_comes_back_from_its_bytes() {
        let mut group = GroupCheckpoint { purged: 3, last: 9, slots: Slots::default() };
        group.put(StateSlot::Vote, Bytes::from_static(b"v"));
        group.put(StateSlot::Purged, Bytes::new());
        let bytes = group.encode();
        assert_eq!(GroupCheckpoint::decode(9, bytes.clone().into()), Some(group));
        for cut in [0, 7, 9, bytes.len() - 1] {
            assert_eq!(GroupCheckpoint::decode(9, bytes[..cut].to_vec().into()), None, "cut at {cut}");
        }
        assert_eq!(GroupCheckpoint::decode(2, bytes.into()), None, "purged beyond the last");
    }

    #[test]
    fn segments_come_back_from_their_bytes() {
        let bytes = Bytes::from(encode_segments(&[1, 2, 3, 7, 9, 10]));
        assert_eq!(bytes.len(), 3 * 16);
        assert_eq!(decode_segments(bytes.clone(), 6), Some(BTreeSet::from([1, 2, 3, 7, 9, 10])));
        // A forged range must not fill the memory.
        assert_eq!(decode_segments(bytes, 5), None);
        assert_eq!(decode_segments(encode_segments(&[]).into(), 0), Some(BTreeSet::new()));
    }
}
