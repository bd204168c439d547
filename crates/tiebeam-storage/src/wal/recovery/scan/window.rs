use std::io;

use crate::disk::DiskFile;

/// Read ahead by this much.
const WINDOW_BYTES: usize = 1 << 20;

/// A file seen through a window that moves forward, so that a segment need not fit the memory.
#[derive(Debug)]
pub(super) struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, start: 0, buffer: Vec::new() })
    }

    /// Returns the length of the file in bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns `length` bytes at `offset`; `None` if the file ends before.
    pub(super) fn bytes(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(length as u64).filter(|end| *end <= self.len) else { return Ok(None) };
        if offset < self.start || end > self.start + self.buffer.len() as u64 {
            let ahead = (WINDOW_BYTES.max(length) as u64).min(self.len - offset);
            self.buffer.resize(usize::try_from(ahead).map_err(io::Error::other)?, 0);
            self.start = offset;
            self.file.read_at(&mut self.buffer, offset)?;
        }
        let from = usize::try_from(offset - self.start).map_err(io::Error::other)?;
        Ok(Some(&self.buffer[from..from + length]))
    }
}
