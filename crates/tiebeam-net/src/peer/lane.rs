//! Ordered one-way streams that live as long as their connection.
//!
//! `[service u16][index u8]`, then frames. What is sent is written into the lane's buffer and waits there until somebody
//! flushes the endpoint: the busier the sender, the larger its packets.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use quinn_proto::VarInt;

use super::FRAME_BYTES_MAX;
use crate::Service;
use crate::quic::{self, OutLane};
use crate::refusal::{Reason, Refusal};

/// Lanes of one service. A pair of actors always takes the same one, so a lost packet stalls one pair in sixteen.
pub const LANES: u8 = 16;

/// Names an ordered stream of frames to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// What the frames are for.
    pub service: Service,
    /// Which of the service's lanes; below [`LANES`].
    pub index: u8,
}

/// Why a lane took no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is gone.
    #[error("connection is lost")]
    Lost,
    /// The peer doesn't admit this node's role to the service.
    #[error("peer forbids {service} to this node's role")]
    Forbidden {
        /// The service.
        service: Service,
    },
    /// The frame is larger than a frame may be. The lane is unharmed.
    #[error("frame has {size} bytes, more than the limit of {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Size of the frame in bytes.
        size: usize,
    },
    /// The peer is so slow that the lane's queue is full. The connection was closed: a hole in the order would be worse.
    #[error("lane holds {bytes} bytes, its limit")]
    Overflow {
        /// What the queue holds in bytes.
        bytes: usize,
    },
}

/// Puts frames on a lane. Cheap to clone; all clones are the same lane.
#[derive(Clone)]
pub struct LaneSender {
    connection: quic::Link,
    lane: Arc<OutLane>,
    /// Why this node closed the connection, if it did.
    ended: Arc<OnceLock<Refusal>>,
}

/// What waits in a lane.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Behind `chunks`.
    buffer: BytesMut,
    chunks: VecDeque<Bytes>,
    /// Of all that waits, here and beside the stream that doesn't take it.
    bytes: usize,
    bytes_max: usize,
    ended: Option<SendError>,
}

impl fmt::Debug for LaneSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSender").field("lane", &self.lane.lane).finish_non_exhaustive()
    }
}

impl LaneSender {
    pub(super) const fn new(connection: quic::Link, lane: Arc<OutLane>, ended: Arc<OnceLock<Refusal>>) -> Self {
        Self { connection, lane, ended }
    }

    /// Queues `frame` behind all earlier ones and writes what the network takes, without waiting.
    ///
    /// A frame that was taken arrives, and after all earlier ones, unless the connection is lost.
    ///
    /// # Errors
    /// [`SendError`]; after any but [`SendError::TooLarge`] the lane takes no more.
    pub fn send(&self, frame: Bytes) -> Result<(), SendError> {
        self.queue(frame.len(), |buffer| buffer.extend_from_slice(&frame))?;
        self.connection.flush();
        Ok(())
    }

    /// Sends `frame` as [`LaneSender::send`] does, unless more than `waiting_bytes_max` wait already: then it is dropped. For
    /// frames whose sender repeats what is lost.
    pub fn offer(&self, frame: Bytes, waiting_bytes_max: usize) {
        let waiting = self.lane.waiting().bytes;
        if waiting <= waiting_bytes_max {
            // After an error the lane takes no more, and its connection is over.
            let _ = self.send(frame);
        }
    }

