use std::io;

use super::{FileId, MemDisk, Operation};
use crate::disk::DiskFile;

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync, in order.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(content, *offset, bytes),
            Self::Truncate(len) => content.resize(*len, 0),
        }
    }
}

/// Writes `bytes` at `offset`; a gap before it reads as zeros.
pub(super) fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Content {
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { seen: bytes.clone(), durable: bytes, changes: Vec::new() }
    }

    pub(super) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Returns the durable bytes and what was done since.
    pub(super) fn at_risk(&self) -> (&[u8], &[Change]) {
        (&self.durable, &self.changes)
    }

    pub(super) fn flip_bit(&mut self, bit: usize) {
        self.seen[bit / 8] ^= 1 << (bit % 8);
        if let Some(byte) = self.durable.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.changes.push(change);
    }

    fn sync(&mut self, fails: bool) {
        for change in self.changes.drain(..).filter(|_| !fails) {
            change.apply(&mut self.durable);
        }
    }
}

#[derive(Debug)]
pub(super) struct MemFile {
    disk: MemDisk,
    id: FileId,
}

impl MemFile {
    pub(super) const fn new(disk: MemDisk, id: FileId) -> Self {
        Self { disk, id }
    }

    fn operate(&self, operation: Operation, act: impl FnOnce(&mut Content, bool) -> io::Result<()>) -> io::Result<()> {
        let id = self.id;
        self.disk.lock().operate(operation, |inner, fails| {
            act(inner.files.get_mut(&id).expect("a file lives as long as the disk"), fails)
        })
    }

    fn look<T>(&self, look: impl FnOnce(&Content) -> io::Result<T>) -> io::Result<T> {
        let inner = self.disk.lock();
        inner.check_power()?;
        look(inner.files.get(&self.id).expect("a file lives as long as the disk"))
    }
}

impl DiskFile for MemFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let room = {
            let inner = self.disk.lock();
            let used: usize = inner.names.values().filter_map(|id| Some(inner.files.get(id)?.seen.len())).sum();
            inner.bytes_max.map_or(u64::MAX, |max| max.saturating_sub(used as u64))
        };
        self.operate(Operation::Write, |content, fails| {
            let grows = (offset + bytes.len()).saturating_sub(content.seen.len()) as u64;
            let full = grows > room;
            // A write that fails has written something more often than not.
            let written = if fails || full { bytes.len() / 2 } else { bytes.len() };
            content.change(Change::Write { offset, bytes: bytes[..written].to_vec() });
            if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.look(|content| {
            let bytes = content.seen.get(offset..offset + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.operate(Operation::SyncData, |content, fails| {
            content.sync(fails);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.look(|content| Ok(content.seen.len() as u64))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.operate(Operation::Truncate, |content, fails| {
            if !fails {
                content.change(Change::Truncate(len));
            }
            Ok(())
        })
    }
}
