use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use tiebeam_storage::fault::MemDisk;
use tiebeam_storage::{Corruption, OpenError, StateSlot};

use crate::support::{FIRST_SEGMENT, GROUP, append, observe, open, open_roomy, payloads, try_open, wait};

/// A closed log of one segment and several batches.
fn closed_log() -> MemDisk {
    let disk = MemDisk::new();
    let (wal, _) = open_roomy(&disk).expect("a new disk");
    let log = wal.group(GROUP);
    append(&log, &["one", "two"]).expect("the disk works");
    wait(|done| log.put_state(StateSlot::Vote, Bytes::from_static(b"vote"), done)).expect("the disk works");
    append(&log, &["three"]).expect("the disk works");
    wait(|done| log.truncate_after(2, done)).expect("the disk works");
    append(&log, &["four"]).expect("the disk works");
    drop(wal);
    disk
}

/// Exhaustive over all bits. Closing leaves a batch of its own, so every bit before that is proven durable and must be
/// found; a bit in the mark of closing looks like a torn tail, and cutting that loses nothing.
#[test]
fn flipped_bit_in_a_closed_log_is_found_and_named() {
    let disk = closed_log();
    let whole = observe(&open_roomy(&disk.kill()).expect("sound").0);
    let bytes = disk.contents(FIRST_SEGMENT).expect("one segment");
    let closing = bytes.len() - 33;
    for bit in 0..bytes.len() * 8 {
        let flipped = disk.kill();
        flipped.flip_bit(FIRST_SEGMENT, bit);
        match open_roomy(&flipped) {
            Err(error) => {
                assert!(bit / 8 < closing, "bit {bit} is in the mark of closing: {error}");
                assert!(error.to_string().contains(FIRST_SEGMENT), "{error}");
                let at = match error {
                    OpenError::Corrupt { offset, .. } => offset,
                    other => panic!("bit {bit}: {other}"),
                };
                assert!(at <= bit as u64 / 8, "bit {bit} is named at byte {at}, after the damage");
                assert!(at + 80 > bit as u64 / 8, "bit {bit} is named at byte {at}, far before the damage");
                let after = flipped.contents(FIRST_SEGMENT).expect("still there");
                assert_eq!(after.len(), bytes.len(), "bit {bit}: a refused log is left as it is");
            }
            Ok((wal, recovered)) => {
                assert!(bit / 8 >= closing, "bit {bit} was not found; recovered {recovered:?}");
                assert_eq!(recovered.torn_bytes(), 33);
                assert_eq!(observe(&wal), whole);
            }
        }
    }
}

/// A crash leaves no mark of closing. Then the last batch can't be told from a torn one, but all before it can.
#[test]
fn flipped_bit_after_a_crash_costs_the_last_batch_at_most() {
    let disk = MemDisk::new();
    let (wal, _) = open_roomy(&disk).expect("a new disk");
    append(&wal.group(GROUP), &["one"]).expect("the disk works");
    append(&wal.group(GROUP), &["two", "three"]).expect("the disk works");
    let last_batch = disk.contents(FIRST_SEGMENT).expect("one segment").len() - (33 + 3) - (33 + 5);
    let crashed = disk.crash(0);
    for bit in 0..disk.contents(FIRST_SEGMENT).expect("one segment").len() * 8 {
        let flipped = crashed.kill();
        flipped.flip_bit(FIRST_SEGMENT, bit);
        match open_roomy(&flipped) {
            Err(_) => assert!(bit / 8 < last_batch, "bit {bit}"),
            Ok((wal, recovered)) => {
                assert!(bit / 8 >= last_batch, "bit {bit} was not found");
                assert_eq!(payloads(&wal.group(GROUP)), ["one"]);
                assert_eq!(recovered.torn.map(|torn| torn.offset), Some(last_batch as u64));
            }
        }
    }
}

