use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tiebeam_wire::GroupId;

use super::checkpoint::{GroupCheckpoint, encode_segments};
use crate::disk::{Disk, DiskFile};
use crate::format::{BatchBuilder, Kind, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) seq: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) len: u64,
    /// The length of header and checkpoint.
    pub(crate) fresh_len: u64,
}

impl Segment {
    /// Says whether it holds nothing but its checkpoint. Such a segment is never sealed: a checkpoint larger than the
    /// limit would roll for ever.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.len == self.fresh_len
    }
}

/// Creates a segment durably: name, header and checkpoint. On an error says what was tried.
///
/// Until this returns nothing was acknowledged in the new segment, so recovery may remove a half-made one.
pub(crate) fn start_segment(
    disk: &dyn Disk,
    dir: &Path,
    (seq, batch, previous_bytes): (u64, u64, u64),
    sealed: &[u64],
    groups: &BTreeMap<GroupId, GroupCheckpoint>,
) -> Result<Segment, (&'static str, io::Error)> {
    let mut records = BatchBuilder::new(seq, SEGMENT_HEADER_BYTES as u64, batch, Vec::new());
    records.push(Kind::CheckpointSegments, GroupId(0), 0, &encode_segments(sealed));
    for (id, group) in groups {
        records.push(Kind::CheckpointGroup, *id, group.last, &group.encode());
    }
    let mut bytes = SegmentHeader { seq, batch, previous_bytes }.encode().to_vec();
    bytes.extend(records.finish());

    let file = disk.create(&dir.join(segment_name(seq))).map_err(|e| ("create", e))?;
    file.write_at(&bytes, 0).map_err(|e| ("write", e))?;
    file.sync_data().map_err(|e| ("sync", e))?;
    disk.sync_dir(dir).map_err(|e| ("sync the directory of", e))?;
    let len = bytes.len() as u64;
    Ok(Segment { seq, file, len, fresh_len: len })
}
