//! Power loss at the moments in the life of one write. Each is tried with many outcomes of what was not synced.

use std::sync::{Arc, Mutex};

use tiebeam_storage::fault::{MemDisk, Moment, Operation};

use crate::support::{GROUP, append, entry, open, payloads};

const CRASHES: std::ops::Range<u64> = 0..64;

/// A disk whose log holds the acknowledged entry "old".
fn disk_with_old() -> MemDisk {
    let disk = MemDisk::new();
    append(&open(&disk).group(GROUP), &["old"]).expect("the disk works");
    disk
}

/// Returns the number that the next operation of this kind will have, if the next write is one record.
fn next(disk: &MemDisk, operation: Operation) -> usize {
    disk.operations().len() + usize::from(operation == Operation::SyncData)
}

/// Appends "new" while the power goes at `moment` of `operation`; returns whether it was acknowledged and all the logs
/// that can be left.
fn append_and_lose_power(operation: Operation, moment: Moment) -> (bool, Vec<Vec<String>>) {
    let disk = disk_with_old();
    let wal = open(&disk);
    disk.cut_power_at(next(&disk, operation), moment);
    let acknowledged = append(&wal.group(GROUP), &["new"]).is_ok();
    assert!(disk.is_off(), "the cut was at the wrong place");
    assert_eq!(disk.operations().last(), Some(&operation));
    (acknowledged, outcomes(&disk))
}

fn outcomes(disk: &MemDisk) -> Vec<Vec<String>> {
    let mut all: Vec<_> = CRASHES.map(|seed| payloads(&open(&disk.crash(seed)).group(GROUP))).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn only_old() -> Vec<String> {
    vec!["old".to_owned()]
}

fn both() -> Vec<String> {
    vec!["old".to_owned(), "new".to_owned()]
}

#[test]
fn before_append_the_old_entry_stays() {
    assert_eq!(outcomes(&disk_with_old()), [only_old()]);
}

#[test]
fn after_append_but_before_the_write_there_is_only_the_old_entry() {
    assert_eq!(append_and_lose_power(Operation::Write, Moment::Before), (false, vec![only_old()]));
}

/// The write is whole in the page cache, so either outcome is right; an acknowledgement would not be.
#[test]
fn after_the_write_but_before_the_sync_the_new_entry_may_be_lost() {
    assert_eq!(append_and_lose_power(Operation::Write, Moment::After), (false, vec![only_old(), both()].sorted()));
    assert_eq!(append_and_lose_power(Operation::SyncData, Moment::Before), (false, vec![only_old(), both()].sorted()));
}

#[test]
fn after_the_sync_the_new_entry_is_there() {
    assert_eq!(append_and_lose_power(Operation::SyncData, Moment::After), (false, vec![both()]));
}

/// The callback runs: whatever it tells the world must already hold. Fails if the log called back before the sync.
#[test]
fn before_the_reply_the_new_entry_is_there() {
    let disk = disk_with_old();
    let wal = open(&disk);
    let left = Arc::new(Mutex::new(None));
    let (seen, at_reply) = (Arc::clone(&left), disk.clone());
    let reply = move |answer: Result<(), _>| {
        assert!(answer.is_ok());
        *seen.lock().unwrap() = Some(CRASHES.map(|seed| at_reply.crash(seed)).collect::<Vec<_>>());
    };
    wal.group(GROUP).append(vec![entry(2, "new")], reply).expect("the disk works");
    drop(wal);
    let left = left.lock().unwrap().take().expect("the reply came before the log was closed");
    assert!(left.iter().all(|disk| payloads(&open(disk).group(GROUP)) == both()));
}

#[test]
fn after_the_reply_the_new_entry_is_there() {
    let disk = disk_with_old();
    let wal = open(&disk);
    append(&wal.group(GROUP), &["new"]).expect("the disk works");
    assert_eq!(outcomes(&disk), [both()]);
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl Sorted for Vec<Vec<String>> {
    fn sorted(mut self) -> Self {
        self.sort_unstable();
        self
    }
}
