use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_log::{Asker, Channel, Handler, Transport, TransportError};
use tiebeam_topics::fetch::{FetchServer, FetchTransport};
use tiebeam_wire::{NodeId, Role};

/// Links all nodes of a test, and breaks links as it is told.
#[derive(Clone, Default)]
pub(crate) struct Mesh {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    handlers: HashMap<(NodeId, u8), Handler>,
    fetch: HashMap<NodeId, FetchServer>,
    /// Nodes that nobody reaches and that reach nobody.
    away: HashSet<NodeId>,
    /// Of the requests to groups, the answer of every how manieth is lost.
    lose_every: Option<u64>,
    requests: u64,
}

impl Mesh {
    pub(crate) fn of(&self, node: NodeId, role: Role) -> Arc<dyn Transport> {
        Arc::new(Seat { mesh: self.clone(), node, role })
    }

    pub(crate) fn cut_off(&self, node: NodeId) {
        self.state.lock().unwrap().away.insert(node);
    }

    pub(crate) fn heal(&self, node: NodeId) {
        self.state.lock().unwrap().away.remove(&node);
    }

    /// From now on every `nth` request to a group is done, and its answer lost.
    pub(crate) fn lose_answers(&self, nth: Option<u64>) {
        self.state.lock().unwrap().lose_every = nth;
    }

    pub(crate) fn serve_fetch(&self, node: NodeId, server: FetchServer) {
        self.state.lock().unwrap().fetch.insert(node, server);
    }

    pub(crate) fn forget_fetch(&self, node: NodeId) {
        self.state.lock().unwrap().fetch.remove(&node);
    }
}

struct Seat {
    mesh: Mesh,
    node: NodeId,
    role: Role,
}

impl Transport for Seat {
    fn request(
        &self,
        to: NodeId,
        channel: Channel,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let mut state = self.mesh.state.lock().unwrap();
        let reachable = to == self.node || !(state.away.contains(&self.node) || state.away.contains(&to));
        let handler = state.handlers.get(&(to, channel as u8)).filter(|_| reachable).cloned();
        state.requests += u64::from(channel == Channel::Group);
        let lost = channel == Channel::Group && state.lose_every.is_some_and(|nth| state.requests.is_multiple_of(nth));
        let asker = Asker { node: self.node, role: self.role };
        async move {
            let handler = handler.ok_or(TransportError::Unreachable(to))?;
            let answer = tiebeam_world::timeout(timeout, handler(asker, body)).await;
            let answer = answer.ok().filter(|_| !lost).ok_or(TransportError::Timeout(to))?;
            answer.map_err(|reason| TransportError::Refused { node: to, reason })
        }
        .boxed()
    }

    fn serve(&self, channel: Channel, handler: Handler) {
        self.mesh.state.lock().unwrap().handlers.insert((self.node, channel as u8), handler);
    }
}

impl FetchTransport for Mesh {
    fn fetch(&self, to: NodeId, body: Bytes, timeout: Duration) -> BoxFuture<'static, Result<Bytes, String>> {
        let state = self.state.lock().unwrap();
        let server = state.fetch.get(&to).filter(|_| !state.away.contains(&to)).cloned();
        async move {
            let server = server.ok_or("away")?;
            tiebeam_world::timeout(timeout, server.answer(body)).await.map_err(|e| e.to_string())?
        }
        .boxed()
    }
}
