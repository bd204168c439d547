//! Requests between groups over the cluster's connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_cluster::{Cluster, RequestError, Service};
use tiebeam_wire::NodeId;

use super::{Asker, Channel, Handler, Transport, TransportError};

impl Channel {
    const fn service(self) -> Service {
        match self {
            Self::Raft => Service::RAFT,
            Self::Group => Service::GROUP,
        }
    }
}

impl Transport for Cluster {
    fn request(
        &self,
        to: NodeId,
        channel: Channel,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let cluster = self.clone();
        async move {
            cluster.request(to, channel.service(), body, timeout).await.map_err(|error| match error {
                RequestError::Unreachable(node) => TransportError::Unreachable(node),
                RequestError::Timeout(node) => TransportError::Timeout(node),
                refused => TransportError::Refused { node: to, reason: refused.to_string() },
            })
        }
        .boxed()
    }

    fn serve(&self, channel: Channel, handler: Handler) {
        let serve = move |peer: tiebeam_cluster::PeerIdentity, body: Bytes| {
            handler(Asker { node: peer.node, role: peer.role }, body)
        };
        Self::serve(self, channel.service(), Arc::new(serve));
    }
}
