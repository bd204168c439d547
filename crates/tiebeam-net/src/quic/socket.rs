mod refusals;

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;

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

    /// As `receive`, by asking the system itself, whatever it said before. For a thread that looks again and again: nothing
    /// may come of it where time stands still meanwhile.
    fn receive_now(&self, _: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

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
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
}

impl UdpSocket {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        refusals::enable(&socket)?;
        Ok(Self { io: tokio::net::UdpSocket::from_std(socket)?, state })
    }
}

impl Socket for UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || self.io.try_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), transmit));
        match send() {
            // Word of an earlier datagram, perhaps to somebody else, in place of what was to be sent now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => send(),
            sent => sent,
        }
    }

    fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.io.try_io(Interest::READABLE, || self.state.recv((&self.io).into(), buffers, metas))
    }

    fn receive_now(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv((&self.io).into(), buffers, metas)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.io.poll_send_ready(cx))?;
        Poll::Ready(Ok(()))
    }

    fn refused(&self) -> BoxFuture<'_, SocketAddr> {
        refusals::next(&self.io).boxed()
    }

    fn segments_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}
