//! A connection's state and what moves it on. Whoever holds its lock moves it, and leaves nothing behind to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{
    ConnectionError, ConnectionEvent, ConnectionHandle, Dir, Event, StreamEvent, StreamId, Transmit, VarInt,
};
use tokio::sync::Notify;

use super::lanes::{Frame, Lanes, Taker};
use super::socket::Socket;
use super::{congestion, endpoint};
use crate::refusal::Reason;

/// What waits for a connection as a whole. A connection is told of everything at once, and each looks for itself.
#[derive(Debug, Default)]
pub(super) struct Notices {
    pub(super) established: Notify,
    pub(super) closed: Notify,
    pub(super) incoming: Notify,
    pub(super) budget: Notify,
    /// Whether somebody wants the lanes to be written who didn't wait for the connection.
    pub(super) is_wanted: AtomicBool,
}

pub(super) struct State {
    pub(super) proto: quinn_proto::Connection,
    pub(super) handle: ConnectionHandle,
    /// Set before the connection is forgotten.
    pub(super) error: Option<ConnectionError>,
    pub(super) is_established: bool,
    pub(super) writers: HashMap<StreamId, Waker>,
    pub(super) readers: HashMap<StreamId, Waker>,
    pub(super) stopped: HashMap<StreamId, Arc<Notify>>,
    pub(super) lanes: Lanes,
    /// For which moment it is armed.
    pub(super) armed: Option<Instant>,
    /// When the peer was last heard.
    heard: Option<Instant>,
    /// How many datagrams had come when the peer was asked whether it lives.
    pub(super) probe: Option<u64>,
    buffer: Vec<u8>,
    /// In `buffer`; the socket had no room for it.
    unsent: Option<Transmit>,
}

impl State {
    pub(super) fn new(handle: ConnectionHandle, proto: quinn_proto::Connection) -> Self {
        Self {
            proto,
            handle,
            error: None,
            is_established: false,
            writers: HashMap::new(),
            readers: HashMap::new(),
            stopped: HashMap::new(),
            lanes: Lanes::default(),
            armed: None,
            heard: None,
            probe: None,
            buffer: Vec::new(),
            unsent: None,
        }
    }

    /// Does all that is due, and arms the connection for the next moment.
    pub(super) fn drive(&mut self, endpoint: &endpoint::Shared, notices: &Notices) {
        let now = tiebeam_world::clock();
        loop {
            let sent = self.transmit(endpoint, notices, now);
            let again = self.take_events(endpoint, notices);
            if !again || !sent {
                break;
            }
        }
        self.arm(endpoint);
    }

    /// Arms the connection for the next moment at which something is due.
    pub(super) fn arm(&mut self, endpoint: &endpoint::Shared) {
        let silent = self.silent_at(endpoint);
        match self.proto.poll_timeout().into_iter().chain(silent).min() {
            Some(deadline) if self.armed.is_none_or(|armed| deadline < armed) => {
                self.armed = Some(deadline);
                endpoint.timers.arm(deadline, self.handle);
            }
            _ => {}
        }
    }

    /// Does what the clock demands.
    pub(super) fn tick(&mut self, endpoint: &endpoint::Shared, notices: &Notices) {
        self.armed = None;
        let now = tiebeam_world::clock();
        if self.proto.poll_timeout().is_some_and(|timeout| timeout <= now) {
            self.proto.handle_timeout(now);
        }
        if self.silent_at(endpoint).is_some_and(|silent| silent <= now) {
            self.lose(notices);
        }
    }

    /// Takes in a datagram.
    pub(super) fn hear(&mut self, event: ConnectionEvent, now: Instant) {
        self.proto.handle_event(event);
        self.heard = Some(now);
    }

    /// When the connection is given up if its peer stays silent.
    ///
    /// QUIC alone would wait for three of its probe timeouts (RFC 9000, 10.1), which grow with the round trip: many seconds,
    /// after a network that was slow and lost much. A forged datagram counts as heard; QUIC's own timeout, which counts none,
    /// bounds what can be won by it.
    fn silent_at(&self, endpoint: &endpoint::Shared) -> Option<Instant> {
        let heard = self.heard.filter(|_| self.is_established && self.error.is_none())?;
        heard.checked_add(endpoint.silence_max)
    }

    /// Reads the lanes. The frames are to be handed over in this order, once the connection's lock is free.
    pub(super) fn read_lanes(
        &mut self,
        endpoint: &endpoint::Shared,
        notices: &Notices,
        taker: &Arc<Taker>,
        frames: &mut Vec<Frame>,
    ) {
        self.take_events(endpoint, notices);
        if self.error.is_some() {
            return;
        }
        if let Err(violation) = self.lanes.read(&mut self.proto, taker, frames) {
            tracing::warn!(peer = %taker.identity, detail = violation.0, "peer violated the protocol");
            self.close(Reason::Protocol.code(), violation.0.into(), notices);
        }
    }

    pub(super) fn close(&mut self, code: VarInt, reason: Bytes, notices: &Notices) {
        if self.error.is_none() {
            congestion::lift(self.proto.congestion_state());
            self.proto.close(tiebeam_world::clock(), code, reason);
            self.end(ConnectionError::LocallyClosed, notices);
        }
    }

