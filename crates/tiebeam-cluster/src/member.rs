use std::net::SocketAddr;

use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::Said;

/// A node of the cluster as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where it listens for other nodes.
    pub address: SocketAddr,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Whether requests and signals can be sent to it, as far as this node sees: `reach` says how. Always so for this node
    /// itself. A member that others reach and this node doesn't is not live here, unless the two are edges.
    pub live: bool,
    /// What it says of itself.
    pub said: Said,
    /// How it is reached.
    pub reach: Reach,
}

/// How a member is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is a connection to it, or it is this node itself.
    Connected,
    /// This node and it are edges, and a core that this node is connected to is connected to it. Whatever is sent to it
    /// makes a connection first.
    ThroughCores,
    /// It was heard of, and isn't reached.
    Known,
}

/// A change of who is reachable from this node. Events of one node alternate, `Up` first.
///
/// An edge of which an edge hears through cores is up while any core says so, whether the two are connected or not: that
/// their connection is made or lost is no event. Links and monitors across it are told all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// An authenticated connection to this start of the node is up, or between edges a core has one; requests and signals
    /// can be sent.
    Up(Member),
    /// That connection is gone; between edges, those of all cores, or a later start is there. Links and monitors across it
    /// were told before. A node that came back with a new incarnation is first down, then up.
    Down(NodeId, Incarnation),
}
