//! The cluster's own certificate authority: makes one, and issues certificates that name nodes.
//!
//! An authority is two files in one directory, `ca.pem` and `ca.key`. Whoever reads the key can let anybody into the
//! cluster: it belongs on an operator's machine, not on the nodes. Keys are Ed25519.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::certificate::Validity;
use crate::identity::{Identity, IdentityError};

/// How long an authority is valid.
pub const AUTHORITY_DAYS: u32 = 3650;
/// How long a node's certificate is valid.
pub const CERTIFICATE_DAYS: u32 = 365;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why an authority could not be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// There is an authority in the directory already; it is never overwritten, since all certificates hang on it.
    #[error("directory {0} holds an authority already")]
    Exists(PathBuf),
    /// A file can't be read or written.
    #[error("file {path} can't be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// The identity is not one that a certificate can carry.
    #[error("identity can't be written into a certificate")]
    Identity(#[from] IdentityError),
    /// The authority's name names another cluster than the certificate would.
    #[error("authority is of cluster {authority:?}, not of {asked:?}")]
    Cluster {
        /// The authority's cluster.
        authority: String,
        /// The cluster in the identity.
        asked: String,
    },
    /// A key or a certificate can't be made or parsed.
    #[error("certificate can't be made")]
    Certificate(#[from] rcgen::Error),
}

/// Signs the certificates of one cluster.
#[derive(Debug)]
pub struct Authority {
    cluster: String,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A node's certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Issued {
    /// Whom it names.
    pub identity: Identity,
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Never shows the key.
impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority for `cluster` and writes `ca.pem` and `ca.key` (mode 0600) into `dir`, which is made if absent.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] if there is a key already; nothing is overwritten.
    pub fn create(dir: &Path, cluster: &str) -> Result<Self, AuthorityError> {
        let key_path = dir.join("ca.key");
        if key_path.exists() {
            return Err(AuthorityError::Exists(dir.to_owned()));
        }
        let (authority, key) = Self::generate(cluster)?;
        write_public(&dir.join("ca.pem"), &authority.pem)?;
        write_private(&key_path, &key)?;
        Ok(authority)
    }

    /// Makes an authority that is never written down: for tests and for clusters that end with their process.
    ///
    /// # Errors
    /// [`AuthorityError::Identity`] if `cluster` is no name.
    pub fn ephemeral(cluster: &str) -> Result<Self, AuthorityError> {
        Ok(Self::generate(cluster)?.0)
    }

    fn generate(cluster: &str) -> Result<(Self, String), AuthorityError> {
        crate::identity::check_name("cluster name", cluster)?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(&authority_name(cluster));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, valid_for(DAY * AUTHORITY_DAYS))?;
        let pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok((Self { cluster: cluster.to_owned(), pem, issuer: Issuer::new(params, key) }, key_pem))
    }

    /// Reads what [`Authority::create`] wrote into `dir`.
    ///
    /// # Errors
    /// [`AuthorityError::File`] or [`AuthorityError::Certificate`].
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| AuthorityError::File { path, source })
        };
        let pem = read("ca.pem")?;
        let issuer = Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&read("ca.key")?)?)?;
        let cluster = cluster_of(&pem).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        Ok(Self { cluster, pem, issuer })
    }

    /// Issues a certificate with a fresh key to `identity`, valid from an hour ago for [`CERTIFICATE_DAYS`].
    ///
    /// # Errors
    /// [`AuthorityError::Identity`] or [`AuthorityError::Cluster`] if the identity isn't one of this cluster.
    pub fn issue(&self, identity: Identity) -> Result<Issued, AuthorityError> {
        self.issue_valid(identity, valid_for(DAY * CERTIFICATE_DAYS))
    }

    /// As [`Authority::issue`], valid as `validity` says, in whole seconds.
    ///
    /// # Errors
    /// As [`Authority::issue`]; also if no certificate can name these times.
    pub fn issue_valid(&self, identity: Identity, validity: Validity) -> Result<Issued, AuthorityError> {
        let params = self.params(&identity, validity)?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { identity, certificate, key: key.serialize_pem() })
    }

    /// Signs the key in a `request` (PKCS#10, DER) for `identity`; returns the certificate in PEM. Of the request only the
    /// key counts: what it asks for beyond that is not looked at.
    ///
    /// # Errors
    /// As [`Authority::issue_valid`]; also if the request isn't signed by its own key.
    pub fn sign(&self, identity: Identity, request: &[u8], validity: Validity) -> Result<String, AuthorityError> {
        let params = self.params(&identity, validity)?;
        Ok(params.signed_by(&public_key(request)?, &self.issuer)?.pem())
    }

    /// Checks that this authority can name `identity`.
    pub(crate) fn check(&self, identity: &Identity) -> Result<(), AuthorityError> {
        identity.check()?;
        if identity.cluster != self.cluster {
            return Err(AuthorityError::Cluster { authority: self.cluster.clone(), asked: identity.cluster.clone() });
        }
        Ok(())
    }

    /// The authority's own certificate in DER.
    pub(crate) fn der(&self) -> Vec<u8> {
        let pem = x509_parser::pem::parse_x509_pem(self.pem.as_bytes());
        pem.expect("it was parsed or made when this was made").1.contents
    }

    /// What a token knows the authority by.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.der()).into()
    }

    fn params(&self, identity: &Identity, validity: Validity) -> Result<CertificateParams, AuthorityError> {
        self.check(identity)?;
        let mut params = CertificateParams::new(vec![identity.dns_name()])?;
        params.distinguished_name = named(&identity.name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node dials and listens with one certificate.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, validity)?;
        Ok(params)
    }

    /// The authority's own certificate in PEM: what every node trusts.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The cluster whose nodes this authority names.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }
}

