use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    ClientConfig, ConnectError, ConnectionError, ConnectionEvent, ConnectionHandle, DatagramEvent, EcnCodepoint,
    EndpointConfig, EndpointEvent, ServerConfig, VarInt,
};
use quinn_udp::RecvMeta;
use tiebeam_wire::Instant;
use tiebeam_world::TaskGuard;
use tokio::sync::Notify;

use super::connection::{Connection, Inner};
use super::drive;
use super::heat::Heat;
use super::lanes::{Frame, Taker};
use super::socket::Socket;
use super::timers::Timers;
use crate::Polled;
use crate::peer::lock;

/// A socket with its connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
}

/// Keeps the endpoint going as long as somebody has a use for it.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    _tasks: [TaskGuard; 4],
}

pub(super) struct Shared {
    pub(super) socket: Arc<dyn Socket>,
    pub(super) silence_max: Duration,
    pub(super) timers: Timers,
    routes: Mutex<Routes>,
    receiver: Mutex<Receiver>,
    /// Whether the task that receives waits for the receiver, which a worker has.
    is_wanted: AtomicBool,
    freed: Notify,
    /// When a worker looked last, as [`tiebeam_world::now`] counts; 0 if it is known to look no more.
    looked: AtomicU64,
    /// Whether the socket tells of what arrives.
    is_armed: AtomicBool,
    marked: Mutex<Vec<Arc<Inner>>>,
    has_marked: AtomicBool,
    /// Connections that a task is to drive, once the socket has room.
    later: Mutex<Vec<ConnectionHandle>>,
    has_later: Notify,
    incoming: Notify,
    idle: Notify,
}

/// Which datagram is whose.
struct Routes {
    proto: quinn_proto::Endpoint,
    connections: HashMap<ConnectionHandle, Arc<Inner>>,
    incoming: VecDeque<quinn_proto::Incoming>,
    closed: Option<(VarInt, Bytes)>,
    response: Vec<u8>,
}

/// What is needed to take datagrams in.
struct Receiver {
    memory: Vec<u8>,
    events: Vec<(Arc<Inner>, ConnectionEvent)>,
    frames: Vec<Frame>,
    heat: Heat,
}

/// Somebody who dialled. Dropping it refuses.
pub(crate) struct Incoming {
    endpoint: Endpoint,
    incoming: Option<quinn_proto::Incoming>,
}

impl Endpoint {
    /// Must be called within a tokio runtime.
    ///
    /// A connection whose peer was silent for `silence_max` is lost.
    pub(crate) fn new(
        config: EndpointConfig,
        server: Arc<ServerConfig>,
        socket: Arc<dyn Socket>,
        silence_max: Duration,
    ) -> Self {
        let allows_discovery = !socket.may_fragment();
        let routes = Routes {
            proto: quinn_proto::Endpoint::new(Arc::new(config), Some(server), allows_discovery, None),
            connections: HashMap::new(),
            incoming: VecDeque::new(),
            closed: None,
            response: Vec::new(),
        };
        let receiver = Receiver {
            memory: vec![0; BATCH * DATAGRAMS_BYTES_MAX],
            events: Vec::new(),
            frames: Vec::new(),
            heat: Heat::default(),
        };
        let shared = Arc::new(Shared {
            socket,
            silence_max,
            timers: Timers::default(),
            routes: Mutex::new(routes),
            receiver: Mutex::new(receiver),
            is_wanted: AtomicBool::new(false),
            freed: Notify::new(),
            looked: AtomicU64::new(0),
            is_armed: AtomicBool::new(false),
            marked: Mutex::default(),
            has_marked: AtomicBool::new(false),
            later: Mutex::default(),
            has_later: Notify::new(),
            incoming: Notify::new(),
            idle: Notify::new(),
        });
        let tasks = [
            tiebeam_world::spawn("net.receive", Arc::clone(&shared).receive_always()).into_guard(),
            tiebeam_world::spawn("net.timers", Arc::clone(&shared).watch_timers()).into_guard(),
            tiebeam_world::spawn("net.later", Arc::clone(&shared).drive_later()).into_guard(),
            tiebeam_world::spawn("net.refused", Arc::clone(&shared).watch_refusals()).into_guard(),
        ];
        let keeper = Arc::new(Keeper { shared: Arc::clone(&shared), _tasks: tasks });
        Self { shared, keeper }
    }

