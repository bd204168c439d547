//! A network that is handed in, in place of a UDP socket: how whole nodes are simulated (ADR 0027).
//!
//! QUIC, TLS and everything above are the real ones; only what would be a system call is the caller's.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use quinn_udp::{RecvMeta, Transmit};

use crate::peer::lock;
use crate::quic::Socket;

/// Carries datagrams in place of a UDP socket. For simulation: a node that serves anybody binds a socket.
///
/// Datagrams may get lost, be doubled and overtake each other, as over UDP; they arrive whole or not at all.
pub trait Datagrams: fmt::Debug + Send + Sync + 'static {
    /// The address that peers see.
    fn local_addr(&self) -> SocketAddr;

    /// Sends one datagram. Never waits: what finds no room is lost.
    fn send(&self, to: SocketAddr, datagram: &[u8]);

    /// Writes the next datagram into `buffer` and returns its sender and size, or wakes the task later. One task asks.
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<(SocketAddr, usize)>;
}

/// Makes a network that was handed in look like a socket.
#[derive(Debug)]
pub(crate) struct Handed {
    datagrams: Arc<dyn Datagrams>,
    /// A datagram that has arrived and waits to be taken: whether there is one can't be asked apart.
    arrived: Mutex<Arrived>,
}

#[derive(Debug)]
struct Arrived {
    from: Option<(SocketAddr, usize)>,
    buffer: Box<[u8]>,
}

impl Handed {
    pub(crate) fn new(datagrams: Arc<dyn Datagrams>) -> Self {
        let buffer = vec![0; DATAGRAM_BYTES_MAX].into();
        Self { datagrams, arrived: Mutex::new(Arrived { from: None, buffer }) }
    }
}

impl Socket for Handed {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.datagrams.local_addr())
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        transmit.contents.chunks(size).for_each(|datagram| self.datagrams.send(transmit.destination, datagram));
        Ok(())
    }

    fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let mut arrived = lock(&self.arrived);
        let (addr, len) = arrived.from.take().ok_or(io::ErrorKind::WouldBlock)?;
        buffers[0][..len].copy_from_slice(&arrived.buffer[..len]);
        metas[0] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
        Ok(1)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut arrived = lock(&self.arrived);
        if arrived.from.is_none() {
            let from = std::task::ready!(self.datagrams.poll_receive(cx, &mut arrived.buffer));
            arrived.from = Some(from);
        }
        Poll::Ready(Ok(()))
    }

    /// What finds no room is lost, so nobody ever waits for room.
    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const DATAGRAM_BYTES_MAX: usize = 64 * 1024;
