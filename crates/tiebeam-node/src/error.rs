use tiebeam_actor::{ChildError, ExitReason};
use tiebeam_net::Identity;

use crate::data_dir::DataDirError;

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificate is another node's.
    #[error("certificate names {named:?}, the configuration {configured:?}")]
    Identity {
        /// Who the certificate is for.
        named: Box<Identity>,
        /// Who the node is to be.
        configured: Box<Identity>,
    },
    /// The configuration has a section for an application that this program has not.
    #[error("configuration has section [apps.{0}], but this program has no application {0:?}")]
    UnknownApplication(String),
    /// Certificate, key or authority can't be used.
    #[error("credentials can't be used")]
    Credentials(#[from] tiebeam_net::CredentialsError),
    /// The cookie is too short.
    #[error("cookie can't be used")]
    Cookie(#[from] tiebeam_net::CookieTooShort),
    /// The data directory can't be used.
    #[error("data directory can't be used")]
    DataDir(#[from] DataDirError),
    /// The write-ahead log can't be opened.
    #[error("write-ahead log can't be opened")]
    Wal(#[from] tiebeam_storage::OpenError),
    /// The snapshots can't be opened.
    #[error("snapshots can't be opened")]
    Snapshots(#[from] tiebeam_storage::SnapshotError),
    /// The node can't listen for others.
    #[error("node can't join")]
    Cluster(#[from] tiebeam_cluster::StartError),
    /// A group can't be opened.
    #[error("group can't be opened")]
    Group(#[from] tiebeam_log::OpenError),
    /// A child can't be started.
    #[error("child of the root supervisor can't be started")]
    Child(#[from] ChildError),
    /// The root supervisor can't be started.
    #[error("root supervisor can't be started: {0:?}")]
    Root(ExitReason),
    /// The HTTP address can't be used.
    #[error("dashboard can't be served")]
    Http(#[from] tiebeam_admin::ServeError),
}
