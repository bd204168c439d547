//! What a node has in place of a socket.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tiebeam_net::Datagrams;
use tiebeam_wire::NodeId;

use crate::network::Datagram;
use crate::outside::Outside;

/// Bytes that may wait for a node to receive them; more are lost.
const INBOX_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The port of every node.
const PORT: u16 = 4400;

/// The address of a node: its number, spelt in the network 10/8.
pub(crate) fn address(node: NodeId) -> SocketAddr {
    let [.., a, b, c] = node.0.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, a, b, c)), PORT)
}

fn node_at(address: SocketAddr) -> NodeId {
    let IpAddr::V4(ip) = address.ip() else { return NodeId(0) };
    let [_, a, b, c] = ip.octets();
    NodeId(u64::from_be_bytes([0, 0, 0, 0, 0, a, b, c]))
}

/// What one start of a node has in place of a socket.
#[derive(Debug)]
pub(crate) struct Plug {
    node: NodeId,
    outside: Arc<Outside>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<(NodeId, Vec<u8>)>,
    bytes: usize,
    waker: Option<Waker>,
    /// The node fell over: what it still sends while it is taken down goes nowhere.
    is_dead: bool,
}

impl Plug {
    pub(crate) fn new(node: NodeId, outside: Arc<Outside>) -> Arc<Self> {
        Arc::new(Self { node, outside, inbox: Mutex::default() })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, datagram: Datagram) {
        let mut inbox = self.inbox();
        if inbox.bytes + datagram.bytes.len() > INBOX_BYTES_MAX {
            return;
        }
        inbox.bytes += datagram.bytes.len();
        inbox.waiting.push_back((datagram.from, datagram.bytes));
        let waker = inbox.waker.take();
        drop(inbox);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn pull(&self) {
        *self.inbox() = Inbox { is_dead: true, ..Inbox::default() };
    }
}

impl Datagrams for Plug {
    fn local_addr(&self) -> SocketAddr {
        address(self.node)
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) {
        if !self.inbox().is_dead {
            let datagram = Datagram { from: self.node, to: node_at(to), bytes: datagram.to_vec() };
            self.outside.state().send(datagram);
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<(SocketAddr, usize)> {
        let mut inbox = self.inbox();
        let Some((from, datagram)) = inbox.waiting.pop_front() else {
            inbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        inbox.bytes -= datagram.len();
        // As a socket does: what is longer than the buffer is cut.
        let size = datagram.len().min(buffer.len());
        buffer[..size].copy_from_slice(&datagram[..size]);
        Poll::Ready((address(from), size))
    }
}
