use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tiebeam_net::Service;
use tiebeam_wire::{Incarnation, NodeId, Role};

/// Who asks, as its certificate and its handshake say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The node that asks.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// What it may do.
    pub role: Role,
    /// Its name for people.
    pub name: String,
}

/// Answers the requests of one service; an error is sent back as text.
///
/// Called for each request at once, so calls overlap. The future is dropped if the asker stops waiting.
pub type Handler = Arc<dyn Fn(PeerIdentity, Bytes) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection to the node, or it was lost; then whether the node acted on it is unknown.
    #[error("node {0} can't be reached")]
    Unreachable(NodeId),
    /// No answer came in time; whether the node acted on it is unknown.
    #[error("node {0} didn't answer in time")]
    Timeout(NodeId),
    /// The asker's role doesn't admit it to the service. Nothing was done.
    #[error("node {node} forbids {service} to a node of this role")]
    Forbidden {
        /// Who refused.
        node: NodeId,
        /// What was asked for.
        service: Service,
    },
    /// The node doesn't serve this. Nothing was done.
    #[error("node {node} doesn't serve {service}")]
    NoService {
        /// Who refused.
        node: NodeId,
        /// What was asked for.
        service: Service,
    },
    /// The node's handler failed, in its own words.
    #[error("{0}")]
    Failed(String),
    /// The request or its answer is larger than a frame may be. Too large a request was not sent.
    #[error("body has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size of the body in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Too many requests to the node wait already. Nothing was sent.
    #[error("requests to node {0} wait at their limit")]
    Overloaded(NodeId),
}

impl RequestError {
    pub(crate) fn from_net(error: tiebeam_net::RequestError, node: NodeId, service: Service) -> Self {
        use tiebeam_net::RequestError as Net;
        match error {
            Net::Forbidden => Self::Forbidden { node, service },
            Net::NoService => Self::NoService { node, service },
            Net::Failed(text) => Self::Failed(text),
            Net::TooLarge { size } => Self::TooLarge { size, limit: tiebeam_net::FRAME_BYTES_MAX },
            Net::Overloaded { .. } => Self::Overloaded(node),
            // Lost, and whatever a later version of the protocol may say.
            _ => Self::Unreachable(node),
        }
    }

    /// Says whether the same request can succeed later. It may then have been done twice, unless it is idempotent.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout(_) | Self::Overloaded(_) | Self::NoService { .. })
    }
}