    /// Begins to dial.
    pub(crate) fn connect(&self, config: ClientConfig, to: SocketAddr, name: &str) -> Result<Connection, ConnectError> {
        let to = match (self.shared.socket.local_addr(), to) {
            // A socket of the one kind reaches addresses of the other under this name.
            (Ok(SocketAddr::V6(_)), SocketAddr::V4(v4)) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            _ => to,
        };
        let inner = {
            let mut routes = lock(&self.shared.routes);
            if routes.closed.is_some() {
                return Err(ConnectError::EndpointStopping);
            }
            let (handle, proto) = routes.proto.connect(tiebeam_world::clock(), config, to, name)?;
            routes.add(&self.shared, handle, proto)
        };
        drop(inner.turn());
        Ok(Connection::new(inner, Arc::clone(&self.keeper)))
    }

    /// Waits for somebody to dial; none once the endpoint was closed. Cancel safe.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        loop {
            let mut notified = std::pin::pin!(self.shared.incoming.notified());
            notified.as_mut().enable();
            {
                let mut routes = lock(&self.shared.routes);
                if routes.closed.is_some() {
                    return None;
                }
                if let Some(incoming) = routes.incoming.pop_front() {
                    return Some(Incoming { endpoint: self.clone(), incoming: Some(incoming) });
                }
            }
            notified.await;
        }
    }

    /// Writes what waits in the lanes of all connections.
    #[inline]
    pub(crate) fn flush(&self) {
        self.shared.flush();
    }

    pub(crate) fn look(&self) {
        self.shared.look();
    }

    pub(crate) fn poll(&self) -> Polled {
        self.shared.poll()
    }

    pub(crate) fn open_connections(&self) -> usize {
        lock(&self.shared.routes).proto.open_connections()
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.socket.local_addr()
    }

    /// Closes all connections and takes no more.
    pub(crate) fn close(&self, code: VarInt, reason: &[u8]) {
        let reason = Bytes::copy_from_slice(reason);
        let (connections, incoming): (Vec<_>, _) = {
            let mut routes = lock(&self.shared.routes);
            routes.closed = Some((code, reason.clone()));
            (routes.connections.values().cloned().collect(), std::mem::take(&mut routes.incoming))
        };
        for incoming in incoming {
            self.refuse(incoming);
        }
        for connection in connections {
            connection.close(code, reason.clone());
        }
        self.shared.incoming.notify_waiters();
    }

    /// Waits until all connections are forgotten.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.shared.idle.notified());
            notified.as_mut().enable();
            if lock(&self.shared.routes).connections.is_empty() {
                return;
            }
            notified.await;
        }
    }

    fn refuse(&self, incoming: quinn_proto::Incoming) {
        let mut routes = lock(&self.shared.routes);
        let Routes { proto, response, .. } = &mut *routes;
        response.clear();
        let transmit = proto.refuse(incoming, response);
        self.shared.respond(&transmit, response);
    }
}

impl Incoming {
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.incoming.as_ref().expect("taken only when it is consumed").remote_address()
    }

    /// Says whether it has shown that it receives at its address.
    pub(crate) fn remote_address_validated(&self) -> bool {
        self.incoming.as_ref().expect("taken only when it is consumed").remote_address_validated()
    }

    /// Has it show that it receives at its address; if it has shown that, refuses it.
    pub(crate) fn retry(mut self) {
        let incoming = self.incoming.take().expect("taken only when it is consumed");
        let shared = &self.endpoint.shared;
        let mut routes = lock(&shared.routes);
        let Routes { proto, response, .. } = &mut *routes;
        response.clear();
        match proto.retry(incoming, response) {
            Ok(transmit) => shared.respond(&transmit, response),
            Err(error) => {
                drop(routes);
                self.endpoint.refuse(error.into_incoming());
            }
        }
    }

    /// Answers nothing.
    pub(crate) fn ignore(mut self) {
        let incoming = self.incoming.take().expect("taken only when it is consumed");
        lock(&self.endpoint.shared.routes).proto.ignore(incoming);
    }

    /// Begins TLS with it, as `server` says.
    pub(crate) fn accept(mut self, server: &Arc<ServerConfig>) -> Result<Connection, ConnectionError> {
        let incoming = self.incoming.take().expect("taken only when it is consumed");
        let shared = &self.endpoint.shared;
        let inner = {
            let mut routes = lock(&shared.routes);
            let Routes { proto, response, .. } = &mut *routes;
            response.clear();
            match proto.accept(incoming, tiebeam_world::clock(), response, Some(Arc::clone(server))) {
                Ok((handle, proto)) => routes.add(shared, handle, proto),
                Err(error) => {
                    if let Some(transmit) = error.response {
                        shared.respond(&transmit, response);
                    }
                    return Err(error.cause);
                }
            }
        };
        drop(inner.turn());
        Ok(Connection::new(inner, Arc::clone(&self.endpoint.keeper)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Connections and endpoint hold each other; nobody is left who could want either.
        let connections = std::mem::take(&mut lock(&self.shared.routes).connections);
        let marked = std::mem::take(&mut *lock(&self.shared.marked));
        drop((connections, marked));
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.endpoint.refuse(incoming);
        }
    }
}

