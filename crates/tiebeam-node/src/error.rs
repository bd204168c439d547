use tiebeam_actor::{ChildError, ExitReason};
use tiebeam_net::Identity;

use crate::data_dir::DataDirError;

/// Why a running node keeps what it has. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The files can't be read, or are another node's.
    #[error("certificate can't be used")]
    Certificate(#[from] StartError),
    /// The certificate is somebody else's or out of its time.
    #[error(transparent)]
    Rotate(#[from] tiebeam_net::RotateError),
    /// The cookie is too short.
    #[error(transparent)]
    Cookie(#[from] tiebeam_net::CookieTooShort),
    /// A serial number is none.
    #[error(transparent)]
    Serial(#[from] tiebeam_net::NotASerial),
    /// Too many are revoked.
    #[error(transparent)]
    Denied(#[from] tiebeam_net::DenyListFull),
    /// The certificate that another node issued is not this node's, or its file can't be written.
    #[error("certificate that was issued again can't be used: {0}")]
    Issued(String),
    /// The node stops.
    #[error("reading was interrupted")]
    Interrupted,
}

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificate is another node's.
    #[error("certificate is for {named}, the configuration for {configured}")]
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
    #[error(transparent)]
    Credentials(#[from] tiebeam_net::CredentialsError),
    /// The cookie is too short.
    #[error(transparent)]
    Cookie(#[from] tiebeam_net::CookieTooShort),
    /// The list of who is revoked can't be used.
    #[error("list of revoked nodes can't be used")]
    Revoked(#[source] Box<ReloadError>),
    /// The authority of section `[join]` can't be used.
    #[error("authority in {} can't be used", path.display())]
    Authority {
        /// Its directory.
        path: std::path::PathBuf,
        /// What is wrong with it.
        #[source]
        source: tiebeam_net::ca::AuthorityError,
    },
    /// The address of section `[join]` can't be used.
    #[error("desk for newcomers can't be opened")]
    Desk(#[source] tiebeam_net::BindError),
    /// The data directory can't be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The write-ahead log can't be opened.
    #[error(transparent)]
    Wal(#[from] tiebeam_storage::OpenError),
    /// The snapshots can't be opened.
    #[error("snapshots can't be opened")]
    Snapshots(#[from] tiebeam_storage::SnapshotError),
    /// The node can't listen for others.
    #[error(transparent)]
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
    #[error(transparent)]
    Http(#[from] tiebeam_admin::ServeError),
}

impl StartError {
    /// What whoever starts the node can do about it, if that isn't plain from the error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Identity { .. } => {
                "give the node the certificate that was issued for it, or correct its section [node]"
            }
            Self::Credentials(tiebeam_net::CredentialsError::Unusable(_)) => {
                "tls.key is the key that was issued together with tls.cert, both by tls.ca"
            }
            Self::Http(_) => "stop what uses the address, or set listen.http",
            Self::Cluster(tiebeam_cluster::StartError::Listen(_)) => "stop what uses the address, or set listen.quic",
            Self::DataDir(DataDirError::InUse { .. }) => "stop the node that runs on it, or set node.dir",
            Self::DataDir(DataDirError::Foreign { .. }) => {
                "set node.dir to this node's own directory; numbers are never reused"
            }
            Self::DataDir(DataDirError::Unclaimed { .. }) => "set node.dir to an empty directory or to the node's own",
            Self::DataDir(DataDirError::Unwritable { .. }) => "let the node's user write there, or set node.dir",
            _ => return None,
        })
    }
}
