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
    /// Whether this node is connected to it; always so for this node itself. A member that others reach and this node
    /// doesn't is not live here.
    pub live: bool,
    /// What it says of itself.
    pub said: Said,
}

/// A change of who is reachable from this node. Events of one node alternate, `Up` first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// An authenticated connection to this start of the node is up; requests and signals can be sent.
    Up(Member),
    /// That connection is gone. Links and monitors across it were told before. A node that came back with a new
    /// incarnation is first down, then up.
    Down(NodeId, Incarnation),
}
