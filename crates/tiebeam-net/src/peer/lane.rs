//! Ordered one-way streams that live as long as their connection.
//!
//! `[service u16][index u8]`, then frames. Whatever waits in a lane when its writer is free goes out in one write: the
//! busier the lane, the larger its packets.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quinn::{Connection, VarInt, WriteError};
use tokio::sync::Notify;

use super::{FRAME_BYTES_MAX, frames, lock};
use crate::Service;
use crate::refusal::Reason;

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
    queue: Arc<Queue>,
}

struct Queue {
    connection: Connection,
    lane: Lane,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    /// Of the frames that wait and of those being written.
    bytes: usize,
    ended: Option<SendError>,
}

impl fmt::Debug for LaneSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSender").field("lane", &self.queue.lane).finish_non_exhaustive()
    }
}

impl LaneSender {
    pub(super) fn open(connection: Connection, lane: Lane, bytes_max: usize) -> Self {
        let queue = Arc::new(Queue { connection, lane, bytes_max, waiting: Mutex::default(), wake: Notify::new() });
        let writer = Arc::clone(&queue);
        drop(tiebeam_world::spawn("net.lane.write", async move {
            let error = writer.write().await;
            writer.end(error);
        }));
        Self { queue }
    }

    /// Queues `frame` behind all earlier ones, without waiting.
    ///
    /// A frame that was taken arrives, and after all earlier ones, unless the connection is lost.
    ///
    /// # Errors
    /// [`SendError`]; after any but [`SendError::TooLarge`] the lane takes no more.
    pub fn send(&self, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(SendError::TooLarge { size: frame.len() });
        }
        let queue = &*self.queue;
        let mut waiting = lock(&queue.waiting);
        if let Some(ended) = waiting.ended {
            return Err(ended);
        }
        let cost = frame.len() + FRAME_COST_BYTES;
        if waiting.bytes > 0 && waiting.bytes + cost > queue.bytes_max {
            let overflow = SendError::Overflow { bytes: waiting.bytes };
            // Before the connection is closed: the writer then ends the lane as lost, and the first word counts.
            waiting.end(overflow);
            drop(waiting);
            queue.connection.close(Reason::Overflow.code(), format!("{:?} is full", queue.lane).as_bytes());
            return Err(overflow);
        }
        waiting.bytes += cost;
        waiting.frames.push_back(frame);
        let first = waiting.frames.len() == 1;
        drop(waiting);
        // Behind another frame there is nobody to wake: whoever queued that one did.
        if first {
            queue.wake.notify_one();
        }
        Ok(())
    }
}

impl Queue {
    /// Writes until the stream ends; returns why it did.
    async fn write(&self) -> SendError {
        match self.write_stream().await {
            Err(WriteError::Stopped(code)) if code == FORBIDDEN => SendError::Forbidden { service: self.lane.service },
            Err(_) => SendError::Lost,
            Ok(never) => match never {},
        }
    }

    async fn write_stream(&self) -> Result<std::convert::Infallible, WriteError> {
        let mut stream = self.connection.open_uni().await?;
        let [high, low] = self.lane.service.0.to_be_bytes();
        stream.write_all(&[high, low, self.lane.index]).await?;
        loop {
            let (frames, cost) = tokio::select! {
                batch = self.take() => batch,
                // Without frames to write nothing else would tell.
                stopped = stream.stopped() => return Err(stopped.map_or(
                    WriteError::ClosedStream,
                    |code| code.map_or(WriteError::ClosedStream, WriteError::Stopped),
                )),
            };
            stream.write_all_chunks(&mut frames::pack(frames)).await?;
            lock(&self.waiting).bytes -= cost;
        }
    }

    /// Waits for frames and takes all that wait.
    async fn take(&self) -> (VecDeque<Bytes>, usize) {
        loop {
            {
                let mut waiting = lock(&self.waiting);
                if !waiting.frames.is_empty() {
                    let frames = std::mem::take(&mut waiting.frames);
                    let cost = frames.iter().map(|frame| frame.len() + FRAME_COST_BYTES).sum();
                    return (frames, cost);
                }
            }
            self.wake.notified().await;
        }
    }

    fn end(&self, error: SendError) {
        lock(&self.waiting).end(error);
    }
}

impl Waiting {
    /// Drops what waits and takes no more; the first error counts.
    fn end(&mut self, error: SendError) {
        self.frames.clear();
        self.ended.get_or_insert(error);
    }
}

/// What a queued frame costs besides its body; bounds the number of empty frames.
const FRAME_COST_BYTES: usize = 64;
/// The stream code by which a receiver says that the role doesn't admit its opener.
pub(super) const FORBIDDEN: VarInt = VarInt::from_u32(1);
