use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use tiebeam_storage::fault::{MemDisk, Moment, Operation};
use tiebeam_storage::{Config, Entry, ReadError, StateSlot, Wal};
use tiebeam_wire::GroupId;

use crate::support::{GROUP, append, config, entry, observe, open, payloads, wait};

fn segments(disk: &MemDisk) -> Vec<String> {
    let names = disk.paths().into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    names.filter(|name| name.ends_with(".wal")).map(|name| name.trim_start_matches('0').to_owned()).collect()
}

fn fill(wal: &Wal, group: GroupId, entries: u64) {
    let log = wal.group(group);
    for _ in 0..entries {
        let next = entry(log.last_index() + 1, vec![b'x'; 200]);
        wait(|done| log.append(vec![next], done)).expect("the disk works");
    }
}

/// The middle segments hold nothing of the group that pins the first: they go, and the gap is known to be wanted.
#[test]
fn segment_goes_when_no_group_needs_it() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    fill(&wal, GroupId(1), 1);
    fill(&wal, GroupId(2), 12);
    let before = segments(&disk);
    assert!(before.len() >= 5, "{before:?}");
    wait(|done| wal.group(GroupId(2)).purge(11, Bytes::from_static(b"p"), done)).expect("the disk works");
    drop(wal);
    let after = segments(&disk);
    assert_eq!(after, [before.first().unwrap().clone(), before.last().unwrap().clone()]);
    let wal = open(&disk);
    assert_eq!(wal.group(GroupId(1)).last_index(), 1);
    assert_eq!((wal.group(GroupId(2)).first_index(), wal.group(GroupId(2)).last_index()), (12, 12));
    assert_eq!(wal.group(GroupId(2)).read(12..13, 0).unwrap()[0].payload.len(), 200);
}

/// The vote was written in a segment that is gone; each segment starts with a checkpoint. Fails without it.
#[test]
fn state_survives_the_segment_it_was_written_in() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    wait(|done| wal.group(GroupId(1)).put_state(StateSlot::Vote, Bytes::from_static(b"vote"), done)).unwrap();
    fill(&wal, GroupId(2), 12);
    wait(|done| wal.group(GroupId(2)).remove(done)).unwrap();
    drop(wal);
    assert_eq!(segments(&disk).len(), 1);
    let wal = open(&disk);
    assert_eq!(wal.groups(), [GroupId(1)]);
    assert_eq!(wal.group(GroupId(1)).state(StateSlot::Vote), Some(Bytes::from_static(b"vote")));
}

/// The record of a cut goes with its segment while the entries it cut stay in an older one, pinned by another group. The
/// checkpoint's bounds must keep them cut. Fails if a checkpoint held state only.
#[test]
fn cut_holds_after_its_segment_is_gone() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let (pin, log) = (wal.group(GroupId(1)), wal.group(GROUP));
    append(&pin, &["pin"]).unwrap();
    append(&log, &["a", "b", "c", "d"]).unwrap();
    fill(&wal, GroupId(2), 3);
    wait(|done| log.truncate_after(1, done)).unwrap();
    fill(&wal, GroupId(2), 9);
    wait(|done| wal.group(GroupId(2)).purge(12, Bytes::new(), done)).unwrap();
    fill(&wal, GroupId(2), 1);
    let expected = observe(&wal);
    drop((wal, pin, log));
    assert!(segments(&disk).len() <= 3, "{:?}", segments(&disk));
    let wal = open(&disk);
    assert_eq!(payloads(&wal.group(GROUP)), ["a"]);
    assert_eq!(observe(&wal), expected);
}

/// The removal was recorded but not done when the power went; opening does it.
#[test]
fn segment_whose_removal_was_lost_goes_at_opening() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    fill(&wal, GROUP, 4);
    assert_eq!(segments(&disk).len(), 2);
    disk.cut_power_at(disk.operations().len() + 4, Moment::Before);
    wait(|done| wal.group(GROUP).purge(3, Bytes::new(), done)).unwrap();
    drop(wal);
    assert_eq!(disk.operations().last(), Some(&Operation::Remove), "the cut was at the wrong place");
    let left = disk.crash(0);
    assert_eq!(segments(&left), ["1.wal", "2.wal"]);
    assert_eq!(open(&left).group(GROUP).first_index(), 4);
    assert_eq!(segments(&left), ["2.wal"]);
}

