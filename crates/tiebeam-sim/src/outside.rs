//! What is outside of all nodes: the true time, the network, the log, and whether something broke.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tiebeam_wire::NodeId;

use crate::log::{Entry, Event, Log};
use crate::network::{Datagram, Network};

/// The world outside of the nodes. All of it is one thread's; the lock is never waited for.
#[derive(Debug)]
pub struct Outside {
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
    pub(crate) is_healed: bool,
    pub(crate) paused_nanos: BTreeMap<NodeId, u64>,
    pub(crate) sent_bytes: BTreeMap<NodeId, u64>,
    logs_datagrams: bool,
}

impl Outside {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            now: 0,
            turn: NodeId(0),
            network: Network::new(seed),
            log: Log::default(),
            failure: None,
            is_healed: false,
            paused_nanos: BTreeMap::new(),
            sent_bytes: BTreeMap::new(),
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

    /// Says whether all faults are over: nothing new is begun that would have to come right in the end.
    #[must_use]
    pub fn is_healed(&self) -> bool {
        self.state().is_healed
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

    /// What some nodes have sent together, in bytes.
    pub(crate) fn sent_bytes(&self, of: &[NodeId]) -> u64 {
        let state = self.state();
        of.iter().filter_map(|node| state.sent_bytes.get(node)).sum()
    }

    pub(crate) fn leave_datagrams_out(&self) {
        self.state().logs_datagrams = false;
    }
}

impl State {
    pub(crate) fn push(&mut self, node: NodeId, event: Event) {
        self.log.push(Entry { at: self.now, node, event });
    }

    pub(crate) fn send(&mut self, datagram: Datagram) {
        let (from, to, bytes) = (datagram.from, datagram.to, datagram.bytes.len());
        let sum = if self.logs_datagrams { crc32c::crc32c(&datagram.bytes) } else { 0 };
        *self.sent_bytes.entry(from).or_default() += bytes as u64;
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
