mod refusals;
mod sentry;

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use sentry::{Sentry, What};

/// Where datagrams come from and go to: the system's UDP socket, or a simulated one.
pub(crate) trait Socket: Send + Sync + fmt::Debug + 'static {
    /// Where it is bound.
    ///
    /// # Errors
    /// What the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Sends one or several datagrams to one address, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room now, then nothing was sent; else what the system says.
    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()>;

    /// Takes datagrams that have arrived, without waiting; returns how many buffers were filled.
    ///
    /// # Errors
    /// `WouldBlock` if there are none; else what the system says.
    fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize>;

    /// As `receive`, for a thread that looks again and again: nothing may come of it where time stands still meanwhile.
    fn receive_now(&self, _: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has [`Socket::poll_readable`] tell of the datagrams that are there or come, once: what comes after that it need not
    /// tell, until it is armed again.
    fn arm(&self) {}

    /// Waits until there may be datagrams. For one waiter.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until there may be room to send. For one waiter.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits for word that nobody listens at an address to which something was sent. Anybody may have forged it. For one
    /// waiter.
    fn refused(&self) -> BoxFuture<'_, SocketAddr> {
        std::future::pending().boxed()
    }

    /// How many datagrams of one size one call of `send` takes.
    fn segments_max(&self) -> usize {
        1
    }

    /// Says whether the network may cut datagrams in pieces; their size then can't be found out.
    fn may_fragment(&self) -> bool {
        false
    }
}

/// The system's.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    socket: Arc<std::net::UdpSocket>,
    state: UdpSocketState,
    readable: Sentry,
    writable: Sentry,
    failed: Sentry,
}

impl UdpSocket {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        refusals::enable(&socket)?;
        let socket = Arc::new(socket);
        let sentry = |what| Sentry::new(&socket, what);
        let (readable, writable, failed) = (sentry(What::Readable)?, sentry(What::Writable)?, sentry(What::Failed)?);
        Ok(Self { socket, state, readable, writable, failed })
    }
}

impl Socket for UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || self.state.try_send((&*self.socket).into(), transmit);
        match send() {
            // Word of an earlier datagram, perhaps to somebody else, in place of what was to be sent now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => send(),
            sent => sent,
        }
    }

    fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv((&*self.socket).into(), buffers, metas)
    }

    fn receive_now(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.receive(buffers, metas)
    }

    fn arm(&self) {
        self.readable.arm();
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.readable.poll_fired(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable.arm();
        self.writable.poll_fired(cx)
    }

    fn refused(&self) -> BoxFuture<'_, SocketAddr> {
        refusals::next(&self.socket, &self.failed).boxed()
    }

    fn segments_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}