/// A log of three segments or more.
fn long_log() -> (MemDisk, Vec<String>) {
    let disk = MemDisk::new();
    let wal = open(&disk);
    for _ in 0..40 {
        append(&wal.group(GROUP), &["the quick brown fox", "jumps"]).expect("the disk works");
    }
    drop(wal);
    let segments: Vec<String> =
        disk.paths().iter().map(|path| path.display().to_string()).filter(|path| path.ends_with(".wal")).collect();
    assert!(segments.len() >= 4, "{segments:?}");
    (disk, segments)
}

#[test]
fn flipped_bit_in_a_sealed_segment_refuses_to_open() {
    let (disk, segments) = long_log();
    for segment in &segments[..segments.len() - 1] {
        for bit in (0..disk.contents(segment).expect("listed").len() * 8).step_by(7) {
            let flipped = disk.kill();
            flipped.flip_bit(segment, bit);
            let error = try_open(&flipped).expect_err("damage in a sealed segment");
            assert!(matches!(error, OpenError::Corrupt { .. }), "{segment} bit {bit}: {error}");
            assert!(error.to_string().contains(segment), "{segment} bit {bit}: {error}");
            assert!(flipped.operations().is_empty(), "{segment} bit {bit}: a refused log is left as it is");
        }
    }
}

/// A segment is begun only after the one before was synced, so even a half-made one seals it: the last batch before it is
/// no torn tail. Fails if the half-made one alone were taken for the end.
#[test]
fn damage_before_a_half_made_segment_refuses_to_open() {
    const SECOND_SEGMENT: &str = "/node/wal/00000000000000000002.wal";
    let disk = closed_log();
    disk.put(SECOND_SEGMENT, b"TBWAL");
    let damaged = disk.kill();
    let last_byte = disk.contents(FIRST_SEGMENT).expect("one segment").len() - 1;
    damaged.flip_bit(FIRST_SEGMENT, last_byte * 8);
    let error = open_roomy(&damaged).expect_err("the end of a sealed segment is damaged");
    assert!(error.to_string().contains(FIRST_SEGMENT), "{error}");
    assert!(damaged.operations().is_empty());

    let (_wal, recovered) = open_roomy(&disk).expect("only half made");
    assert_eq!(recovered.torn.map(|torn| (torn.offset, torn.bytes)), Some((0, 5)));
    assert_eq!(disk.contents(SECOND_SEGMENT), None);
}

/// Catches a cut at a record's or a batch's end, which no checksum sees.
#[test]
fn sealed_segment_that_lost_its_end_refuses_to_open() {
    let (disk, segments) = long_log();
    let bytes = disk.contents(&segments[1]).expect("listed");
    for len in 0..bytes.len() {
        let cut = disk.kill();
        cut.put(&segments[1], &bytes[..len]);
        let error = try_open(&cut).expect_err("a sealed segment is short");
        assert!(error.to_string().contains(&segments[1]), "length {len}: {error}");
    }
}

#[test]
fn missing_segment_is_named() {
    let (disk, segments) = long_log();
    for segment in &segments[..segments.len() - 1] {
        let lost = disk.kill();
        lost.lose(segment);
        let error = try_open(&lost).expect_err("a segment is missing");
        assert!(
            matches!(&error, OpenError::MissingSegment { path } if path.display().to_string() == *segment),
            "{error}"
        );
    }
}

/// A segment in the place of another has a sound header and sound checksums, for its own place.
#[test]
fn segment_under_another_name_refuses_to_open() {
    let (disk, segments) = long_log();
    let bytes = disk.contents(&segments[0]).expect("listed");
    disk.put(&segments[1], &bytes);
    assert!(matches!(
        try_open(&disk),
        Err(OpenError::Corrupt { reason: Corruption::Sequence { expected: 2, found: 1 }, .. })
    ));
}

