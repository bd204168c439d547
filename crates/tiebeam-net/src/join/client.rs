use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use tiebeam_wire::{Role, codec};

use super::{ALPN, ANSWER_BYTES_MAX, ANSWER_VERSION, Answer, Token};
use crate::ca::{self, AuthorityError};
use crate::certificate::Leaf;
use crate::refusal::Refusal;
use crate::{Credentials, CredentialsError, Identity, tls};

/// From the first packet until the certificate is there.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Why a newcomer wasn't let in. Unless it says that it was refused, the token may be spent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Nobody answers there, or not as a desk does.
    #[error("desk at {address} can't be reached")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What was heard.
        #[source]
        source: Refusal,
    },
    /// Whoever answers is no core node of the authority that the token names. The secret was not said.
    #[error("whoever answers at {address} is not of the authority that the token names")]
    Impostor {
        /// Where.
        address: SocketAddr,
    },
    /// The token is unknown, used, expired or wrong.
    #[error("desk at {address} refused the token")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What was heard.
        #[source]
        source: Refusal,
    },
    /// The socket can't be made.
    #[error("no socket to dial from")]
    Socket(#[source] std::io::Error),
    /// The answer is none, or its certificate is of no use with the key that was made for it.
    #[error("answer of the desk can't be used: {0}")]
    Answer(String),
    /// No key can be made.
    #[error(transparent)]
    Key(#[from] AuthorityError),
}

/// What a newcomer was given.
#[derive(Clone)]
pub struct Joined {
    /// Who it is from now on.
    pub identity: Identity,
    /// Its certificate in PEM.
    pub certificate: String,
    /// Its private key in PEM, which it made itself and told nobody.
    pub key: String,
    /// The authority's certificate in PEM.
    pub authority: String,
    /// What else the desk had to say.
    pub settings: String,
}

/// Never shows the key, nor the settings, which may hold secrets.
impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Asks the desk at `address` for a certificate, with a token that is spent thereby. Must be called within a tokio
/// runtime.
///
/// # Errors
/// [`JoinError`].
pub async fn join(address: SocketAddr, token: &Token) -> Result<Joined, JoinError> {
    let (key, request) = ca::request()?;
    let unspecified = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let endpoint = quinn::Endpoint::client(SocketAddr::new(unspecified, 0)).map_err(JoinError::Socket)?;
    let talk = talk(&endpoint, address, token, &request);
    let late = || {
        let source = Refusal::local(crate::Reason::TooSlow, format!("no answer within {TIME_MAX:?}"));
        Err(JoinError::Unreachable { address, source })
    };
    let answer = tiebeam_world::timeout(TIME_MAX, talk).await.unwrap_or_else(|_| late())?;
    let bad = |error: CredentialsError| JoinError::Answer(error.to_string());
    let credentials = Credentials::from_pem(answer.authority.as_bytes(), answer.certificate.as_bytes(), key.as_bytes());
    let credentials = credentials.map_err(bad)?;
    if credentials.authorities.iter().any(|authority| hash(authority) != token.authority) {
        return Err(JoinError::Answer("it names another authority".to_owned()));
    }
    let Answer { certificate, authority, settings } = answer;
    Ok(Joined { identity: credentials.identity().clone(), certificate, key, authority, settings })
}

async fn talk(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    token: &Token,
    request: &[u8],
) -> Result<Answer, JoinError> {
    let unreachable = |error: &quinn::ConnectionError| match error {
        // The verifier's own refusal; a stranger's TLS error comes as a close.
        quinn::ConnectionError::TransportError(_) => JoinError::Impostor { address },
        error => JoinError::Unreachable { address, source: Refusal::from_quic(error) },
    };
    let connecting = endpoint.connect_with(client(token), address, "node.tiebeam");
    let connecting = connecting.map_err(|error| JoinError::Unreachable {
        address,
        source: Refusal::local(crate::Reason::Lost, error.to_string()),
    })?;
    let connection = connecting.await.map_err(|error| unreachable(&error))?;
    let refused = || match connection.close_reason() {
        Some(error) => JoinError::Refused { address, source: Refusal::from_quic(&error) },
        None => JoinError::Answer("it is cut short".to_owned()),
    };
    let (mut send, mut recv) = connection.open_bi().await.map_err(|error| unreachable(&error))?;
    let question = [&token.id[..], &token.secret, request].concat();
    let length = u16::try_from(question.len()).map_err(|_| JoinError::Answer("request is too large".to_owned()))?;
    let asked = async {
        send.write_all(&length.to_be_bytes()).await?;
        send.write_all(&question).await
    };
    asked.await.map_err(|_| refused())?;
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.map_err(|_| refused())?;
    let size = u32::from_be_bytes(length) as usize;
    if size > ANSWER_BYTES_MAX {
        return Err(JoinError::Answer(format!("it has {size} bytes, more than {ANSWER_BYTES_MAX}")));
    }
    let mut answer = vec![0; size];
    recv.read_exact(&mut answer).await.map_err(|_| refused())?;
    connection.close(crate::Reason::Shutdown.code(), b"");
    endpoint.wait_idle().await;
    codec::decode(ANSWER_VERSION, &answer).map_err(|error| JoinError::Answer(error.to_string()))
}

fn hash(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

fn client(token: &Token) -> quinn::ClientConfig {
    let verifier = Arc::new(Pinned { authority: token.authority });
    let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    let config = QuicClientConfig::try_from(config).expect("the provider has the cipher that QUIC begins with");
    quinn::ClientConfig::new(Arc::new(config))
}

/// Accepts a core node whose certificate was signed by the authority with this hash, which is shown behind it.
#[derive(Debug)]
struct Pinned {
    authority: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let authority = intermediates.iter().find(|shown| hash(shown) == self.authority).ok_or_else(refused)?;
        let roots = tls::roots(&[authority.clone().into_owned()])?;
        tls::verify(end_entity, &[], &roots, now, tls::provider().signature_verification_algorithms)?;
        let leaf = Leaf::parse(end_entity).map_err(|_| refused())?;
        if leaf.identity.role == Role::Core { Ok(ServerCertVerified::assertion()) } else { Err(refused()) }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("tls 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = tls::provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
