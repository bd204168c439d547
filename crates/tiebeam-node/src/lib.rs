//! Composes a configuration and one supervision tree into a running node.
//!
//! ```text
//! Node::start: check configuration and certificate ─▶ claim the directory ─▶ open storage ─▶ join the cluster
//!     core: meta group ─▶ workflow groups ─▶ partitions as the catalogue names them
//!     every node: HTTP ─▶ applications
//! ```
//!
//! Certificate, cookies and revocations change while the node runs: [`Node::reload`], and the certificate's files are
//! looked at now and then.
//!
//! What can be refused is refused before anything runs: a node is never half started. Errors are typed and name the key,
//! the file or the address that stands in the way.

mod app;
mod catalog;
mod certificates;
mod config;
mod data_dir;
mod error;
mod handle;
mod issuer;
mod layout;
mod node;
mod said;
mod services;
mod status;
pub mod telemetry;

pub use app::{AppError, Application, BoxProcessor, ConsumerSpec};
pub use catalog::{Catalog, CreateTopicError};
pub use config::{
    ClusterSection, Config, ConfigError, JoinSection, ListenSection, NAME_BYTES_MAX, NodeSection, OneOrMany, TlsSection,
};
pub use data_dir::DataDirError;
pub use error::{ReloadError, StartError};
pub use handle::{FindError, Handle};
pub use node::Node;
pub use services::{ServiceHost, Services};
pub use status::api_counts;

pub use tiebeam_actor as actor;
pub use tiebeam_cluster as cluster;
pub use tiebeam_log as log;
pub use tiebeam_net::{Identity, ca, join};
pub use tiebeam_topics as topics;
pub use tiebeam_wire as wire;
pub use tiebeam_workflow as workflow;
pub use tiebeam_world as world;