impl Routes {
    fn add(&mut self, shared: &Arc<Shared>, handle: ConnectionHandle, proto: quinn_proto::Connection) -> Arc<Inner> {
        let inner = Arc::new(Inner::new(Arc::clone(shared), handle, proto));
        self.connections.insert(handle, Arc::clone(&inner));
        inner
    }
}

impl Shared {
    /// Puts a connection on the list of those to be flushed.
    pub(super) fn mark(&self, connection: Arc<Inner>) {
        lock(&self.marked).push(connection);
        self.has_marked.store(true, Ordering::SeqCst);
    }

    #[inline]
    fn flush(&self) {
        if self.has_marked.load(Ordering::SeqCst) {
            self.flush_marked();
        }
    }

    #[cold]
    fn flush_marked(&self) {
        self.has_marked.store(false, Ordering::SeqCst);
        let marked = std::mem::take(&mut *lock(&self.marked));
        for connection in marked {
            connection.flush();
        }
    }

    /// Has a task drive a connection once the socket has room.
    pub(super) fn drive_soon(&self, connection: ConnectionHandle) {
        lock(&self.later).push(connection);
        self.has_later.notify_one();
    }

    /// Takes in what a connection tells of itself. With that connection locked.
    pub(super) fn told(&self, connection: ConnectionHandle, event: EndpointEvent) -> Option<ConnectionEvent> {
        let mut routes = lock(&self.routes);
        if event.is_drained() {
            routes.connections.remove(&connection);
            if routes.connections.is_empty() {
                self.idle.notify_waiters();
            }
        }
        routes.proto.handle_event(connection, event)
    }

    /// Waits until no frame is being handed over.
    pub(super) fn drain(&self) {
        self.free(lock(&self.receiver));
    }

    /// Hands the frames that have arrived on a connection so far to whoever begins to take them.
    pub(super) fn take_in(&self, connection: &Inner, taker: &Arc<Taker>) {
        let mut receiver = lock(&self.receiver);
        connection.set_taker(taker);
        connection.turn().state.read_lanes(self, &connection.notices, taker, &mut receiver.frames);
        hand_over(&mut receiver.frames);
        self.free(receiver);
    }

    fn free(&self, receiver: MutexGuard<'_, Receiver>) {
        drop(receiver);
        if self.is_wanted.swap(false, Ordering::SeqCst) {
            self.freed.notify_one();
        }
    }

    fn look(&self) {
        // If another thread takes in what has arrived, this one need not.
        if let Some(receiver) = self.try_receiver() {
            self.receive_now(receiver);
        }
    }

    fn poll(&self) -> Polled {
        let Some(mut receiver) = self.try_receiver() else {
            // Another thread takes in what has arrived, and may be waiting for this one's core.
            tiebeam_world::give_way();
            return Polled::Hot;
        };
        if receiver.heat.is_hot(tiebeam_world::clock()) {
            return self.receive_now(receiver);
        }
        self.free(receiver);
        // In this order: if the socket is armed from before and tells just now, the receiving task will arm it again.
        self.looked.store(0, Ordering::SeqCst);
        self.arm();
        Polled::Quiet
    }

    /// Says whether a worker has looked a moment ago, and so will again.
    fn is_looked_after(&self) -> bool {
        let looked = Instant { nanos: self.looked.load(Ordering::SeqCst) };
        looked.nanos > 0 && tiebeam_world::now().since(looked) < LOOKS_EVERY
    }

    /// Has the receiving task woken by what arrives.
    fn arm(&self) {
        if !self.is_armed.swap(true, Ordering::SeqCst) {
            self.socket.arm();
        }
    }

