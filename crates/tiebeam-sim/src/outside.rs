//! What the simulation and its nodes share: the network, the log, and whether something broke.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tiebeam_net::Datagrams;
use tiebeam_wire::{Incarnation, NodeId};

use crate::log::{Entry, Event, Log};
use crate::network::{Datagram, Network};

/// Bytes that may wait for a node to receive them; more are lost.
const INBOX_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The port of every node.
const PORT: u16 = 4400;

/// Shared by the simulation and everything on its nodes. All of it is one thread's; the lock is never waited for.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: u64,
    /// Whose turn it is; 0 between turns.
    pub(crate) turn: NodeId,
    pub(crate) network: Network,
    pub(crate) log: Log,
    /// The first invariant that broke.
    pub(crate) failure: Option<String>,
    pub(crate) paused_nanos: BTreeMap<NodeId, u64>,
    pub(crate) sent_bytes: u64,
    logs_datagrams: bool,
}

impl Shared {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            now: 0,
            turn: NodeId(0),
            network: Network::new(seed),
            log: Log::default(),
            failure: None,
            paused_nanos: BTreeMap::new(),
            sent_bytes: 0,
            logs_datagrams: true,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the simulation began: the true time, which no node knows.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.state().now
    }

    /// For how many nanoseconds the node was paused until now, all pauses and jumps of its clock together.
    #[must_use]
    pub fn paused_nanos(&self, node: NodeId) -> u64 {
        self.state().paused_nanos.get(&node).copied().unwrap_or(0)
    }

    /// Writes into the log.
    pub fn tell(&self, node: NodeId, text: String) {
        self.state().push(node, Event::Told(text));
    }

    /// Notes that something happened on the node whose turn it is.
    pub(crate) fn tell_here(&self, text: String) {
        let mut state = self.state();
        let node = state.turn;
        state.push(node, Event::Told(text));
    }

    /// Says that an invariant broke, which ends the run.
    pub fn fail(&self, text: String) {
        let mut state = self.state();
        let node = state.turn;
        state.push(node, Event::Told(format!("BROKEN: {text}")));
        state.failure.get_or_insert(text);
    }

    /// The first invariant that broke, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    pub(crate) fn take_log(&self) -> Log {
        std::mem::take(&mut self.state().log)
    }

    /// What all nodes have sent, in bytes.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.state().sent_bytes
    }

    pub(crate) fn leave_datagrams_out(&self) {
        self.state().logs_datagrams = false;
    }
}

impl State {
    pub(crate) fn push(&mut self, node: NodeId, event: Event) {
        self.log.push(Entry { at: self.now, node, event });
    }

    fn send(&mut self, datagram: Datagram) {
        let (from, to, bytes) = (datagram.from, datagram.to, datagram.bytes.len());
        let sum = if self.logs_datagrams { crc32c::crc32c(&datagram.bytes) } else { 0 };
        self.sent_bytes += bytes as u64;
        let fate = self.network.send(self.now, datagram);
        if self.logs_datagrams {
            self.push(from, Event::Sent { to, bytes, sum, fate });
        }
    }

    pub(crate) fn arrived(&mut self, datagram: &Datagram) {
        if self.logs_datagrams {
            let sum = crc32c::crc32c(&datagram.bytes);
            self.push(datagram.to, Event::Arrived { from: datagram.from, bytes: datagram.bytes.len(), sum });
        }
    }
}

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
    shared: Arc<Shared>,
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
    pub(crate) fn new(node: NodeId, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { node, shared, inbox: Mutex::default() })
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
            self.shared.state().send(datagram);
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

/// One start of a node, for those who work on it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its actors.
    pub system: tiebeam_actor::System,
    /// Its place in the cluster.
    pub cluster: tiebeam_cluster::Cluster,
    /// All nodes of the cluster, this one included.
    pub nodes: Arc<[NodeId]>,
    /// The log, the true time, and where to say that something broke.
    pub shared: Arc<Shared>,
}

impl Site {
    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.system.node()
    }

    /// Which start of it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.system.incarnation()
    }

    /// Draws another node.
    #[must_use]
    pub fn other(&self) -> NodeId {
        let others: Vec<NodeId> = self.nodes.iter().copied().filter(|node| *node != self.node()).collect();
        let index = usize::try_from(tiebeam_world::random() % others.len().max(1) as u64).unwrap_or(0);
        others.get(index).copied().unwrap_or_else(|| self.node())
    }
}

/// Draws from `range`, by the seed.
#[must_use]
pub fn draw(range: std::ops::Range<u64>) -> u64 {
    range.start + tiebeam_world::random() % (range.end - range.start).max(1)
}
