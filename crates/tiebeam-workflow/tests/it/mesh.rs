use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_log::{Asker, Channel, Handler, Transport, TransportError};
use tiebeam_wire::{NodeId, Role};

/// Links all nodes of a test.
#[derive(Clone, Default)]
pub(crate) struct Mesh {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    handlers: HashMap<(NodeId, u8), Handler>,
    /// Nodes that nobody reaches and that reach nobody.
    away: HashSet<NodeId>,
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
        let state = self.mesh.state.lock().unwrap();
        let reachable = to == self.node || !(state.away.contains(&self.node) || state.away.contains(&to));
        let handler = state.handlers.get(&(to, channel as u8)).filter(|_| reachable).cloned();
        let asker = Asker { node: self.node, role: self.role };
        async move {
            let handler = handler.ok_or(TransportError::Unreachable(to))?;
            let answer = tiebeam_world::timeout(timeout, handler(asker, body)).await;
            let answer = answer.map_err(|_| TransportError::Timeout(to))?;
            answer.map_err(|reason| TransportError::Refused { node: to, reason })
        }
        .boxed()
    }

    fn serve(&self, channel: Channel, handler: Handler) {
        self.mesh.state.lock().unwrap().handlers.insert((self.node, channel as u8), handler);
    }
}
