use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::task::Waker;

use bytes::Bytes;
use quinn_proto::{ConnectionError, ConnectionHandle, Dir, StreamId, VarInt};
use tokio::sync::Notify;

use super::drive::{Notices, State};
use super::endpoint::{self, Keeper};
use super::lanes::{OutLane, Taker};
use super::stream::{RecvStream, SendStream};
use crate::peer::{Lane, lock};

/// A connection, from its first packet on. Cheap to clone; with its last clone and the last of its streams it is closed.
#[derive(Clone)]
pub(crate) struct Connection {
    handle: Arc<Handle>,
}

/// What is dropped with the last clone.
struct Handle {
    link: Link,
    _keeper: Arc<Keeper>,
}

/// A connection, seen by those whom it may outlive or not: it stays open without them.
#[derive(Clone)]
pub(crate) struct Link {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) endpoint: Arc<endpoint::Shared>,
    pub(super) state: Mutex<State>,
    pub(super) notices: Notices,
    taker: Mutex<Weak<Taker>>,
    /// Whether it is on the endpoint's list of those to be flushed.
    pub(super) is_marked: AtomicBool,
}

/// The right to use a connection for a moment; when it is dropped, what was begun is sent.
pub(super) struct Turn<'a> {
    pub(super) state: MutexGuard<'a, State>,
    // Dropped after the guard.
    left: Left<'a>,
}

/// Whoever had the connection has left it.
struct Left<'a>(&'a Inner);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("remote", &self.remote_address()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.inner.part(|state, notices| state.close(VarInt::from_u32(0), Bytes::new(), notices));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Left(inner) = &self.left;
        self.state.drive(&inner.endpoint, &inner.notices);
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        // Whoever wanted to flush while the connection was taken didn't wait.
        while self.0.notices.is_wanted.load(Ordering::SeqCst) {
            if !self.0.drive_unless_taken() {
                return;
            }
        }
    }
}

impl Turn<'_> {
    pub(super) fn proto(&mut self) -> &mut quinn_proto::Connection {
        &mut self.state.proto
    }

    pub(super) fn error(&self) -> Option<ConnectionError> {
        self.state.error.clone()
    }

    pub(super) fn writers(&mut self) -> &mut HashMap<StreamId, Waker> {
        &mut self.state.writers
    }

    pub(super) fn readers(&mut self) -> &mut HashMap<StreamId, Waker> {
        &mut self.state.readers
    }

    pub(super) fn stopped(&mut self) -> &mut HashMap<StreamId, Arc<Notify>> {
        &mut self.state.stopped
    }
}

impl Inner {
    pub(super) fn new(
        endpoint: Arc<endpoint::Shared>,
        handle: ConnectionHandle,
        proto: quinn_proto::Connection,
    ) -> Self {
        Self {
            endpoint,
            state: Mutex::new(State::new(handle, proto)),
            notices: Notices::default(),
            taker: Mutex::default(),
            is_marked: AtomicBool::new(false),
        }
    }

    pub(super) fn taker(&self) -> Option<Arc<Taker>> {
        lock(&self.taker).upgrade()
    }

    pub(super) fn set_taker(&self, taker: &Arc<Taker>) {
        *lock(&self.taker) = Arc::downgrade(taker);
    }

    /// Asks the peer whether it lives, if it is at `address` and isn't being asked.
    pub(super) fn begin_probe(&self, address: SocketAddr) -> bool {
        let mut turn = self.turn();
        let state = &mut *turn.state;
        if state.proto.remote_address() != address || state.error.is_some() || state.probe.is_some() {
            return false;
        }
        state.probe = Some(state.proto.stats().udp_rx.datagrams);
        state.proto.ping();
        true
    }

    /// Gives the connection up unless the peer was heard since it was asked.
    pub(super) fn end_probe(&self) {
        let mut turn = self.turn();
        let heard = turn.state.proto.stats().udp_rx.datagrams;
        if turn.state.probe.take() == Some(heard) {
            turn.state.lose(&self.notices);
        }
    }

    pub(super) fn turn(&self) -> Turn<'_> {
        Turn { state: lock(&self.state), left: Left(self) }
    }

    /// Looks at the state, or changes it without anything to be sent.
    fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let _left = Left(self);
        look(&mut lock(&self.state))
    }

    /// Changes the state on behalf of a handle that is being dropped, and leaves what follows to a task: a node whose runtime
    /// was dropped is dead, and sends nothing.
    pub(super) fn part(&self, change: impl FnOnce(&mut State, &Notices)) {
        self.look(|state| {
            change(state, &self.notices);
            self.endpoint.drive_soon(state.handle);
        });
    }

    pub(super) fn close(&self, code: VarInt, reason: Bytes) {
        self.turn().state.close(code, reason, &self.notices);
    }

    /// Has the endpoint's next flush look at this connection.
    pub(super) fn mark(self: &Arc<Self>) {
        if !self.is_marked.swap(true, Ordering::SeqCst) {
            self.endpoint.mark(Arc::clone(self));
        }
    }

    /// Writes what waits in the lanes, or leaves it to whoever has the connection now. Waiting for it could take as long as
    /// sending a window full of what others sent.
    pub(super) fn flush(&self) {
        // Before it looks: what is queued from here on marks the connection again.
        self.is_marked.store(false, Ordering::SeqCst);
        self.notices.is_wanted.store(true, Ordering::SeqCst);
        drop(Left(self));
    }

    /// Moves the connection on, and says whether nobody else had it.
    fn drive_unless_taken(&self) -> bool {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        state.drive(&self.endpoint, &self.notices);
        true
    }
}

