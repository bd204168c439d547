use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tiebeam_actor::System;
use tiebeam_net::Service;
use tiebeam_wire::{Incarnation, NodeId};

use crate::{Config, Handler, Member, MemberEvent, RequestError};

/// A node's place in its cluster. Cheap to clone; all clones are the same node.
#[derive(Clone, Debug)]
pub struct Cluster {}

/// Why a node could not take its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is in use, or not this machine's.
    #[error("address {address} can't be bound")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Hands out the changes of membership since [`Cluster::subscribe`], in order.
#[derive(Debug)]
pub struct MemberEvents {}

impl MemberEvents {
    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<MemberEvent> {
        unimplemented!()
    }
}

impl Cluster {
    /// Listens, dials seeds and peers and joins whom it finds; returns as soon as it listens.
    ///
    /// # Errors
    /// [`StartError`] if it can't listen; nothing is left running.
    pub async fn start(_config: Config, _system: System) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Asks `service` of node `to` and waits for the answer, at most for `timeout`.
    ///
    /// Delivered at most once. Requests may overtake each other. A request to this node itself is served here, without
    /// the network. Dropping the future gives up waiting; the request may still be done.
    ///
    /// # Errors
    /// Each [`RequestError`] says whether the request may have been done.
    pub async fn request(
        &self,
        _to: NodeId,
        _service: Service,
        _body: Bytes,
        _timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        unimplemented!()
    }

    /// Installs the handler of `service`, in place of an earlier one.
    pub fn serve(&self, _service: Service, _handler: Handler) {
        unimplemented!()
    }

    /// Returns all known nodes in the order of their numbers, this one included.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        unimplemented!()
    }

    /// Returns where `node` listens, if this node knows it.
    #[must_use]
    pub fn address_of(&self, _node: NodeId) -> Option<SocketAddr> {
        unimplemented!()
    }

    /// Hands out all changes from now on; first an `Up` for each member that is live now, this node excluded.
    #[must_use]
    pub fn subscribe(&self) -> MemberEvents {
        unimplemented!()
    }

    /// This node's number.
    #[must_use]
    pub fn node(&self) -> NodeId {
        unimplemented!()
    }

    /// Which start of this node this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        unimplemented!()
    }

    /// Where this node really listens, also if it was told port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Leaves: closes all connections and the endpoint, and waits until peers were told, at most for 1 s.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
