use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::state::Found;
use super::{Group, Shared};
use crate::format::{Kind, RECORD_HEADER_BYTES, verify};
use crate::wal::segments::Location;
use crate::wal::{Entry, ReadError};

/// Records that follow each other on the disk are read in one call of up to this many bytes.
const RUN_BYTES_MAX: u64 = 1 << 20;

pub(super) fn read(
    group: &Group,
    shared: &Shared,
    range: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<Entry>, ReadError> {
    let attempt = || {
        if let Some(error) = shared.queue.failure() {
            return Err(ReadError::Stopped(error));
        }
        let plan = plan(group, &range, bytes_max)?;
        load(group, shared, range.start, &plan)
    };
    match attempt() {
        // A cut made the segment superfluous between plan and read; the new plan knows of the cut.
        Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => attempt(),
        result => result,
    }
}

fn plan(group: &Group, range: &Range<u64>, bytes_max: usize) -> Result<Vec<Found>, ReadError> {
    let state = group.lock();
    if range.is_empty() {
        return Ok(Vec::new());
    }
    if range.start <= state.purged {
        return Err(ReadError::Purged { group: group.id, index: range.start, first: state.purged + 1 });
    }
    let mut plan = Vec::new();
    let mut bytes = 0;
    for index in range.start..range.end.min(state.last + 1) {
        let found = state.find(index);
        bytes += match &found {
            Found::Memory(payload) => payload.len(),
            Found::Disk(location) => location.length as usize,
        };
        if bytes > bytes_max && !plan.is_empty() {
            break;
        }
        plan.push(found);
    }
    Ok(plan)
}

fn load(group: &Group, shared: &Shared, first: u64, plan: &[Found]) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::with_capacity(plan.len());
    while entries.len() < plan.len() {
        let index = first + entries.len() as u64;
        match &plan[entries.len()] {
            Found::Memory(payload) => entries.push(Entry { index, payload: payload.clone() }),
            Found::Disk(location) => {
                let run = run(*location, &plan[entries.len() + 1..]);
                load_run(group, shared, index, &run, &mut entries)?;
            }
        }
    }
    Ok(entries)
}

/// Returns `first` and those of `rest` that follow it without a gap in the same segment.
fn run(first: Location, rest: &[Found]) -> Vec<Location> {
    let mut run = vec![first];
    let mut end = end_of(first);
    for found in rest {
        let Found::Disk(next) = *found else { break };
        let adjacent = next.segment == first.segment && u64::from(next.offset) == end;
        if !adjacent || end_of(next) - u64::from(first.offset) > RUN_BYTES_MAX {
            break;
        }
        end = end_of(next);
        run.push(next);
    }
    run
}

fn load_run(
    group: &Group,
    shared: &Shared,
    first: u64,
    run: &[Location],
    entries: &mut Vec<Entry>,
) -> Result<(), ReadError> {
    let (segment, start) = (run[0].segment, u64::from(run[0].offset));
    let bytes = end_of(run[run.len() - 1]) - start;
    let mut buffer = vec![0; usize::try_from(bytes).expect("a record and a megabyte at most")];
    let corrupt =
        |index, offset| ReadError::Corrupt { group: group.id, index, path: shared.files.path(segment), offset };
    shared.files.get(segment).and_then(|file| file.read_at(&mut buffer, start)).map_err(|source| {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => corrupt(first, start),
            _ => ReadError::Io { path: shared.files.path(segment), source },
        }
    })?;
    let buffer = Bytes::from(buffer);
    for (index, location) in (first..).zip(run) {
        let offset = u64::from(location.offset);
        let from = usize::try_from(offset - start).expect("within the buffer");
        let record = buffer.slice(from..from + RECORD_HEADER_BYTES + location.length as usize);
        let head = verify(segment, offset, &record).ok_or_else(|| corrupt(index, offset))?;
        if (head.kind, head.group, head.index) != (Kind::Entry, group.id, index) {
            return Err(corrupt(index, offset));
        }
        entries.push(Entry { index, payload: record.slice(RECORD_HEADER_BYTES..) });
    }
    Ok(())
}

fn end_of(location: Location) -> u64 {
    u64::from(location.offset) + RECORD_HEADER_BYTES as u64 + u64::from(location.length)
}
