//! A network that is handed in, in place of a UDP socket: how whole nodes are simulated (ADR 0027).
//!
//! QUIC, TLS and everything above are the real ones; only what would be a system call is the caller's.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

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

/// Shows a network that was handed in to quinn.
#[derive(Debug)]
pub(crate) struct Handed(pub(crate) Arc<dyn Datagrams>);

impl AsyncUdpSocket for Handed {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        transmit.contents.chunks(size).for_each(|datagram| self.0.send(transmit.destination, datagram));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Poll::Ready((addr, len)) = self.0.poll_receive(cx, buffer) else { break };
            *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// What finds no room is lost, so nobody ever waits for room.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
