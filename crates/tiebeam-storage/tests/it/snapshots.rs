use std::sync::Arc;

use tiebeam_storage::fault::{MemDisk, Moment};
use tiebeam_storage::{SnapshotError, SnapshotStore};
use tiebeam_wire::GroupId;

use crate::support::GROUP;

fn open(disk: &MemDisk) -> SnapshotStore {
    SnapshotStore::open("/node", Arc::new(disk.clone())).expect("the disk works")
}

fn latest(disk: &MemDisk) -> Option<String> {
    let snapshot = open(disk).latest(GROUP).expect("a whole snapshot or none")?;
    assert_eq!(&snapshot.meta[..], b"meta");
    Some(String::from_utf8_lossy(&snapshot.data).into_owned())
}

#[test]
fn newest_of_each_group_is_returned_and_two_are_kept() {
    let disk = MemDisk::new();
    let store = open(&disk);
    assert_eq!(store.latest(GROUP).unwrap(), None);
    for data in ["one", "two", "three"] {
        store.save(GROUP, b"meta", data.as_bytes()).unwrap();
    }
    store.save(GroupId(70), b"meta", b"other").unwrap();
    assert_eq!(latest(&disk).as_deref(), Some("three"));
    assert_eq!(disk.paths().len(), 3);
    store.remove(GROUP).unwrap();
    assert_eq!(latest(&disk), None);
    assert!(store.latest(GroupId(70)).unwrap().is_some());
}

/// At every operation, with many outcomes: the old one or the new one, and the new one once `save` has returned.
#[test]
fn power_loss_during_a_save_leaves_the_old_snapshot_or_the_new() {
    for cut in 0.. {
        let mut reached = false;
        for moment in [Moment::Before, Moment::After] {
            let disk = MemDisk::new();
            let store = open(&disk);
            for data in ["oldest", "old"] {
                store.save(GROUP, b"meta", data.as_bytes()).unwrap();
            }
            disk.cut_power_at(disk.operations().len() + cut, moment);
            let saved = store.save(GROUP, b"meta", b"new").is_ok();
            reached |= disk.is_off();
            for seed in 0..32 {
                let left = latest(&disk.crash(seed));
                let may: &[Option<&str>] = if saved { &[Some("new")] } else { &[Some("old"), Some("new")] };
                assert!(may.contains(&left.as_deref()), "cut {cut} {moment:?} seed {seed}: {left:?}");
            }
        }
        if !reached {
            break;
        }
    }
}

/// The one before is intact and must not be offered: the log between the two may be gone.
#[test]
fn any_flipped_bit_is_found_and_no_older_snapshot_is_offered() {
    let disk = MemDisk::new();
    let store = open(&disk);
    store.save(GROUP, b"meta", b"old").unwrap();
    store.save(GROUP, b"meta", b"new").unwrap();
    let path = disk.paths().pop().expect("two snapshots");
    for bit in 0..disk.contents(&path).expect("listed").len() * 8 {
        disk.flip_bit(&path, bit);
        match store.latest(GROUP) {
            Err(SnapshotError::Corrupt { path: named, .. }) => assert_eq!(named, path),
            other => panic!("bit {bit}: {other:?}"),
        }
        disk.flip_bit(&path, bit);
    }
    for len in 0..disk.contents(&path).expect("listed").len() {
        let short = disk.kill();
        short.put(&path, &disk.contents(&path).expect("listed")[..len]);
        assert!(open(&short).latest(GROUP).is_err(), "length {len}");
    }
}