impl Link {
    /// Has the endpoint's next flush look at this connection.
    pub(crate) fn mark(&self) {
        self.inner.mark();
    }

    pub(crate) fn flush(&self) {
        self.inner.flush();
    }

    pub(crate) fn close(&self, code: VarInt, reason: Bytes) {
        self.inner.close(code, reason);
    }
}

impl Connection {
    pub(super) fn new(inner: Arc<Inner>, keeper: Arc<Keeper>) -> Self {
        Self { handle: Arc::new(Handle { link: Link { inner }, _keeper: keeper }) }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.handle.link.inner
    }

    pub(super) fn turn(&self) -> Turn<'_> {
        self.inner().turn()
    }

    pub(crate) fn link(&self) -> Link {
        self.handle.link.clone()
    }

    /// Waits until `look` finds something, looking again whenever `notify` tells.
    async fn wait<T>(&self, notify: &Notify, mut look: impl FnMut(&mut Turn<'_>) -> Option<T>) -> T {
        loop {
            let mut notified = std::pin::pin!(notify.notified());
            // From here on nothing is missed.
            notified.as_mut().enable();
            if let Some(found) = look(&mut self.turn()) {
                return found;
            }
            notified.await;
        }
    }

    /// Waits until TLS is done.
    pub(crate) async fn established(&self) -> Result<(), ConnectionError> {
        self.wait(&self.inner().notices.established, |turn| match turn.error() {
            Some(error) => Some(Err(error)),
            None => turn.state.is_established.then_some(Ok(())),
        })
        .await
    }

    /// Opens a two-way stream, once the peer allows one more.
    pub(crate) async fn open_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        let opened = self.wait(&self.inner().notices.budget, |turn| match turn.error() {
            Some(error) => Some(Err(error)),
            None => turn.proto().streams().open(Dir::Bi).map(Ok),
        });
        Ok(self.streams(opened.await?))
    }

    /// Waits for the peer to open a two-way stream. Cancel safe.
    pub(crate) async fn accept_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        let accepted = self.wait(&self.inner().notices.incoming, |turn| match turn.error() {
            Some(error) => Some(Err(error)),
            None => turn.proto().streams().accept(Dir::Bi).map(Ok),
        });
        Ok(self.streams(accepted.await?))
    }

    /// Does something while the connection is taken.
    #[cfg(test)]
    pub(crate) fn taken<T>(&self, work: impl FnOnce() -> T) -> T {
        self.inner().look(|_| work())
    }

    /// How long a datagram may be, as far as is known.
    #[cfg(test)]
    pub(crate) fn datagram_bytes_max(&self) -> u16 {
        self.inner().look(|state| state.proto.current_mtu())
    }

    fn streams(&self, id: StreamId) -> (SendStream, RecvStream) {
        (SendStream::new(self.clone(), id), RecvStream::new(self.clone(), id))
    }

    /// Adds a lane to write to, or returns the one that is there.
    pub(crate) fn lane(&self, lane: Lane, bytes_max: usize) -> Arc<OutLane> {
        let mut turn = self.turn();
        if let Some(known) = turn.state.lanes.find(lane) {
            return known;
        }
        let new = Arc::new(OutLane::new(lane, bytes_max));
        turn.state.lanes.add(Arc::clone(&new));
        if turn.state.error.is_some() {
            turn.state.lanes.end();
        }
        new
    }

    /// Gives the peer's lanes to `taker`, from their beginning.
    ///
    /// Whoever holds it keeps it served: the taker knows the connection, so the connection must not hold the taker.
    pub(crate) fn serve(&self, taker: &Arc<Taker>) {
        let inner = self.inner();
        inner.endpoint.take_in(inner, taker);
    }

    /// Waits until whoever takes frames has got the last of them. The connection has ended.
    pub(crate) fn drain(&self) {
        self.inner().endpoint.drain();
    }

    pub(crate) fn close(&self, code: VarInt, reason: &[u8]) {
        self.inner().close(code, Bytes::copy_from_slice(reason));
    }

    pub(crate) async fn closed(&self) -> ConnectionError {
        self.wait(&self.inner().notices.closed, |turn| turn.error()).await
    }

    pub(crate) fn close_reason(&self) -> Option<ConnectionError> {
        self.inner().look(|state| state.error.clone())
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.inner().look(|state| state.proto.remote_address())
    }

    pub(crate) fn datagrams_received(&self) -> u64 {
        lock(&self.inner().state).proto.stats().udp_rx.datagrams
    }

    /// What TLS knows of the peer.
    pub(crate) fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner().look(|state| state.proto.crypto_session().peer_identity())
    }

    /// What TLS has agreed on.
    pub(crate) fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner().look(|state| state.proto.crypto_session().handshake_data())
    }

    /// Fills `output` with what only the two ends of this connection can know (RFC 9266); says whether it could.
    pub(crate) fn export_keying_material(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> bool {
        let export =
            |state: &mut State| state.proto.crypto_session().export_keying_material(output, label, context).is_ok();
        self.inner().look(export)
    }
}