    /// Ends the connection as if its peer had been silent for too long.
    pub(super) fn lose(&mut self, notices: &Notices) {
        self.proto.close(tiebeam_world::clock(), VarInt::from_u32(0), Bytes::new());
        self.end(ConnectionError::TimedOut, notices);
    }

    /// Sends what there is to send; says whether the socket took all of it.
    fn transmit(&mut self, endpoint: &endpoint::Shared, notices: &Notices, now: Instant) -> bool {
        let socket = &*endpoint.socket;
        let fitting = TRAIN_BYTES_MAX / usize::from(self.proto.current_mtu());
        let segments_max = fitting.clamp(1, socket.segments_max());
        loop {
            // Before each call of the system: what comes to another lane meanwhile doesn't wait until a window is sent.
            notices.is_wanted.store(false, Ordering::SeqCst);
            if self.error.is_none() {
                self.lanes.write(&mut self.proto);
            }
            let transmit = match self.unsent.take() {
                Some(transmit) => transmit,
                None => {
                    self.buffer.clear();
                    match self.proto.poll_transmit(now, segments_max, &mut self.buffer) {
                        Some(transmit) => transmit,
                        None => return true,
                    }
                }
            };
            if !send(socket, &transmit, &self.buffer) {
                self.unsent = Some(transmit);
                endpoint.drive_soon(self.handle);
                return false;
            }
        }
    }

    /// Passes on what the protocol machine has to say to the endpoint and to those who wait; says whether that may have
    /// given it more to do.
    fn take_events(&mut self, endpoint: &endpoint::Shared, notices: &Notices) -> bool {
        let mut again = false;
        while let Some(event) = self.proto.poll_endpoint_events() {
            if let Some(answer) = endpoint.told(self.handle, event) {
                self.proto.handle_event(answer);
                again = true;
            }
        }
        while let Some(event) = self.proto.poll() {
            again |= self.take_event(event, notices);
        }
        again
    }

    fn take_event(&mut self, event: Event, notices: &Notices) -> bool {
        match event {
            Event::Connected => {
                self.is_established = true;
                notices.established.notify_waiters();
            }
            Event::ConnectionLost { reason } => self.end(reason, notices),
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => notices.incoming.notify_waiters(),
            Event::Stream(StreamEvent::Readable { id }) => {
                if !self.lanes.note_readable(id) {
                    wake(&mut self.readers, id);
                }
            }
            Event::Stream(StreamEvent::Writable { id }) => {
                wake(&mut self.writers, id);
                self.lanes.unblock(Some(id));
                return true;
            }
            Event::Stream(StreamEvent::Finished { id }) => self.tell_stopped(id),
            Event::Stream(StreamEvent::Stopped { id, error_code }) => {
                if !self.lanes.stopped(id, error_code) {
                    wake(&mut self.writers, id);
                    self.tell_stopped(id);
                }
            }
            Event::Stream(StreamEvent::Available { dir: Dir::Bi }) => notices.budget.notify_waiters(),
            Event::Stream(StreamEvent::Available { dir: Dir::Uni }) => {
                self.lanes.unblock(None);
                return true;
            }
            // One-way streams are lanes, which are looked at with each packet; datagrams are off.
            Event::Stream(StreamEvent::Opened { dir: Dir::Uni })
            | Event::HandshakeDataReady
            | Event::DatagramReceived
            | Event::DatagramsUnblocked => {}
        }
        false
    }

    fn tell_stopped(&mut self, stream: StreamId) {
        if let Some(notify) = self.stopped.remove(&stream) {
            notify.notify_one();
        }
    }

    fn end(&mut self, error: ConnectionError, notices: &Notices) {
        self.error.get_or_insert(error);
        self.lanes.end();
        self.writers.drain().chain(self.readers.drain()).for_each(|(_, waker)| waker.wake());
        self.stopped.drain().for_each(|(_, notify)| notify.notify_one());
        for notify in [&notices.established, &notices.closed, &notices.incoming, &notices.budget] {
            notify.notify_waiters();
        }
    }
}

/// Sends; says whether there was room. What the system refuses for another reason is lost, as any packet may be.
pub(super) fn send(socket: &dyn Socket, transmit: &Transmit, buffer: &[u8]) -> bool {
    let datagrams = quinn_udp::Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
        contents: &buffer[..transmit.size],
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    };
    match socket.send(&datagrams) {
        Ok(()) => {
            tiebeam_world::moved(transmit.size);
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
        Err(error) => {
            tracing::debug!(to = %transmit.destination, %error, "datagram not sent");
            true
        }
    }
}

fn wake(wakers: &mut HashMap<StreamId, Waker>, stream: StreamId) {
    if let Some(waker) = wakers.remove(&stream) {
        waker.wake();
    }
}

/// Bytes that are sent with one call of the system, at most, unless one datagram is longer. The system takes 64 KiB; what
/// others send meanwhile waits for the call.
const TRAIN_BYTES_MAX: usize = 30_000;
