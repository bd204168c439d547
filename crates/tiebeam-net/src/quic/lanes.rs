//! The lanes of a connection: frames that wait to be written, and streams that are cut into frames.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use quinn_proto::{Dir, ReadError, ReadableError, StreamId, VarInt, WriteError};
use tokio::sync::Notify;

use crate::peer::frames::Frames;
use crate::peer::lane::{FORBIDDEN, HEAD_BYTES, Waiting};
use crate::peer::{LANES, Lane, SendError, lock};
use crate::{Identity, Service};

/// Takes the frames of a connection's lanes.
pub(crate) struct Taker {
    pub(crate) identity: Identity,
    pub(crate) take: Box<dyn Fn(Lane, Bytes) + Send + Sync>,
}

/// A frame, and who takes it.
pub(crate) struct Frame {
    pub(crate) taker: Arc<Taker>,
    pub(crate) lane: Lane,
    pub(crate) body: Bytes,
}

/// Frames that wait for their stream.
#[derive(Debug)]
pub(crate) struct OutLane {
    pub(crate) lane: Lane,
    /// Whether there is something that the connection has not seen.
    pub(crate) is_dirty: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Tells that less waits, or that the lane has ended.
    pub(crate) written: Notify,
}

impl OutLane {
    pub(crate) fn new(lane: Lane, bytes_max: usize) -> Self {
        Self {
            lane,
            is_dirty: AtomicBool::new(false),
            waiting: Mutex::new(Waiting::new(lane, bytes_max)),
            written: Notify::new(),
        }
    }

    pub(crate) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Takes no more frames; the first error counts.
    pub(crate) fn end(&self, error: SendError) {
        self.waiting().end(error);
        self.written.notify_waiters();
    }
}

/// The lanes of one connection.
#[derive(Default)]
pub(super) struct Lanes {
    out: Vec<Out>,
    inbound: BTreeMap<StreamId, In>,
    open: BTreeSet<Lane>,
    /// Streams that may have bytes to read.
    readable: Vec<StreamId>,
    /// Whether it was said already that the peer asks for what its role forbids: once a connection is enough, or the peer
    /// could fill this node's log.
    pub(super) forbidden_said: bool,
}

/// A lane being written.
struct Out {
    lane: Arc<OutLane>,
    stream: Option<StreamId>,
    chunks: VecDeque<Bytes>,
    /// Whether the stream takes nothing until it says so.
    is_blocked: bool,
}

/// A lane being read.
#[derive(Default)]
struct In {
    lane: Option<Lane>,
    head: BytesMut,
    frames: Frames,
}

/// A peer that doesn't keep to the protocol.
pub(super) struct Violation(pub(super) String);

impl Lanes {
    pub(super) fn add(&mut self, lane: Arc<OutLane>) {
        self.out.push(Out { lane, stream: None, chunks: VecDeque::new(), is_blocked: false });
    }

    /// Returns the lane if it was added.
    pub(super) fn find(&self, lane: Lane) -> Option<Arc<OutLane>> {
        self.out.iter().find(|out| out.lane.lane == lane).map(|out| Arc::clone(&out.lane))
    }

    /// Takes no more frames, here or there.
    pub(super) fn end(&mut self) {
        for out in &mut self.out {
            out.chunks.clear();
            out.lane.end(SendError::Lost);
        }
        self.inbound.clear();
        self.readable.clear();
    }

    /// Hands what waits to the streams, as far as they take it.
    pub(super) fn write(&mut self, connection: &mut quinn_proto::Connection) {
        for out in &mut self.out {
            if out.lane.is_dirty.load(Ordering::Acquire) && out.lane.is_dirty.swap(false, Ordering::AcqRel) {
                out.lane.waiting().take(&mut out.chunks);
            }
            if !out.is_blocked && !out.chunks.is_empty() {
                out.write(connection);
            }
        }
    }

    /// A stream, or all of them, may take more.
    pub(super) fn unblock(&mut self, stream: Option<StreamId>) {
        for out in self.out.iter_mut().filter(|out| stream.is_none() || out.stream == stream) {
            out.is_blocked = false;
        }
    }

    /// The peer wants no more of a stream; says whether it was a lane's.
    pub(super) fn stopped(&mut self, stream: StreamId, code: VarInt) -> bool {
        let Some(out) = self.out.iter_mut().find(|out| out.stream == Some(stream)) else { return false };
        let service = out.lane.lane.service;
        let error = if code == FORBIDDEN { SendError::Forbidden { service } } else { SendError::Lost };
        out.chunks.clear();
        out.lane.end(error);
        true
    }

