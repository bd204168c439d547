use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tiebeam_wire::Incarnation;

use crate::DenyList;
use crate::certificate::{Leaf, Serial, Validity};
use crate::identity::{Identity, IdentityError};
use crate::version::Versions;
use crate::{Datagrams, tls};

/// Most authorities that a node trusts at once.
pub const AUTHORITIES_MAX: usize = 8;

/// Shortest cookie, in bytes.
pub const COOKIE_BYTES_MIN: usize = 16;

/// A secret that all nodes of a cluster share. Defence in depth beside the certificates: it keeps a test cluster out of
/// a production cluster that was set up with the same authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(Vec<u8>);

impl Cookie {
    /// Wraps the secret.
    ///
    /// # Errors
    /// [`CookieTooShort`] below [`COOKIE_BYTES_MIN`] bytes.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self, CookieTooShort> {
        let secret = secret.into();
        if secret.len() < COOKIE_BYTES_MIN { Err(CookieTooShort { size: secret.len() }) } else { Ok(Self(secret)) }
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.0
    }
}

/// Never shows the secret.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}

/// A cookie that could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cookie has {size} bytes, fewer than {COOKIE_BYTES_MIN}")]
pub struct CookieTooShort {
    /// Its size in bytes.
    pub size: usize,
}

/// A node's certificate and key and the certificates of the authorities that it trusts: one, or two while the nodes change
/// from the one to the other.
pub struct Credentials {
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) leaf: Leaf,
}

impl Credentials {
    /// Reads three PEM files.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file or what is wrong with the certificate.
    pub fn load(authority: &Path, certificate: &Path, key: &Path) -> Result<Self, CredentialsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| CredentialsError::Read { path: path.to_owned(), source })
        };
        Self::from_pem(&read(authority)?, &read(certificate)?, &read(key)?)
    }

    /// Parses three PEM texts; each holds one item, that of the authorities one or more.
    ///
    /// # Errors
    /// [`CredentialsError`] says which text or what is wrong with the certificate.
    pub fn from_pem(authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, CredentialsError> {
        let authorities = CertificateDer::pem_slice_iter(authority).collect::<Result<Vec<_>, _>>();
        let authorities = authorities.map_err(|_| CredentialsError::Pem("authority"))?;
        if authorities.is_empty() || authorities.len() > AUTHORITIES_MAX {
            return Err(CredentialsError::Authorities(authorities.len()));
        }
        let certificate =
            CertificateDer::from_pem_slice(certificate).map_err(|_| CredentialsError::Pem("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CredentialsError::Pem("key"))?;
        let leaf = Leaf::parse(&certificate)?;
        let credentials = Self { authorities, certificate, key, leaf };
        tls::server(&credentials, Versions::OURS).map_err(CredentialsError::Unusable)?;
        Ok(credentials)
    }

    /// Who the certificate says that this node is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.leaf.identity
    }

    /// Says whether `other` shows and trusts the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.authorities == other.authorities
    }

    /// The number of the certificate.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        &self.leaf.serial
    }

    /// From when until when the certificate is good.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.leaf.validity
    }
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self {
            authorities: self.authorities.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone_key(),
            leaf: self.leaf.clone(),
        }
    }
}

/// Never shows the key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", &self.leaf.identity).finish_non_exhaustive()
    }
}

/// Why credentials were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file can't be read.
    #[error("file {path} can't be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// A text holds no PEM item of the kind that is needed.
    #[error("{0} is not in PEM")]
    Pem(&'static str),
    /// The text of the authorities has none, or too many.
    #[error("authority file has {0} certificates, expected 1 to {AUTHORITIES_MAX}")]
    Authorities(usize),
    /// The certificate doesn't name a node.
    #[error("certificate names no node")]
    Identity(#[from] IdentityError),
    /// Each is whole, but the key is another certificate's, or the authority is none.
    #[error("certificate, key and authority can't be used together")]
    Unusable(#[source] rustls::Error),
}

/// All that an endpoint is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen and to dial from; UDP. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address that peers are told to dial. Default: the one that was bound, which must then name an interface.
    pub advertise: Option<SocketAddr>,
    /// Which start of this node this is.
    pub incarnation: Incarnation,
    /// Who this node is and whom it trusts.
    pub credentials: Credentials,
    /// The cluster's secret.
    pub cookie: Cookie,
    /// The former secret, accepted from peers while nodes change to the new one.
    pub cookie_previous: Option<Cookie>,
    /// Who is denied from the beginning. Default nobody; [`Endpoint::revoke`](crate::Endpoint::revoke) adds to it.
    pub denied: DenyList,
    /// A connection that was silent for so long is lost. Default 3 s; the smaller one of both sides counts, and up to one
    /// [`Config::keep_alive_interval`] is added.
    pub idle_timeout: Duration,
    /// How often a silent connection is kept alive. Default 750 ms: a dead peer is noticed one such interval and one
    /// [`Config::idle_timeout`] later, at the latest.
    pub keep_alive_interval: Duration,
    /// How long a peer may take from its first packet until it is authenticated. Default 5 s; refused after it.
    pub handshake_timeout: Duration,
    /// How many strangers may be in their handshakes at once. Default 64; more are dropped unanswered and retry. From
    /// half of it on, a stranger must first show that it gets what is sent to its address, and one address may hold no
    /// more than a quarter.
    pub handshakes_max: usize,
    /// Bytes that may wait in one lane, at least one frame. Default 32 MiB; the connection is closed beyond it.
    pub lane_bytes_max: usize,
    /// Requests to one peer that may be under way or wait for a stream. Default 4,096; refused as overloaded beyond it.
    pub requests_max: usize,
    /// UDP buffers to ask the kernel for, in bytes each way. Default 8 MiB; a smaller grant is warned about.
    pub socket_buffer_bytes: usize,
    /// What carries datagrams in place of a socket, for simulation. Default: a socket is bound.
    pub datagrams: Option<Arc<dyn Datagrams>>,
}

impl Config {
    /// Returns a configuration with all defaults, listening on `listen`.
    #[must_use]
    pub const fn new(listen: SocketAddr, incarnation: Incarnation, credentials: Credentials, cookie: Cookie) -> Self {
        Self {
            listen,
            advertise: None,
            incarnation,
            credentials,
            cookie,
            cookie_previous: None,
            denied: DenyList::EMPTY,
            idle_timeout: Duration::from_secs(3),
            keep_alive_interval: Duration::from_millis(750),
            handshake_timeout: Duration::from_secs(5),
            handshakes_max: 64,
            lane_bytes_max: 32 * 1024 * 1024,
            requests_max: 4096,
            socket_buffer_bytes: 8 * 1024 * 1024,
            datagrams: None,
        }
    }
}