#[test]
fn newer_version_is_not_mistaken_for_damage() {
    let disk = closed_log();
    let mut bytes = disk.contents(FIRST_SEGMENT).expect("one segment");
    bytes[8] = 2;
    let crc = tiebeam_wire::checksum::crc32c(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    disk.put(FIRST_SEGMENT, &bytes);
    assert!(matches!(open_roomy(&disk), Err(OpenError::Version { found: 2, supported: 1, .. })));
}

/// A payload that holds a whole segment is data. Fails if a record's checksum did not cover its place.
#[test]
fn copy_of_a_segment_in_a_torn_payload_is_not_taken_for_records() {
    let copy = closed_log().contents(FIRST_SEGMENT).expect("one segment");
    let disk = MemDisk::new();
    let (wal, _) = open_roomy(&disk).expect("a new disk");
    append(&wal.group(GROUP), &["one"]).expect("the disk works");
    let torn_at = disk.contents(FIRST_SEGMENT).expect("one segment").len();
    let big = crate::support::entry(2, copy);
    wait(|done| wal.group(GROUP).append(vec![big], done)).expect("the disk works");
    let torn = disk.crash(0);
    torn.flip_bit(FIRST_SEGMENT, (torn_at + 5) * 8);
    let (wal, recovered) = open_roomy(&torn).expect("a torn tail");
    assert_eq!(recovered.torn.map(|torn| torn.offset), Some(torn_at as u64));
    assert_eq!(payloads(&wal.group(GROUP)), ["one"]);
}

/// A read checks again: damage may come after opening.
#[test]
fn damage_after_opening_is_found_by_the_read() {
    let disk = closed_log();
    let (wal, _) = open_roomy(&disk).expect("sound");
    let bytes = disk.contents(FIRST_SEGMENT).expect("one segment");
    let payload = bytes.windows(3).position(|window| window == b"two").expect("entry two is there");
    for bit in (payload - 33) * 8..(payload + 3) * 8 {
        disk.flip_bit(FIRST_SEGMENT, bit);
        let error = wal.group(GROUP).read(1..9, 99).expect_err("entry two is damaged");
        assert!(error.to_string().contains(FIRST_SEGMENT), "{error}");
        disk.flip_bit(FIRST_SEGMENT, bit);
    }
    assert_eq!(wal.group(GROUP).read(1..9, 99).expect("sound again").len(), 3);
}

/// Whole batches taken from the middle leave sound checksums nowhere, since places shift; and nothing may be skipped.
#[test]
fn bytes_cut_from_the_middle_refuse_to_open() {
    let disk = closed_log();
    let bytes = disk.contents(FIRST_SEGMENT).expect("one segment");
    let lengths: BTreeSet<usize> = [1, 33, 36, 72].into();
    for from in 40..bytes.len() - 140 {
        for len in &lengths {
            let mut short = bytes[..from].to_vec();
            short.extend_from_slice(&bytes[from + len..]);
            let disk = MemDisk::new();
            disk.put(FIRST_SEGMENT, &short);
            // Either refused, or taken for a torn tail and then shorter than what was there: never invented.
            if let Ok((wal, recovered)) = open_roomy(&disk) {
                assert!(recovered.torn.is_some(), "from {from} length {len}");
                assert!(wal.group(GROUP).last_index() <= 3);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any bytes as a segment are opened or refused; never a panic, never an endless loop, never a heap of memory.
    #[test]
    fn any_bytes_are_opened_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), name in 1_u64..4) {
        let disk = MemDisk::new();
        disk.put(format!("/node/wal/{name:020}.wal"), &bytes);
        let opened = open_roomy(&disk);
        // Only the very first segment can be half made with nothing before it.
        prop_assert!(name == 1 || opened.is_err());
    }

    /// As above with a sound beginning, so that the bytes get past the header.
    #[test]
    fn any_bytes_over_a_sound_log_are_opened_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 1..80),
        at in any::<proptest::sample::Index>(),
    ) {
        let disk = closed_log();
        let mut segment = disk.contents(FIRST_SEGMENT).expect("one segment");
        let at = at.index(segment.len());
        let end = segment.len().min(at + bytes.len());
        segment[at..end].copy_from_slice(&bytes[..end - at]);
        disk.put(FIRST_SEGMENT, &segment);
        drop(open_roomy(&disk));
    }
}