    /// Notes that a stream may have bytes to read; says whether it is a lane's.
    pub(super) fn note_readable(&mut self, stream: StreamId) -> bool {
        let is_lane = self.inbound.contains_key(&stream);
        if is_lane {
            self.readable.push(stream);
        }
        is_lane
    }

    /// Takes in what the peer has opened and what has arrived, cut into frames.
    pub(super) fn read(
        &mut self,
        connection: &mut quinn_proto::Connection,
        taker: &Arc<Taker>,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Violation> {
        while let Some(stream) = connection.streams().accept(Dir::Uni) {
            self.inbound.insert(stream, In::default());
            self.readable.push(stream);
        }
        while let Some(stream) = self.readable.pop() {
            self.read_stream(connection, stream, taker, frames)?;
        }
        Ok(())
    }

    fn read_stream(
        &mut self,
        connection: &mut quinn_proto::Connection,
        stream: StreamId,
        taker: &Arc<Taker>,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Violation> {
        let Some(inbound) = self.inbound.get_mut(&stream) else { return Ok(()) };
        let mut recv = connection.recv_stream(stream);
        let mut chunks = match recv.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => return Ok(()),
        };
        let mut is_open = true;
        let mut refused = None;
        loop {
            let chunk = match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => chunk.bytes,
                Ok(None) if !inbound.frames.is_whole() => {
                    return Err(Violation("lane ended within a frame".to_owned()));
                }
                Ok(None) | Err(ReadError::Reset(_)) => {
                    is_open = false;
                    break;
                }
                Err(ReadError::Blocked) => break,
            };
            match inbound.cut(chunk, taker, &mut self.open, frames) {
                Ok(()) => {}
                Err(Cut::Forbidden(service)) => {
                    refused = Some(service);
                    break;
                }
                Err(Cut::Violation(violation)) => return Err(violation),
            }
        }
        let _ = chunks.finalize();
        if let Some(service) = refused {
            let _ = recv.stop(FORBIDDEN);
            if !std::mem::replace(&mut self.forbidden_said, true) {
                tracing::warn!(peer = %taker.identity, %service, "refused a peer: role forbids the service");
            }
            is_open = false;
        }
        if !is_open {
            self.inbound.remove(&stream);
        }
        Ok(())
    }
}

impl Out {
    fn write(&mut self, connection: &mut quinn_proto::Connection) {
        let stream = match self.stream {
            Some(stream) => stream,
            None => match connection.streams().open(Dir::Uni) {
                Some(stream) => *self.stream.insert(stream),
                None => return self.is_blocked = true,
            },
        };
        let mut written = 0;
        let chunks = self.chunks.make_contiguous();
        let mut send = connection.send_stream(stream);
        let mut next = 0;
        while next < chunks.len() {
            match send.write_chunks(&mut chunks[next..]) {
                Ok(wrote) => {
                    next += wrote.chunks;
                    written += wrote.bytes;
                }
                Err(WriteError::Blocked) => {
                    self.is_blocked = true;
                    break;
                }
                // Whether it is stopped, and why, is told apart.
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => break,
            }
        }
        self.chunks.drain(..next);
        if written > 0 {
            self.lane.waiting().written(written);
            self.lane.written.notify_waiters();
        }
    }
}

enum Cut {
    Forbidden(Service),
    Violation(Violation),
}

impl In {
    fn cut(
        &mut self,
        mut chunk: Bytes,
        taker: &Arc<Taker>,
        open: &mut BTreeSet<Lane>,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Cut> {
        let lane = match self.lane {
            Some(lane) => lane,
            None => {
                let missing = (HEAD_BYTES - self.head.len()).min(chunk.len());
                self.head.extend_from_slice(&chunk.split_to(missing));
                let [s0, s1, index] = self.head[..] else { return Ok(()) };
                let lane = Lane { service: Service(u16::from_be_bytes([s0, s1])), index };
                if !lane.service.admits(taker.identity.role) {
                    return Err(Cut::Forbidden(lane.service));
                }
                // A second stream for the same lane would break the order that a lane promises.
                if index >= LANES || !open.insert(lane) {
                    return Err(Cut::Violation(Violation("lane is out of range or open already".to_owned())));
                }
                *self.lane.insert(lane)
            }
        };
        self.frames.push(chunk);
        loop {
            match self.frames.take() {
                Ok(Some(body)) => frames.push(Frame { taker: Arc::clone(taker), lane, body }),
                Ok(None) => return Ok(()),
                Err(error) => return Err(Cut::Violation(Violation(error.to_string()))),
            }
        }
    }
}
