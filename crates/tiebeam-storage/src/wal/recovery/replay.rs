use std::collections::{BTreeMap, BTreeSet, btree_map};

use bytes::Bytes;
use tiebeam_wire::GroupId;

use super::{Corruption, GroupState};
use crate::format::{Head, Kind};
use crate::wal::segments::Location;
use crate::wal::writer::{GroupCheckpoint, decode_segments};
use crate::wal::{Slots, StateSlot};

/// The state that the records read so far add up to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The segments that must exist, without the half-made.
    pub(super) segments: BTreeSet<u64>,
    groups: BTreeMap<GroupId, Replayed>,
    batches: u64,
}

/// A group. `places` may have holes while segments between are gone, below what is purged later.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    bounds: GroupCheckpoint,
    places: BTreeMap<u64, Location>,
}

/// A verified record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) head: Head,
    pub(super) offset: u64,
    /// Empty for an entry, whose payload stays on disk.
    pub(super) payload: Bytes,
}

impl Replay {
    /// Returns the number of the batch that is due.
    pub(super) const fn next_batch(&self) -> u64 {
        self.batches + 1
    }

    /// Says that batches up to `batch`, exclusively, were in segments that are gone.
    pub(super) fn skip_to(&mut self, batch: u64) {
        self.batches = batch - 1;
    }

    /// Applies the first batch of segment `seq`. If the segment before was read it must agree, otherwise it decides.
    pub(super) fn checkpoint(&mut self, seq: u64, records: Vec<Record>, follows: bool) -> Result<(), Corruption> {
        let mut segments = None;
        let mut groups = BTreeMap::new();
        for Record { head, payload, .. } in records {
            match head.kind {
                Kind::CheckpointSegments if segments.is_none() => {
                    segments = Some(decode_segments(payload, seq - 1).ok_or(Corruption::Shape)?);
                }
                Kind::CheckpointGroup if segments.is_some() => {
                    let group = GroupCheckpoint::decode(head.index, payload).ok_or(Corruption::Shape)?;
                    groups.insert(head.group, group);
                }
                _ => return Err(Corruption::Shape),
            }
        }
        let mut segments = segments.ok_or(Corruption::Shape)?;
        if segments.last().is_some_and(|last| *last >= seq) {
            return Err(Corruption::Shape);
        }
        let same = self.segments == segments && self.groups.iter().map(|(id, g)| (id, &g.bounds)).eq(groups.iter());
        if follows && !same {
            return Err(Corruption::Checkpoint);
        }
        segments.insert(seq);
        self.segments = segments;
        self.groups.retain(|id, _| groups.contains_key(id));
        for (id, bounds) in groups {
            self.groups.entry(id).or_default().bound(bounds);
        }
        self.batches += 1;
        Ok(())
    }

    /// Applies a whole batch of segment `seq`.
    pub(super) fn batch(&mut self, seq: u64, records: Vec<Record>) -> Result<(), (u64, Corruption)> {
        for record in records {
            let offset = record.offset;
            self.record(seq, record).map_err(|reason| (offset, reason))?;
        }
        self.batches += 1;
        Ok(())
    }

    fn record(&mut self, seq: u64, Record { head, offset, payload }: Record) -> Result<(), Corruption> {
        let offset = u32::try_from(offset).map_err(|_| Corruption::Shape)?;
        match head.kind {
            Kind::Entry => {
                let location = Location { segment: seq, offset, length: head.length };
                self.groups.entry(head.group).or_default().append(head.group, head.index, location)?;
            }
            Kind::State => {
                let slot = StateSlot::from_number(head.index).ok_or(Corruption::Shape)?;
                self.groups.entry(head.group).or_default().bounds.put(slot, payload);
            }
            Kind::Truncate => {
                let group = self.groups.get_mut(&head.group).ok_or(Corruption::Shape)?;
                let inside = (group.bounds.purged..group.bounds.last).contains(&head.index);
                inside.then_some(()).ok_or(Corruption::Shape)?;
                group.truncate(head.index);
            }
            Kind::Purge => {
                let group = self.groups.entry(head.group).or_default();
                (group.bounds.purged < head.index).then_some(()).ok_or(Corruption::Shape)?;
                group.purge(head.index);
                group.bounds.put(StateSlot::Purged, payload);
            }
            Kind::Remove => _ = self.groups.remove(&head.group),
            Kind::SegmentDropped => {
                (head.index < seq && self.segments.remove(&head.index)).then_some(()).ok_or(Corruption::Shape)?;
            }
            Kind::Closed => {}
            Kind::CheckpointSegments | Kind::CheckpointGroup => return Err(Corruption::Shape),
        }
        Ok(())
    }

    /// Returns the groups as they are now, if no entry is missing.
    pub(super) fn groups(&self) -> Result<BTreeMap<GroupId, GroupState>, Corruption> {
        self.groups.iter().map(|(id, group)| Ok((*id, group.state(*id)?))).collect()
    }
}

impl Replayed {
    fn append(&mut self, group: GroupId, index: u64, location: Location) -> Result<(), Corruption> {
        let expected = self.bounds.last.checked_add(1).ok_or(Corruption::Shape)?;
        if index != expected {
            return Err(Corruption::Index { group, expected, found: index });
        }
        self.bounds.last = index;
        match self.places.entry(index) {
            btree_map::Entry::Vacant(place) => _ = place.insert(location),
            btree_map::Entry::Occupied(_) => return Err(Corruption::Shape),
        }
        Ok(())
    }

    fn truncate(&mut self, after: u64) {
        self.bounds.last = after;
        if let Some(first_gone) = after.checked_add(1) {
            self.places.split_off(&first_gone);
        }
    }

    fn purge(&mut self, upto: u64) {
        self.bounds.purged = upto;
        self.bounds.last = self.bounds.last.max(upto);
        self.places = upto.checked_add(1).map(|first_kept| self.places.split_off(&first_kept)).unwrap_or_default();
    }

    /// Takes over the bounds and values of a checkpoint.
    fn bound(&mut self, bounds: GroupCheckpoint) {
        self.truncate(bounds.last);
        self.purge(bounds.purged);
        self.bounds = bounds;
    }

    fn state(&self, group: GroupId) -> Result<GroupState, Corruption> {
        let GroupCheckpoint { purged, last, ref slots } = self.bounds;
        let slots: Slots = slots.clone();
        let missing = (purged + 1..=last).zip(self.places.keys()).find(|(due, found)| due != *found);
        if let Some((index, _)) = missing {
            return Err(Corruption::Entry { group, index });
        }
        if self.places.len() as u64 != last - purged {
            return Err(Corruption::Entry { group, index: purged + 1 + self.places.len() as u64 });
        }
        Ok(GroupState::recovered(purged, last, slots, self.places.values().copied().collect()))
    }
}