/// The disk has the old entry 2, memory the new one, and the cache is due to shrink. Fails if the cache forgot the new
/// entry before the disk knew of the cut: a reader would get the old one.
#[test]
fn reader_never_meets_an_entry_that_was_cut_off() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let log = wal.group(GROUP);
    let gate = || {
        let (reached, at_gate) = channel();
        let (open, gate) = channel::<()>();
        let wait_at_gate = move |_| {
            reached.send(()).unwrap();
            gate.recv().unwrap();
        };
        (wait_at_gate, at_gate, open)
    };
    let (wait_1, at_gate_1, open_1) = gate();
    let (wait_2, at_gate_2, open_2) = gate();
    log.append(vec![entry(1, "one"), entry(2, "old")], wait_1).unwrap();
    at_gate_1.recv().unwrap();
    // Fills a batch by itself, so that the cut comes in a later one.
    wal.group(GroupId(1)).append(vec![entry(1, vec![0; 400])], wait_2).unwrap();
    log.truncate_after(1, |_| ()).unwrap();
    log.append(vec![entry(2, "new")], |_| ()).unwrap();
    open_1.send(()).unwrap();
    at_gate_2.recv().unwrap();
    assert_eq!(payloads(&log), ["one", "new"]);
    open_2.send(()).unwrap();
    wait(|done| log.append(Vec::new(), done)).unwrap();
    assert_eq!(payloads(&log), ["one", "new"]);
}

#[test]
fn purge_beyond_the_end_moves_the_log_there() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let log = wal.group(GROUP);
    append(&log, &["a"]).unwrap();
    wait(|done| log.purge(99, Bytes::from_static(b"99"), done)).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (100, 99));
    append(&log, &["hundred"]).unwrap();
    assert!(matches!(log.read(99..101, 9), Err(ReadError::Purged { index: 99, first: 100, .. })));
    assert_eq!(log.read(100..101, 9).unwrap(), [entry(100, "hundred")]);
    assert_eq!(log.state(StateSlot::Purged), Some(Bytes::from_static(b"99")));
}

/// Both from disk (nothing cached) and from memory (everything is).
#[test]
fn read_stops_at_its_limit_but_returns_one() {
    for cache_bytes_max in [0, 1 << 20] {
        let disk = MemDisk::new();
        let wal = Wal::open(Config { cache_bytes_max, ..config() }, Arc::new(disk)).unwrap().0;
        let log = wal.group(GROUP);
        append(&log, &["four", "four", "four"]).unwrap();
        append(&log, &["four"]).unwrap();
        let count = |range, bytes| log.read(range, bytes).unwrap().len();
        assert_eq!(
            [count(1..5, 0), count(1..5, 7), count(1..5, 8), count(1..99, 99), count(2..3, 99)],
            [1, 1, 2, 4, 1]
        );
        assert_eq!([count(5..9, 99), count(3..3, 99)], [0, 0]);
    }
}

/// An entry that is not on disk yet can be read. Nothing is synced here until the log is dropped.
#[test]
fn entry_is_readable_when_append_returns() {
    let wal = open(&MemDisk::new());
    let log = wal.group(GROUP);
    for index in 1..50 {
        log.append(vec![entry(index, format!("{index}"))], |_| ()).unwrap();
        assert_eq!(log.read(index..index + 1, 9).unwrap(), [Entry { index, payload: format!("{index}").into() }]);
    }
}

/// One sync for all groups: fails if each group, or each write, syncs by itself.
#[test]
fn writes_of_many_groups_share_a_sync() {
    let disk = MemDisk::new();
    let wal = Wal::open(Config::new("/node"), Arc::new(disk.clone())).unwrap().0;
    let syncs = |disk: &MemDisk| disk.operations().iter().filter(|op| **op == Operation::SyncData).count();
    let before = syncs(&disk);
    // The first callback holds the writer until all others wait.
    let (all_wait, gate) = channel::<()>();
    wal.group(GROUP).append(vec![entry(1, "gate")], move |_| gate.recv().unwrap()).unwrap();
    let begun = (0..10_000_000).any(|_| {
        std::thread::yield_now();
        syncs(&disk) > before
    });
    assert!(begun, "no sync");
    for group in 100..200 {
        wal.group(GroupId(group)).append(vec![entry(1, "x")], |_| ()).unwrap();
    }
    all_wait.send(()).unwrap();
    wait(|done| wal.group(GROUP).append(Vec::new(), done)).unwrap();
    assert!(syncs(&disk) - before <= 3, "{} syncs", syncs(&disk) - before);
}

/// A lazy value alone causes no sync; it goes out with the next write, and is in memory at once.
#[test]
fn lazy_value_waits_for_the_next_write() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let log = wal.group(GROUP);
    let before = disk.operations().len();
    wait(|done| log.put_state(StateSlot::Committed, Bytes::from_static(b"5"), done)).unwrap();
    assert_eq!(log.state(StateSlot::Committed), Some(Bytes::from_static(b"5")));
    assert_eq!(disk.operations().len(), before);
    append(&log, &["x"]).unwrap();
    assert_eq!(disk.operations().len(), before + 2);
    let after = open(&disk.crash(0));
    assert_eq!(after.group(GROUP).state(StateSlot::Committed), Some(Bytes::from_static(b"5")));
}
