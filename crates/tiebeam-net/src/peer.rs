//! An authenticated connection: requests and lanes, both ways.

pub(crate) mod frames;
mod inbound;
pub(crate) mod lane;
mod request;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use quinn_proto::ConnectionError;
use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::Semaphore;

pub use lane::{LANES, Lane, LaneSender, SendError};
pub use request::RequestError;

use crate::certificate::Leaf;
use crate::guard::Guard;
use crate::hello::{End, Hello};
use crate::quic::Connection;
use crate::refusal::{Reason, Refusal};
use crate::transport::{RAFT_STREAMS_MAX, REQUEST_STREAMS_MAX};
use crate::version::Agreed;
use crate::{Config, Identity, Serial, Service};

/// Largest body of a request, of an answer and of a lane's frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of requests that one peer may have in this node's memory before their handlers took them. Streams beyond it
/// are read later, and flow control holds them at the peer.
pub(crate) const INBOUND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Serves what a peer sends. One per connection, so that it knows who asks.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. Calls overlap; the future is dropped if the peer stops waiting or is lost.
    fn request(&self, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Declined>>;

    /// Takes a frame, without waiting. Frames of one lane come one after the other, in the order in which they were sent.
    fn frame(&self, lane: Lane, frame: Bytes);
}

/// Why a handler gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declined {
    /// Nobody here serves it.
    NoService,
    /// It failed, in its own words.
    Failed(String),
}

/// An authenticated connection to another node. Cheap to clone; closed by [`Peer::close`], by the peer or by its loss.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Connection,
    identity: Identity,
    hello: Hello,
    end: End,
    agreed: Agreed,
    /// What the peer last showed; the guard replaces it.
    certificate: Arc<Mutex<Leaf>>,
    /// Why this node closed the connection, if it did: QUIC remembers only that it was closed here.
    ended: Arc<OnceLock<Refusal>>,
    /// Runs from when the peer is served.
    guard: Mutex<Option<Guard>>,
    lane_bytes_max: usize,
    /// Requests under way or waiting.
    requests: AtomicUsize,
    requests_max: usize,
    raft_streams: Semaphore,
    request_streams: Semaphore,
    is_served: AtomicBool,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("identity", &self.inner.identity)
            .field("incarnation", &self.inner.hello.incarnation)
            .finish_non_exhaustive()
    }
}

impl Peer {
    pub(crate) fn new(config: &Config, connection: Connection, hello: Hello, guard: Guard) -> Self {
        let certificate = Arc::clone(&guard.peer);
        let identity = lock(&certificate).identity.clone();
        Self {
            inner: Arc::new(Inner {
                connection,
                identity,
                hello,
                end: guard.end,
                agreed: guard.agreed,
                certificate,
                ended: Arc::clone(&guard.ended),
                guard: Mutex::new(Some(guard)),
                lane_bytes_max: config.lane_bytes_max,
                requests: AtomicUsize::new(0),
                requests_max: config.requests_max,
                raft_streams: Semaphore::new(RAFT_STREAMS_MAX as usize),
                request_streams: Semaphore::new(REQUEST_STREAMS_MAX as usize),
                is_served: AtomicBool::new(false),
            }),
        }
    }

    /// Starts to serve the peer with `handler`; until then its streams wait. Only the first call has an effect.
    pub fn serve(&self, handler: Arc<dyn Handler>) {
        if !self.inner.is_served.swap(true, Ordering::Relaxed) {
            inbound::start(self, handler);
        }
        let guard = lock(&self.inner.guard).take();
        if let Some(guard) = guard {
            drop(tiebeam_world::spawn("net.guard", guard.run()));
        }
    }

    /// Asks `service` of the peer and waits for its answer, without a limit of time.
    ///
    /// Delivered at most once; requests may overtake each other. Dropping the future gives up: the peer drops its work
    /// if it had begun.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, service: Service, body: Bytes) -> Result<Bytes, RequestError> {
        request::request(&self.inner, service, body).await
    }

    /// Returns the sending end of `lane`; the same lane for each call.
    ///
    /// # Panics
    /// If the index isn't below [`LANES`].
    #[must_use]
    pub fn lane(&self, lane: Lane) -> LaneSender {
        assert!(lane.index < LANES, "lane {} of {LANES}", lane.index);
        let connection = &self.inner.connection;
        let ended = Arc::clone(&self.inner.ended);
        LaneSender::new(connection.link(), connection.lane(lane, self.inner.lane_bytes_max), ended)
    }

    /// Closes the connection and tells the peer why.
    pub fn close(&self, reason: Reason, detail: &str) {
        close(&self.inner.connection, &self.inner.ended, reason, detail);
    }

    /// Waits until the connection has ended and returns why. Cancel safe.
    pub async fn closed(&self) -> Refusal {
        let error = self.inner.connection.closed().await;
        self.inner.end_of(&error)
    }

    /// Waits until the connection has ended and its handler will get no more frames.
    pub async fn drained(&self) {
        let _ = self.closed().await;
        self.inner.connection.drain();
    }

    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// Says why the connection has ended; none while it is open.
    #[must_use]
    pub fn close_reason(&self) -> Option<Refusal> {
        self.inner.connection.close_reason().map(|error| self.inner.end_of(&error))
    }

    /// Who the peer is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The peer's number.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.identity.node
    }

    /// Which start of the peer this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.inner.hello.incarnation
    }

    /// Where the peer says that it can be dialled.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.hello.address
    }

    /// What the two nodes speak with each other.
    #[must_use]
    pub fn agreed(&self) -> Agreed {
        self.inner.agreed
    }

    /// The number of the certificate that the peer last showed; it changes if the peer renews it.
    #[must_use]
    pub fn certificate(&self) -> Serial {
        lock(&self.inner.certificate).serial.clone()
    }

    /// How many datagrams of the peer have come by this connection: while it doesn't grow, nothing is heard. For looking now and
    /// then; nothing is counted for it that isn't counted anyway.
    #[must_use]
    pub fn datagrams_received(&self) -> u64 {
        self.inner.connection.datagrams_received()
    }

    /// Says whether this node dialled.
    #[must_use]
    pub fn dialled(&self) -> bool {
        self.inner.end == End::Dialler
    }
}

impl Inner {
    fn end_of(&self, error: &ConnectionError) -> Refusal {
        let ended = self.ended.get().filter(|_| *error == ConnectionError::LocallyClosed).cloned();
        ended.unwrap_or_else(|| Refusal::from_quic(error)).with_peer(Some(&self.identity))
    }
}

/// Closes a connection and remembers why, unless it was closed already.
pub(crate) fn close(connection: &Connection, ended: &OnceLock<Refusal>, reason: Reason, detail: &str) {
    if connection.close_reason().is_none() {
        // Whoever is first says why; the other's close has no effect either.
        let _ = ended.set(Refusal::local(reason, detail));
        connection.close(reason.code(), detail.as_bytes());
    }
}

/// Cuts chunks into frames until one breaks the rules.
#[cfg(feature = "testkit")]
pub(crate) fn read_frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) {
    let mut frames = frames::Frames::default();
    for chunk in chunks {
        frames.push(Bytes::copy_from_slice(chunk));
        loop {
            match frames.take() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// A panic while the lock is held can't leave these values half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