    /// Waits until something may have arrived that no worker takes in.
    async fn until_arrived(&self) -> io::Result<()> {
        while self.is_looked_after() {
            let readable = std::future::poll_fn(|cx| self.socket.poll_readable(cx));
            // A worker that takes in what arrives arms the socket when it stops; one that is held up by a process doesn't.
            if let Ok(fired) = tiebeam_world::timeout(LOOK_CHECK, readable).await {
                self.is_armed.store(false, Ordering::SeqCst);
                return fired;
            }
        }
        self.arm();
        let fired = std::future::poll_fn(|cx| self.socket.poll_readable(cx)).await;
        self.is_armed.store(false, Ordering::SeqCst);
        fired
    }

    fn receive_now(&self, mut receiver: MutexGuard<'_, Receiver>) -> Polled {
        let received = self.receive(&mut receiver, |socket, buffers, metas| socket.receive_now(buffers, metas));
        if received.is_ok() {
            receiver.heat.hit(tiebeam_world::clock());
        }
        self.free(receiver);
        match received {
            Ok(()) => {
                self.looked.store(tiebeam_world::now().nanos, Ordering::SeqCst);
                tiebeam_world::give_way_if_due();
                Polled::Arrived
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Polled::Quiet,
            Err(_) => {
                self.looked.store(tiebeam_world::now().nanos, Ordering::SeqCst);
                tiebeam_world::give_way_if_busy();
                Polled::Hot
            }
        }
    }

    fn try_receiver(&self) -> Option<MutexGuard<'_, Receiver>> {
        match self.receiver.try_lock() {
            Ok(receiver) => Some(receiver),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes in what has arrived, unless another thread does that; [`Shared::freed`] tells when that is done.
    fn receive_unless_busy(&self) -> Option<io::Result<()>> {
        // Said before it is tried: whoever has the receiver then sees it when it is done.
        self.is_wanted.store(true, Ordering::SeqCst);
        let mut receiver = self.try_receiver()?;
        self.is_wanted.store(false, Ordering::SeqCst);
        let received = self.receive(&mut receiver, |socket, buffers, metas| socket.receive(buffers, metas));
        if received.is_ok() {
            receiver.heat.woken(tiebeam_world::clock());
        }
        Some(received)
    }

    /// Takes in what has arrived; [`Shared::flush`] sends what is to be said to it.
    fn receive(
        &self,
        receiver: &mut Receiver,
        take: impl FnOnce(&dyn Socket, &mut [IoSliceMut<'_>], &mut [RecvMeta]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let Receiver { memory, events, frames, .. } = &mut *receiver;
        let mut metas = [RecvMeta::default(); BATCH];
        let count = {
            let mut slices = memory.chunks_exact_mut(DATAGRAMS_BYTES_MAX).map(IoSliceMut::new);
            let mut buffers: [_; BATCH] = std::array::from_fn(|_| slices.next().expect("memory is for BATCH buffers"));
            take(&*self.socket, &mut buffers, &mut metas)?
        };
        let arrived = metas[..count].iter().zip(memory.chunks_exact(DATAGRAMS_BYTES_MAX));
        {
            let mut routes = lock(&self.routes);
            for (meta, buffer) in arrived {
                let mut datagrams = BytesMut::from(&buffer[..meta.len]);
                while !datagrams.is_empty() {
                    let datagram = datagrams.split_to(meta.stride.clamp(1, datagrams.len()));
                    self.route(&mut routes, meta, datagram, events);
                }
            }
        }
        let now = tiebeam_world::clock();
        let mut events = events.drain(..).peekable();
        while let Some((connection, event)) = events.next() {
            // Before the lock and dropped after it: with it goes the handler, which may be the connection's last user.
            let taker = connection.taker();
            let mut state = lock(&connection.state);
            state.hear(event, now);
            while let Some((_, event)) = events.next_if(|(next, _)| Arc::ptr_eq(next, &connection)) {
                state.hear(event, now);
            }
            if let Some(taker) = &taker {
                state.read_lanes(self, &connection.notices, taker, frames);
            }
            if (1..=FRAMES_FEW).contains(&frames.len()) {
                // Who gets them may answer before a window is sent, and with the answer goes what else is to be sent.
                state.arm(self);
                drop(state);
                hand_over(frames);
                connection.mark();
            } else {
                drop(state);
                drop(connection.turn());
            }
        }
        drop(events);
        hand_over(frames);
        tiebeam_world::moved(metas[..count].iter().map(|meta| meta.len).sum());
        Ok(())
    }

    fn route(
        &self,
        routes: &mut Routes,
        meta: &RecvMeta,
        datagram: BytesMut,
        events: &mut Vec<(Arc<Inner>, ConnectionEvent)>,
    ) {
        let Routes { proto, connections, incoming, closed, response } = routes;
        response.clear();
        let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let now = tiebeam_world::clock();
        match proto.handle(now, meta.addr, meta.dst_ip, ecn, datagram, response) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = connections.get(&handle) {
                    events.push((Arc::clone(connection), event));
                }
            }
            Some(DatagramEvent::NewConnection(new)) if closed.is_some() => {
                response.clear();
                let transmit = proto.refuse(new, response);
                self.respond(&transmit, response);
            }
            Some(DatagramEvent::NewConnection(new)) => {
                incoming.push_back(new);
                self.incoming.notify_waiters();
            }
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit, response),
            None => {}
        }
    }

    /// Sends a packet of no connection. If there is no room it is lost, and its cause will come again.
    fn respond(&self, transmit: &quinn_proto::Transmit, response: &[u8]) {
        drive::send(&*self.socket, transmit, response);
    }

    async fn receive_always(self: Arc<Self>) {
        let mut is_drained = true;
        loop {
            if is_drained && let Err(error) = self.until_arrived().await {
                tracing::error!(%error, "socket can't be waited for, nothing is received any more");
                return;
            }
            let received = self.receive_unless_busy();
            is_drained = !matches!(received, Some(Ok(())));
            match received {
                // Whoever got something has its turn before more is taken in.
                Some(Ok(())) => {
                    self.flush();
                    // Under a flood there is always more.
                    tiebeam_world::give_way_if_due();
                    tokio::task::yield_now().await;
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A datagram that didn't reach its address, maybe: anybody can make the system say so.
                Some(Err(error)) => tracing::debug!(%error, "nothing received"),
                None => self.freed.notified().await,
            }
            self.flush();
        }
    }

    async fn watch_timers(self: Arc<Self>) {
        loop {
            for (deadline, handle) in self.timers.due().await {
                let connection = lock(&self.routes).connections.get(&handle).cloned();
                let Some(connection) = connection else { continue };
                let mut turn = connection.turn();
                // Armed for an earlier moment since, which was due before.
                if turn.state.armed != Some(deadline) {
                    continue;
                }
                turn.state.tick(&self, &connection.notices);
            }
            self.flush();
        }
    }

    /// Asks peers of whom it is said that nobody listens whether they live, and gives up those that don't answer: a killed
    /// process is noticed long before its silence would tell. What is said may be forged, so it decides nothing.
    async fn watch_refusals(self: Arc<Self>) {
        loop {
            let address = self.socket.refused().await;
            let connections: Vec<_> = lock(&self.routes).connections.values().cloned().collect();
            for connection in connections {
                if connection.begin_probe(address) {
                    drop(tiebeam_world::spawn("net.probe", async move {
                        tiebeam_world::sleep(PROBE).await;
                        connection.end_probe();
                    }));
                }
            }
        }
    }

    async fn drive_later(self: Arc<Self>) {
        loop {
            self.has_later.notified().await;
            if std::future::poll_fn(|cx| self.socket.poll_writable(cx)).await.is_err() {
                return;
            }
            let later = std::mem::take(&mut *lock(&self.later));
            for handle in later {
                let connection = lock(&self.routes).connections.get(&handle).cloned();
                if let Some(connection) = connection {
                    drop(connection.turn());
                }
            }
        }
    }
}

/// Hands frames to those who take them, with no connection locked: they may send.
fn hand_over(frames: &mut Vec<Frame>) {
    for Frame { taker, lane, body } in frames.drain(..) {
        (taker.take)(lane, body);
    }
}

/// How long a peer of whom it is said that nobody listens has to answer.
const PROBE: Duration = Duration::from_millis(300);
/// For how long after a worker has looked it is taken for granted that it will again.
const LOOKS_EVERY: Duration = Duration::from_micros(200);
/// How often that is checked.
const LOOK_CHECK: Duration = Duration::from_millis(1);
/// Up to how many frames are handed over before their connection sends. More take longer than sending does.
const FRAMES_FEW: usize = 16;
/// How many buffers are filled at once.
const BATCH: usize = 16;
/// Size of each: the system joins datagrams up to the size that one can have.
const DATAGRAMS_BYTES_MAX: usize = 64 * 1024;
