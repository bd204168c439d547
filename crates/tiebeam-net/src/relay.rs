//! Datagrams that a third node carries between two that the network keeps apart, beside the socket.
//!
//! To QUIC a node that is reached so has an address like any other, of a range that no network has. So the connection is one
//! between the two, with their certificates and keys: whoever carries it can lose it, and read nothing.
//!
//! Who carries is not for this crate to know: it hands out what is to be carried, and takes in what was.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::future::BoxFuture;
use quinn_udp::{RecvMeta, Transmit};
use tiebeam_wire::NodeId;
use tokio::sync::mpsc;

use crate::peer::lock;
use crate::quic::Socket;

/// Datagrams that wait to be carried, and such that wait to be taken in; more are lost, as on any way.
pub(crate) const DATAGRAMS_MAX: usize = 1024;
/// `fd` for a network of one's own (RFC 4193), then letters.
const PREFIX: [u8; 8] = *b"\xfdtiebeam";
const PORT: u16 = 1;

/// The address of a node as others reach it that are kept apart from it.
pub(crate) fn address(node: NodeId) -> SocketAddr {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&PREFIX);
    octets[8..].copy_from_slice(&node.0.to_be_bytes());
    SocketAddr::from((Ipv6Addr::from(octets), PORT))
}

/// The node that has such an address; none for all other addresses.
fn node_at(address: SocketAddr) -> Option<NodeId> {
    let SocketAddr::V6(address) = address else { return None };
    let octets = address.ip().octets();
    let (prefix, node) = octets.split_first_chunk::<8>()?;
    (*prefix == PREFIX).then(|| NodeId(u64::from_be_bytes(node.try_into().unwrap_or_default())))
}

/// What is on its way between this node and those who carry.
#[derive(Debug)]
pub(crate) struct Relayed {
    out: mpsc::Sender<(NodeId, Bytes)>,
    outbox: tokio::sync::Mutex<mpsc::Receiver<(NodeId, Bytes)>>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<(NodeId, Bytes)>,
    waker: Option<Waker>,
}

impl Relayed {
    pub(crate) fn new() -> Arc<Self> {
        let (out, outbox) = mpsc::channel(DATAGRAMS_MAX);
        Arc::new(Self { out, outbox: tokio::sync::Mutex::new(outbox), inbox: Mutex::default() })
    }

    /// Waits for a datagram to carry, and says to whom. Cancel safe.
    pub(crate) async fn next(&self) -> (NodeId, Bytes) {
        match self.outbox.lock().await.recv().await {
            Some(next) => next,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Takes in a datagram that was carried.
    pub(crate) fn put(&self, from: NodeId, datagram: Bytes) {
        let mut inbox = lock(&self.inbox);
        if inbox.waiting.len() >= DATAGRAMS_MAX {
            return;
        }
        inbox.waiting.push_back((from, datagram));
        let waker = inbox.waker.take();
        drop(inbox);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Fills as many buffers as it can; none if nothing waits.
    fn take(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> Option<usize> {
        let mut inbox = lock(&self.inbox);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((from, datagram)) = inbox.waiting.pop_front() else { break };
            // As a socket does: what is longer than the buffer is cut.
            let len = datagram.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram[..len]);
            *meta = RecvMeta { addr: address(from), len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        (count > 0).then_some(count)
    }
}

/// A socket, and beside it what is carried.
#[derive(Debug)]
pub(crate) struct Beside {
    socket: Arc<dyn Socket>,
    relayed: Arc<Relayed>,
}

impl Beside {
    pub(crate) const fn new(socket: Arc<dyn Socket>, relayed: Arc<Relayed>) -> Self {
        Self { socket, relayed }
    }
}

impl Socket for Beside {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(to) = node_at(transmit.destination) else { return self.socket.send(transmit) };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            let _ = self.relayed.out.try_send((to, Bytes::copy_from_slice(datagram)));
        }
        Ok(())
    }

    fn receive(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        match self.relayed.take(buffers, metas) {
            Some(count) => Ok(count),
            None => self.socket.receive(buffers, metas),
        }
    }

    fn receive_now(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        match self.relayed.take(buffers, metas) {
            Some(count) => Ok(count),
            None => self.socket.receive_now(buffers, metas),
        }
    }

    fn arm(&self) {
        self.socket.arm();
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let mut inbox = lock(&self.relayed.inbox);
            if !inbox.waiting.is_empty() {
                return Poll::Ready(Ok(()));
            }
            inbox.waker = Some(cx.waker().clone());
        }
        self.socket.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    fn refused(&self) -> BoxFuture<'_, SocketAddr> {
        self.socket.refused()
    }

    fn segments_max(&self) -> usize {
        self.socket.segments_max()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_names_its_node_and_no_other_address_does() {
        for node in [1, 7, u64::MAX].map(NodeId) {
            assert_eq!(node_at(address(node)), Some(node));
        }
        assert_eq!(address(NodeId(7)).to_string(), "[fd74:6965:6265:616d::7]:1");
        for other in ["127.0.0.1:1", "[::1]:1", "[fd74:6965:6265:616c::7]:1"] {
            assert_eq!(node_at(other.parse().unwrap()), None, "{other}");
        }
    }

    /// Whoever sends more than is carried must lose it, not fill this node's memory.
    #[tokio::test]
    async fn what_finds_no_room_is_lost() {
        let relayed = Relayed::new();
        for _ in 0..2 * DATAGRAMS_MAX {
            relayed.put(NodeId(7), Bytes::from_static(b"x"));
            let _ = relayed.out.try_send((NodeId(7), Bytes::from_static(b"y")));
        }
        assert_eq!(lock(&relayed.inbox).waiting.len(), DATAGRAMS_MAX);
        assert_eq!(relayed.next().await, (NodeId(7), Bytes::from_static(b"y")));
        assert_eq!(relayed.outbox.lock().await.len(), DATAGRAMS_MAX - 1);
    }
}
