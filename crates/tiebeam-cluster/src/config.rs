use std::net::SocketAddr;
use std::time::Duration;

use tiebeam_resilience::Backoff;
use tiebeam_wire::NodeId;

use crate::Voters;

/// All that a cluster is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this node is, where it listens, whom it trusts.
    pub net: tiebeam_net::Config,
    /// Addresses to ask for the others; this node's own may be among them. Empty for the first node. An edge that keeps to
    /// cores must be told at least one core, here or as a peer.
    pub seeds: Vec<SocketAddr>,
    /// Nodes whose number and address are known before gossip tells them: usually the core nodes.
    pub peers: Vec<(NodeId, SocketAddr)>,
    /// The core nodes whose majority decides, as the cluster was born with them; the same on all nodes. Default none: then
    /// nothing that needs a majority can be used.
    pub voters: Voters,
    /// Whom this node connects to, if it is an edge. Default [`Edges::KeepToCores`].
    pub edges: Edges,
    /// Whether two edges that can't be connected directly may be so by way of a core: for an edge, whether it wants that; for
    /// a core, whether it carries their datagrams. Default yes.
    pub relay: bool,
    /// How often a node gossips. Default 200 ms.
    pub gossip_interval: Duration,
    /// How long to wait before a lost or refused connection is dialled again. Default 50 ms to 5 s.
    pub dial_backoff: Backoff,
    /// Most nodes in a cluster, this one included. Default 500; a handshake beyond it is refused.
    pub members_max: usize,
}

/// Whom an edge node connects to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// To all cores; to another edge when something is to be sent to it. It hears of other edges through cores.
    #[default]
    KeepToCores,
    /// To all members, and gossips as a core does. For small clusters whose edges all talk with each other.
    Mesh,
}

impl Config {
    /// Returns a configuration with all defaults, without seeds and peers.
    #[must_use]
    pub fn new(net: tiebeam_net::Config) -> Self {
        Self {
            net,
            seeds: Vec::new(),
            peers: Vec::new(),
            voters: Voters::default(),
            edges: Edges::KeepToCores,
            relay: true,
            gossip_interval: Duration::from_millis(200),
            dial_backoff: Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) },
            members_max: 500,
        }
    }
}
