//! The bytes of a message that waits in a mailbox.
//!
//! Invariant: the memory of a short one came from the pool with [`layout`] of its length, of which all bytes are written.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::{ops, ptr, slice};

use bytes::Bytes;

use super::pool;

/// Bytes that hold on to no more memory than they take.
#[derive(Debug)]
pub(crate) enum Body {
    Short(Short),
    Long(Bytes),
}

/// Bytes in a block of the pool.
#[derive(Debug)]
pub(crate) struct Short {
    memory: NonNull<u8>,
    len: u16,
}

// SAFETY: it owns its bytes alone.
unsafe impl Send for Short {}

impl Body {
    /// Keeps `bytes`, which may be a part of all that arrived at once: a copy, lest a message in a full mailbox hold on to
    /// what came with it. What is longer than anything that arrives at once has its memory to itself.
    #[inline]
    pub(crate) fn keep(bytes: Bytes) -> Self {
        match u16::try_from(bytes.len()) {
            Ok(len) if len <= SHORT_BYTES_MAX => Self::Short(Short::copy(&bytes, len)),
            Ok(_) => Self::Long(Bytes::copy_from_slice(&bytes)),
            Err(_) => Self::Long(bytes),
        }
    }
}

impl ops::Deref for Body {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(short) => short,
            Self::Long(bytes) => bytes,
        }
    }
}

impl Short {
    fn copy(bytes: &[u8], len: u16) -> Self {
        let memory = pool::take(layout(len));
        // SAFETY: the memory is as long as `bytes` and belongs to nobody else.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory.as_ptr(), usize::from(len)) };
        Self { memory, len }
    }
}

impl ops::Deref for Short {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the invariant.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), usize::from(self.len)) }
    }
}

impl Drop for Short {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the invariant, and nobody has it any more.
        unsafe { pool::give(self.memory, layout(self.len)) }
    }
}

fn layout(len: u16) -> Layout {
    Layout::array::<u8>(usize::from(len)).expect("64 KiB fit into memory")
}

/// What the pool has blocks for.
const SHORT_BYTES_MAX: u16 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails, or is reported by a sanitizer, if a length at a border is copied in part, or freed as another.
    #[test]
    fn bodies_of_all_lengths_are_kept() {
        for len in [0, 1, 32, 33, 511, 512, 513, 65_535, 65_536, 100_000] {
            let bytes = Bytes::from((0..len).map(|n| n as u8).collect::<Vec<_>>());
            assert_eq!(*Body::keep(bytes.clone()), *bytes, "{len}");
        }
    }

    /// A message of some bytes would hold on to 64 KiB.
    #[test]
    fn what_arrived_with_a_message_is_let_go() {
        for len in [100, 1000, 9000] {
            let all = Bytes::from(vec![7; 60_000]);
            let body = Body::keep(all.slice(500..500 + len));
            assert!(all.is_unique(), "{len}");
            drop(body);
        }
    }
}
