//! Cuts a stream of bytes into frames, `[length u32][body]`, big-endian. Pure.

use bytes::{Buf, Bytes, BytesMut};

use super::FRAME_BYTES_MAX;

/// A frame that is larger than [`FRAME_BYTES_MAX`]. What follows in its stream can't be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame has {size} bytes, more than the limit of {FRAME_BYTES_MAX}")]
pub(crate) struct FrameTooLarge {
    pub(crate) size: usize,
}

/// Holds what arrived and was not taken yet: one chunk, and at most one frame of which an earlier chunk had the beginning.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    chunk: Bytes,
    begun: BytesMut,
}

impl Frames {
    /// Adds the next chunk; all frames of the last one must have been taken.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "frames of the last chunk are left");
        self.chunk = chunk;
    }

    /// Returns the next whole frame, if there is one. A frame that lies in one chunk is not copied.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, FrameTooLarge> {
        if self.begun.is_empty()
            && let Some(size) = size_of(&self.chunk)?
            && self.chunk.len() >= LENGTH_BYTES + size
        {
            self.chunk.advance(LENGTH_BYTES);
            return Ok(Some(self.chunk.split_to(size)));
        }
        self.fill(LENGTH_BYTES);
        let Some(size) = size_of(&self.begun)? else { return Ok(None) };
        self.fill(LENGTH_BYTES + size);
        if self.begun.len() < LENGTH_BYTES + size {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.begun);
        frame.advance(LENGTH_BYTES);
        Ok(Some(frame.freeze()))
    }

    /// Says whether no part of a frame waits for the rest.
    pub(crate) fn is_whole(&self) -> bool {
        self.begun.is_empty() && self.chunk.is_empty()
    }

    /// Moves bytes of the chunk to the frame that has begun, until that has `size`.
    fn fill(&mut self, size: usize) {
        let left = size.saturating_sub(self.begun.len());
        let missing = left.min(self.chunk.len());
        // For the usual frame at once; for a huge one as it arrives, since its length is only said.
        self.begun.reserve(left.min(RESERVE_BYTES_MAX).max(missing));
        self.begun.extend_from_slice(&self.chunk.split_to(missing));
    }
}

/// Returns the size that the head of a frame names, if it is there.
fn size_of(bytes: &[u8]) -> Result<Option<usize>, FrameTooLarge> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let size = u32::from_be_bytes(*length) as usize;
    if size > FRAME_BYTES_MAX { Err(FrameTooLarge { size }) } else { Ok(Some(size)) }
}

const LENGTH_BYTES: usize = 4;
/// How much memory a frame gets ahead of its bytes.
const RESERVE_BYTES_MAX: usize = 128 * 1024;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frame_beyond_the_limit_is_refused_by_its_length_alone() {
        let mut frames = Frames::default();
        frames.push(Bytes::copy_from_slice(&u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes()));
        assert_eq!(frames.take(), Err(FrameTooLarge { size: FRAME_BYTES_MAX + 1 }));
    }

    proptest! {
        /// However the network cuts the bytes, the same frames come out in the same order.
        #[test]
        fn frames_survive_any_cut(sizes in prop::collection::vec(0_usize..9000, 0..12), cut in 1_usize..5000) {
            let sent: Vec<Bytes> =
                sizes.iter().enumerate().map(|(n, size)| Bytes::from(vec![n as u8; *size])).collect();
            let mut stream = Vec::new();
            for frame in &sent {
                stream.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
                stream.extend_from_slice(frame);
            }
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(cut) {
                frames.push(Bytes::copy_from_slice(chunk));
                while let Some(frame) = frames.take().unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, sent);
        }
    }
}
