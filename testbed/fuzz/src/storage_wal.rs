//! A write-ahead log that somebody wrote into: what is there is read, or opening fails, and nothing else happens.
//!
//! The first bytes say where in a sound segment the rest is put; beyond its end, or in its place, is possible, too.
#![no_main]

use std::sync::{Arc, LazyLock, mpsc};

use tiebeam_storage::fault::MemDisk;
use tiebeam_storage::{Config, Entry, Wal};
use tiebeam_wire::GroupId;

const SEGMENT: &str = "/node/wal/00000000000000000001.wal";

/// A segment with a few entries, written as any other.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let disk = MemDisk::new();
    let (wal, _) = Wal::open(Config::new("/node"), Arc::new(disk.clone())).expect("the disk is sound");
    for index in 1..=3 {
        let (sender, receiver) = mpsc::channel();
        let entry = Entry { index, payload: vec![7; 20].into() };
        let done = move |answer| sender.send(answer).expect("it is waited for");
        wal.group(GroupId(7)).append(vec![entry], done).expect("the disk works");
        receiver.recv().expect("it is answered").expect("the disk works");
    }
    disk.contents(SEGMENT).expect("it was written")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((at, bytes)) = bytes.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_le_bytes(*at));
    let mut segment = if at == 0xffff { Vec::new() } else { SOUND.clone() };
    let at = at.min(segment.len());
    let end = segment.len().min(at + bytes.len());
    segment.splice(at..end, bytes.iter().copied());
    let disk = MemDisk::new();
    disk.put(SEGMENT, &segment);
    if let Ok((wal, _)) = Wal::open(Config::new("/node"), Arc::new(disk)) {
        for group in wal.groups() {
            let log = wal.group(group);
            let _ = log.read(log.first_index()..u64::MAX, usize::MAX);
        }
    }
});
