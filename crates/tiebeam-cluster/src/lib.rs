//! Join nodes: membership, requests and actors across nodes, names.

mod cluster;
mod config;
mod member;
mod request;

pub use cluster::{Cluster, MemberEvents, StartError};
pub use config::Config;
pub use member::{Member, MemberEvent};
pub use request::{Handler, PeerIdentity, RequestError};
pub use tiebeam_net::Service;
