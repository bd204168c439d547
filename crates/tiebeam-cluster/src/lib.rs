//! Joins nodes: who is there, requests between nodes, actors across nodes.
//!
//! - [`Cluster::start`] listens, dials and keeps one connection to every other node; but an edge keeps to cores, and is
//!   connected to another edge when one of them sends the other something ([`Edges`]).
//! - [`Cluster::members`] and [`Cluster::subscribe`] tell who is there. Gossip finds nodes; a connection makes one live,
//!   or between edges a core's word that it is connected to it.
//! - [`Cluster::request`] and [`Cluster::serve`] carry questions and answers, each [`Service`] only for roles that it
//!   admits.
//! - Signals between actors of two nodes take one of sixteen lanes of the connection, by sender and receiver.
//! - What connected nodes share without agreeing: [`groups`] of actors, [`names`] that converge, [`presence`]; and what is
//!   told to many by [`pubsub`]. They are brought together by replicators of `tiebeam-crdt`, on nine lanes of
//!   [`Service::SHARE`]; what edges share goes by way of cores.
//! - What nodes do for each other: functions by [`rpc`], and supervised [`tasks`].
//! - What may exist only once: [`leases`] that a majority of the [`Voters`] grants, and on them [`virtual_actors`] and
//!   [`singletons`].
//!
//! Promises: at most one connection to a start of a node. Its end is told once, first to links and monitors, then to
//! subscribers, unless cores say that the node is there all the same; nothing of it is delivered afterwards and nothing is
//! sent again on the next one. A killed peer is noticed within half a second of the next packet to it if its machine says
//! that nobody listens; else after the idle timeout, 3 s unless configured, or after three of QUIC's probe timeouts, if the
//! network is so slow that these take longer (RFC 9000, 10.1); one that is restarted at its old address, at once.
//!
//! Invariants: a session is in the map from before its first stream is served until after its last frame was delivered;
//! sessions of one pair never overlap; of two starts of a node the earlier is told down before the later is up.
//!
//! What it does not do: but for leases it decides nothing that needs agreement. Two nodes may see different members for a
//! while, and a name may have two holders until they meet. Nothing here outlives all nodes.
//!
//! Further reading: `docs/protocols/handshake.md`; "Scuttlebutt reconciliation" (van Renesse et al., 2008) for gossip.

mod cluster;
mod config;
mod gossip;
mod member;
mod mesh;
mod monitor;
mod node;
mod reach;
mod request;
mod router;
mod said;
mod seed;
mod sharing;
#[cfg(feature = "testkit")]
pub mod testkit;
mod voters;

pub mod groups;
pub mod leases;
pub mod names;
pub mod presence;
pub mod pubsub;
pub mod rpc;
pub mod services;
pub mod singletons;
pub mod standing;
pub mod tasks;
pub mod virtual_actors;

pub use cluster::{Cluster, MemberEvents, StartError};
pub use config::{Config, Edges};
pub use groups::{Group, Groups};
pub use leases::{Fence, Lease, Leases};
pub use member::{Member, MemberEvent, Reach};
pub use monitor::{NODE_MONITORS_MAX, NodeEvent};
pub use names::Names;
pub use presence::Presence;
pub use pubsub::PubSub;
pub use request::{Handler, PeerIdentity, RequestError};
pub use rpc::Rpc;
pub use said::{LOAD_PERCENT_MAX, Readiness, Said, VERSION_BYTES_MAX, WHY_BYTES_MAX, ZONE_BYTES_MAX};
pub use seed::{ParseSeedError, SEED_ADDRESSES_MAX, SEED_FILE_BYTES_MAX, Seed};
pub use services::Services;
pub use sharing::plane::ShareError;
pub use sharing::watch::{Monitoring, WatchError};
pub use singletons::Singletons;
pub use standing::{Standing, StandingConfig, StandingEvents, VotersReached};
pub use tasks::RemoteTasks;
pub use tiebeam_net::Service;
pub use virtual_actors::VirtualActors;
pub use voters::Voters;