impl Issued {
    /// Writes `<name>.pem` and `<name>.key` (mode 0600) into `dir`, which is made if absent; returns both paths.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    pub fn write(&self, dir: &Path) -> Result<(PathBuf, PathBuf), AuthorityError> {
        let certificate = dir.join(format!("{}.pem", self.identity.name));
        let key = dir.join(format!("{}.key", self.identity.name));
        write_public(&certificate, &self.certificate)?;
        write_private(&key, &self.key)?;
        Ok((certificate, key))
    }
}

/// Makes a key; returns it in PEM, with a request to sign it in DER.
pub(crate) fn request() -> Result<(String, Vec<u8>), AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem();
    let request = request_for(&key)?;
    Ok((key, request))
}

/// Returns a request, PKCS#10 in DER, to sign a private key in PEM. It names nobody: who the key's owner is, the authority
/// knows by other means.
///
/// # Errors
/// [`AuthorityError::Certificate`] if that is no key.
pub fn request_for(key: &str) -> Result<Vec<u8>, AuthorityError> {
    let request = CertificateParams::new(Vec::new())?.serialize_request(&KeyPair::from_pem(key)?)?;
    Ok(request.der().to_vec())
}

/// Reads the key out of a request, and checks that its owner signed it.
pub(crate) fn public_key(request: &[u8]) -> Result<rcgen::PublicKey, AuthorityError> {
    Ok(CertificateSigningRequestParams::from_der(&request.to_vec().into())?.public_key)
}

/// Replaces a certificate's file as a whole: a crash leaves the old or the new one.
///
/// # Errors
/// [`AuthorityError::File`].
pub fn write_certificate(path: &Path, pem: &str) -> Result<(), AuthorityError> {
    write_public(path, pem)
}

fn authority_name(cluster: &str) -> String {
    format!("{cluster}.tiebeam")
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From an hour ago for `span`: clocks of nodes differ, and a certificate that starts now would be refused by whoever is
/// behind.
#[must_use]
pub fn valid_for(span: Duration) -> Validity {
    let now = tiebeam_world::wall_clock_ms();
    let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Validity { from_ms: now.saturating_sub(3_600_000), until_ms: now.saturating_add(ms) }
}

fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<(), AuthorityError> {
    let time = |ms: i64| {
        OffsetDateTime::from_unix_timestamp(ms / 1000).map_err(|_| AuthorityError::Certificate(rcgen::Error::Time))
    };
    params.not_before = time(validity.from_ms)?;
    params.not_after = time(validity.until_ms)?;
    Ok(())
}

fn cluster_of(pem: &str) -> Option<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    name.strip_suffix(".tiebeam").map(str::to_owned)
}

fn write_public(path: &Path, text: &str) -> Result<(), AuthorityError> {
    write(path, text.as_bytes(), 0o644)
}

fn write_private(path: &Path, text: &str) -> Result<(), AuthorityError> {
    write(path, text.as_bytes(), 0o600)
}

/// Replaces the file as a whole, so that a crash leaves the old or the new one; the mode holds from its first byte on.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let attempt = || {
        let dir = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let partial = path.with_extension("partial");
        let _ = std::fs::remove_file(&partial);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    attempt().map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tiebeam_wire::{NodeId, Role};

    use super::*;
    use crate::Credentials;

    fn ada() -> Identity {
        Identity { node: NodeId(1), name: "ada".into(), role: Role::Core, cluster: "skies".into() }
    }

    #[test]
    fn certificate_names_its_node_also_after_the_authority_was_read_back() {
        let dir = tempfile::tempdir().unwrap();
        Authority::create(dir.path(), "skies").unwrap();
        let authority = Authority::load(dir.path()).unwrap();
        let (certificate, key) = authority.issue(ada()).unwrap().write(&dir.path().join("nodes")).unwrap();
        let credentials = Credentials::load(&dir.path().join("ca.pem"), &certificate, &key).unwrap();
        assert_eq!(credentials.identity(), &ada());
        for private in [key, dir.path().join("ca.key")] {
            let mode = std::fs::metadata(&private).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", private.display());
        }
    }

    /// A second authority would lock out every node that has a certificate of the first.
    #[test]
    fn authority_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        Authority::create(dir.path(), "skies").unwrap();
        assert!(matches!(Authority::create(dir.path(), "skies"), Err(AuthorityError::Exists(_))));
    }

    #[test]
    fn node_of_another_cluster_gets_no_certificate() {
        let authority = Authority::ephemeral("seas").unwrap();
        assert!(matches!(authority.issue(ada()), Err(AuthorityError::Cluster { .. })));
    }
}
