//! What a group needs of the network: one request, one answer.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tiebeam_wire::{NodeId, Role};

/// The two kinds of requests between nodes that concern groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Raft's own: append entries, votes, snapshots. Only core nodes may ask.
    Raft,
    /// A proposal or a query for whoever leads the group. Every member may ask.
    Group,
}

/// Why a request got no answer. Whether the peer acted on it is unknown unless said otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no connection to the node, or it was lost.
    #[error("node {0} can't be reached")]
    Unreachable(NodeId),
    /// No answer came in time.
    #[error("node {0} didn't answer in time")]
    Timeout(NodeId),
    /// The peer refused the request without acting on it.
    #[error("node {node} refused: {reason}")]
    Refused {
        /// Who refused.
        node: NodeId,
        /// Its words.
        reason: String,
    },
}

/// Who asks, as its certificate says.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The node that asks.
    pub node: NodeId,
    /// What it may ask for.
    pub role: Role,
}

/// Answers requests; an error is sent back as text.
pub type Handler = Arc<dyn Fn(Asker, Bytes) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// Carries requests to other nodes and requests of other nodes to handlers.
///
/// A request is delivered at most once. Requests may overtake each other.
pub trait Transport: Send + Sync + 'static {
    /// Asks `to` and waits for its answer, at most for `timeout`. A request to the own node is answered here.
    fn request(
        &self,
        to: NodeId,
        channel: Channel,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;

    /// Installs the handler of a channel, in place of an earlier one.
    fn serve(&self, channel: Channel, handler: Handler);
}
