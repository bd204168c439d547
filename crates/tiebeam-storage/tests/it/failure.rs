use std::sync::mpsc;

use bytes::Bytes;
use tiebeam_storage::fault::{MemDisk, Operation};
use tiebeam_storage::{OpenError, ReadError, StateSlot, WriteError};

use crate::support::{GROUP, append, entry, open, payloads, try_open, wait};

/// Appends "lost" while the operation after `skip` others fails; returns the disk, on which the log is still open.
fn fail(skip: usize, expected: Operation) -> MemDisk {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let log = wal.group(GROUP);
    append(&log, &["kept"]).expect("the disk works");
    disk.fail_at(disk.operations().len() + skip);
    let error = append(&log, &["lost"]).expect_err("the disk failed");
    assert!(error.is_final(), "{error}");
    assert_eq!(disk.operations().last(), Some(&expected));

    // Nothing is tried again, by nobody: no later write reaches the disk, whoever makes it.
    let operations = disk.operations().len();
    assert!(append(&log, &["later"]).is_err());
    assert!(append(&wal.group(tiebeam_wire::GroupId(8)), &["other group"]).is_err());
    assert!(wait(|done| log.put_state(StateSlot::Vote, Bytes::new(), done)).is_err());
    assert!(log.put_state(StateSlot::Committed, Bytes::new(), |_| panic!("a refused write is not answered")).is_err());
    assert!(matches!(log.read(1..9, 9), Err(ReadError::Stopped(_))));
    drop(wal);
    assert_eq!(disk.operations().len(), operations);
    disk
}

/// fsyncgate: the second sync would succeed and lie. Fails if the log retries, or acknowledges after it.
#[test]
fn failed_sync_is_final_and_never_acknowledged() {
    let disk = fail(1, Operation::SyncData);
    assert_eq!(payloads(&open(&disk.crash(1)).group(GROUP)), ["kept"]);
}

#[test]
fn failed_write_is_final_and_never_acknowledged() {
    let disk = fail(0, Operation::Write);
    assert_eq!(payloads(&open(&disk.crash(1)).group(GROUP)), ["kept"]);
}

#[test]
fn writes_that_wait_behind_a_failure_hear_of_it() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let log = wal.group(GROUP);
    disk.fail_at(disk.operations().len() + 1);
    let (sender, answers) = mpsc::channel();
    let mut accepted = 0;
    for index in 1..=20 {
        let sender = sender.clone();
        let sent = log.append(vec![entry(index, "x")], move |answer| sender.send(answer).expect("the test waits"));
        accepted += usize::from(sent.is_ok());
    }
    drop((wal, sender));
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), accepted, "every accepted write is answered, once");
    assert!(answers.iter().all(Result::is_err));
}

#[test]
fn full_disk_is_a_clear_error_and_loses_nothing_acknowledged() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    append(&wal.group(GROUP), &["kept"]).expect("there is room");
    disk.limit_bytes(250);
    let error = wait(|done| wal.group(GROUP).append(vec![entry(2, vec![0; 300])], done)).expect_err("there is no room");
    assert!(matches!(error, WriteError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("disk is full"), "{error}");
    drop(wal);
    assert_eq!(payloads(&open(&disk.crash(3)).group(GROUP)), ["kept"]);
}

#[test]
fn locked_directory_is_refused() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    assert!(matches!(try_open(&disk), Err(OpenError::Locked { .. })));
    drop(wal);
    assert!(try_open(&disk).is_ok());
}

#[test]
fn gap_is_refused_and_changes_nothing() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let log = wal.group(GROUP);
    for index in [0, 2] {
        let error = log.append(vec![entry(index, "x")], |_| panic!("a refused write is not answered"));
        assert!(matches!(error, Err(WriteError::NotConsecutive { expected: 1, .. })));
    }
    let error = log.append(vec![entry(1, "x"), entry(3, "y")], |_| panic!("a refused write is not answered"));
    assert!(matches!(error, Err(WriteError::NotConsecutive { expected: 2, found: 3, .. })));
    append(&log, &["first"]).expect("the log goes on");
    assert_eq!(payloads(&log), ["first"]);
}

/// The queue never lets a callback wait for the thread it runs on.
#[test]
fn callback_may_write() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let (log, (sender, answers)) = (wal.group(GROUP), mpsc::channel());
    let again = log.clone();
    let first = move |_| again.append(vec![entry(2, "two")], move |a| sender.send(a).expect("the test waits")).unwrap();
    log.append(vec![entry(1, "one")], first).expect("the disk works");
    assert!(answers.recv().expect("answered").is_ok());
}

#[test]
fn panic_in_a_callback_hurts_nobody_else() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    wal.group(GROUP).append(vec![entry(1, "one")], |_| panic!("a careless callback")).expect("the disk works");
    append(&wal.group(GROUP), &["two"]).expect("the log goes on");
}

#[test]
fn closed_log_refuses_writes() {
    let disk = MemDisk::new();
    let wal = open(&disk);
    let log = wal.group(GROUP);
    drop(wal);
    assert!(matches!(append(&log, &["late"]), Err(WriteError::Closed)));
}
