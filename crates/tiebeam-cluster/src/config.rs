use std::net::SocketAddr;
use std::time::Duration;

use tiebeam_resilience::Backoff;
use tiebeam_wire::NodeId;

use crate::standing::StandingConfig;
use crate::{Seed, Voters};

/// All that a cluster is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this node is, where it listens, whom it trusts.
    pub net: tiebeam_net::Config,
    /// Where to ask for the others; this node's own address may be among them. Empty for the first node. An edge
    /// that keeps to cores must be told at least one core, here or as a peer.
    pub seeds: Vec<Seed>,
    /// How often names and files among the seeds are looked at again; six times as often while they lead nowhere or nobody is
    /// connected. Default 30 s.
    pub seeds_interval: Duration,
    /// Nodes whose number and address are known before gossip tells them: usually the core nodes.
    pub peers: Vec<(NodeId, SocketAddr)>,
    /// The core nodes whose majority decides, as the cluster was born with them; the same on all nodes. Default none: then
    /// nothing that needs a majority can be used.
    pub voters: Voters,
    /// When this node counts as cut off from the majority of the voters.
    pub standing: StandingConfig,
    /// The version of the program, told to all members; at most 32 bytes. Default none.
    pub program_version: String,
    /// Where this node is, for those who prefer what is near: a data centre, a rack. At most 64 bytes, cut beyond; default none.
    pub zone: String,
    /// How long a voter grants a lease; the same on all nodes, or they grant each other nothing. Default 4 s. What may exist
    /// only once is elsewhere this long after its node died. At least 500 ms; below 2 s, jumps of a clock by 100 ms are not
    /// covered.
    pub lease_time: Duration,
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
            seeds_interval: Duration::from_secs(30),
            peers: Vec::new(),
            voters: Voters::default(),
            standing: StandingConfig::default(),
            program_version: String::new(),
            zone: String::new(),
            lease_time: Duration::from_secs(4),
            edges: Edges::KeepToCores,
            relay: true,
            gossip_interval: Duration::from_millis(200),
            dial_backoff: Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) },
            members_max: 500,
        }
    }
}
