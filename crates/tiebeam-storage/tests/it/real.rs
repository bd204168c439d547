use std::sync::Arc;

use bytes::Bytes;
use tiebeam_storage::disk::RealDisk;
use tiebeam_storage::{Config, OpenError, SnapshotStore, StateSlot, Wal};

use crate::support::{GROUP, append, observe, wait};

#[test]
fn log_comes_back_from_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes_max: 500, cache_bytes_max: 0, ..Config::new(dir.path().join("node")) };
    let open = || Wal::open(config.clone(), Arc::new(RealDisk));
    let (wal, _) = open().unwrap();
    let log = wal.group(GROUP);
    for _ in 0..20 {
        append(&log, &["tie", "beam"]).unwrap();
    }
    wait(|done| log.put_state(StateSlot::Vote, Bytes::from_static(b"vote"), done)).unwrap();
    wait(|done| log.purge(15, Bytes::from_static(b"15"), done)).unwrap();
    let before = observe(&wal);
    assert!(matches!(open(), Err(OpenError::Locked { .. })), "the lock holds within one process too");
    drop((log, wal));
    let (wal, recovered) = open().unwrap();
    assert_eq!(observe(&wal), before);
    assert_eq!(recovered.torn, None);
    assert!(recovered.segments > 1);
}

#[test]
fn snapshot_comes_back_from_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path(), Arc::new(RealDisk)).unwrap();
    for data in [b"one", b"two", b"six"] {
        store.save(GROUP, b"meta", data).unwrap();
    }
    assert_eq!(&store.latest(GROUP).unwrap().unwrap().data[..], b"six");
    assert_eq!(std::fs::read_dir(dir.path().join("snapshots")).unwrap().count(), 2);
}