    /// Queues a frame that `write` writes, of about `size` bytes. It leaves with the next [`Endpoint::flush`], or with
    /// whatever else this node does on the connection. Returns how many bytes wait in the lane.
    ///
    /// Promises and errors are those of [`LaneSender::send`]. `write` must only append.
    ///
    /// [`Endpoint::flush`]: crate::Endpoint::flush
    ///
    /// # Errors
    /// [`SendError`].
    #[inline]
    pub fn queue(&self, size: usize, write: impl FnOnce(&mut BytesMut)) -> Result<usize, SendError> {
        let mut waiting = self.lane.waiting();
        match waiting.put(size, write) {
            Ok(()) => {}
            Err(error @ SendError::Overflow { .. }) => {
                drop(waiting);
                let detail = format!("{:?} is full", self.lane.lane);
                let _ = self.ended.set(Refusal::local(Reason::Overflow, detail.clone()));
                self.connection.close(Reason::Overflow.code(), detail.into());
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        let is_full = waiting.buffer.len() >= FLUSH_BYTES;
        let bytes = waiting.bytes;
        drop(waiting);
        if !self.lane.is_dirty.load(Ordering::Relaxed) {
            self.lane.is_dirty.store(true, Ordering::Release);
            self.connection.mark();
        }
        if is_full {
            self.connection.flush();
        }
        Ok(bytes)
    }

    /// Waits until at most `bytes` wait in the lane, or until it takes no more. Cancel safe.
    pub async fn until_waiting(&self, bytes: usize) {
        loop {
            let mut written = std::pin::pin!(self.lane.written.notified());
            // From here on nothing is missed.
            written.as_mut().enable();
            {
                let waiting = self.lane.waiting();
                if waiting.bytes <= bytes || waiting.ended.is_some() {
                    return;
                }
            }
            written.await;
        }
    }
}

impl Waiting {
    pub(crate) fn new(lane: Lane, bytes_max: usize) -> Self {
        let [high, low] = lane.service.0.to_be_bytes();
        let head = [high, low, lane.index];
        Self {
            buffer: BytesMut::from(&head[..]),
            chunks: VecDeque::new(),
            bytes: HEAD_BYTES,
            bytes_max: bytes_max.saturating_add(HEAD_BYTES),
            ended: None,
        }
    }

    fn put(&mut self, size: usize, write: impl FnOnce(&mut BytesMut)) -> Result<(), SendError> {
        if let Some(ended) = self.ended {
            return Err(ended);
        }
        if self.bytes > HEAD_BYTES && self.bytes + size > self.bytes_max {
            let overflow = SendError::Overflow { bytes: self.bytes };
            // Before the connection is closed, which ends the lane as lost: the first word counts.
            self.end(overflow);
            return Err(overflow);
        }
        if self.buffer.capacity() - self.buffer.len() < size + LENGTH_BYTES {
            self.grow(size);
        }
        let start = self.buffer.len();
        self.buffer.put_u32(0);
        write(&mut self.buffer);
        let size = self.buffer.len() - start - LENGTH_BYTES;
        if size > FRAME_BYTES_MAX {
            self.buffer.truncate(start);
            return Err(SendError::TooLarge { size });
        }
        let length = u32::try_from(size).expect("frames are below 16 MiB");
        self.buffer[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        self.bytes += LENGTH_BYTES + size;
        Ok(())
    }

    /// Makes room. What is full goes on as it is: growing would copy it.
    #[cold]
    fn grow(&mut self, size: usize) {
        if self.buffer.len() >= BUFFER_BYTES / 2 {
            self.chunks.push_back(self.buffer.split().freeze());
        }
        self.buffer.reserve((size + LENGTH_BYTES).max(BUFFER_BYTES));
    }

    /// Hands over what waits. It counts until it is [`Waiting::written`].
    pub(crate) fn take(&mut self, chunks: &mut VecDeque<Bytes>) {
        chunks.append(&mut self.chunks);
        if !self.buffer.is_empty() {
            chunks.push_back(self.buffer.split().freeze());
        }
    }

    pub(crate) const fn written(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// Drops what waits and takes no more; the first error counts.
    pub(crate) fn end(&mut self, error: SendError) {
        self.buffer = BytesMut::new();
        self.chunks = VecDeque::new();
        self.ended.get_or_insert(error);
    }
}

/// The bytes with which a lane begins.
pub(crate) const HEAD_BYTES: usize = 3;
const LENGTH_BYTES: usize = 4;
/// How much memory a lane takes at once. What was sent is freed once the peer has confirmed all of a piece.
const BUFFER_BYTES: usize = 16 * 1024;
/// How much waits for a flush, at most.
const FLUSH_BYTES: usize = 32 * 1024;
/// The stream code by which a receiver says that the role doesn't admit its opener.
pub(crate) const FORBIDDEN: VarInt = VarInt::from_u32(1);
