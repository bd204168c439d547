use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Incoming, TransportConfig, VarInt};
use rustls_pki_types::CertificateDer;
use tiebeam_wire::codec;
use tokio::sync::Semaphore;

use super::{ALPN, ANSWER_VERSION, Answer, QUESTION_BYTES_MAX, Tokens};
use crate::ca::{Authority, valid_for};
use crate::endpoint::BindError;
use crate::me::Me;
use crate::refusal::{Reason, Refusal};
use crate::{Endpoint, tls, transport};

/// Newcomers at the desk at once; more wait with their packets.
const NEWCOMERS_MAX: usize = 8;
/// From a newcomer's first packet until it has its certificate.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What a desk needs to let somebody in.
pub struct Office {
    /// Signs.
    pub authority: Authority,
    /// Those that it made.
    pub tokens: Tokens,
    /// How long a newcomer's certificate is good.
    pub lifetime: Duration,
    /// Returns what a newcomer must know beside its certificate; asked each time.
    pub settings: Box<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// Where newcomers ask for a certificate: a UDP socket of its own, where nodes are not spoken to.
#[derive(Debug)]
pub struct Desk {
    quinn: quinn::Endpoint,
    me: Arc<Me>,
    office: Arc<Office>,
    places: Arc<Semaphore>,
}

impl Endpoint {
    /// Opens a desk at `listen`; it answers once [`Desk::run`] does. It always shows the endpoint's present certificate.
    ///
    /// # Errors
    /// [`BindError`]; nothing is left open.
    pub fn open_desk(&self, listen: SocketAddr, office: Office) -> Result<Desk, BindError> {
        let me = self.me();
        let server = server(&me, &office.authority).map_err(BindError::Credentials)?;
        let socket_error = |source| BindError::Socket { address: listen, source };
        // A newcomer sends a few kilobytes: the system's own buffers do.
        let socket = transport::bind(listen, 0).map_err(socket_error)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let quinn = quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(server), socket, runtime);
        let places = Arc::new(Semaphore::new(NEWCOMERS_MAX));
        Ok(Desk { quinn: quinn.map_err(socket_error)?, me, office: Arc::new(office), places })
    }
}

impl Desk {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// Lets in whoever has a token, for ever.
    pub async fn run(self) {
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            let Some(incoming) = self.quinn.accept().await else { return };
            // Newcomers are few, so one more turn costs nobody anything, and made-up addresses cost nothing at all.
            if !incoming.remote_address_validated() {
                // Fails only if the address was shown already.
                drop(incoming.retry());
                continue;
            }
            let (me, office) = (Arc::clone(&self.me), Arc::clone(&self.office));
            drop(tiebeam_world::spawn("net.desk", async move {
                let address = incoming.remote_address();
                let served = tiebeam_world::timeout(TIME_MAX, serve(&me, &office, incoming)).await;
                let slow = || Err(Refusal::local(Reason::TooSlow, format!("newcomer took longer than {TIME_MAX:?}")));
                if let Err(refusal) = served.unwrap_or_else(|_| slow()) {
                    me.log(&refusal, address, false);
                }
                drop(place);
            }));
        }
    }
}

async fn serve(me: &Me, office: &Office, incoming: Incoming) -> Result<(), Refusal> {
    let address = incoming.remote_address();
    let server = server(me, &office.authority).map_err(|error| Refusal::local(Reason::Protocol, error.to_string()))?;
    let connecting = incoming.accept_with(Arc::new(server)).map_err(|error| Refusal::from_quic(&error))?;
    let connection = connecting.await.map_err(|error| Refusal::from_quic(&error))?;
    let result = talk(office, &connection, address).await;
    if let Err(refusal) = &result {
        // A stranger isn't told whether the token is unknown, used, expired or wrong.
        connection.close(refusal.reason.code(), refusal.reason.to_string().as_bytes());
    }
    result
}

async fn talk(office: &Office, connection: &Connection, address: SocketAddr) -> Result<(), Refusal> {
    let protocol = |detail: &str| Refusal::local(Reason::Protocol, detail);
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|error| Refusal::from_quic(&error))?;
    let mut length = [0; 2];
    recv.read_exact(&mut length).await.map_err(|_| protocol("question is cut short"))?;
    let size = usize::from(u16::from_be_bytes(length));
    if size > QUESTION_BYTES_MAX {
        return Err(protocol("question is too large"));
    }
    let mut question = vec![0; size];
    recv.read_exact(&mut question).await.map_err(|_| protocol("question is cut short"))?;
    let (id, secret, request) = split(&question).ok_or_else(|| protocol("question is cut short"))?;
    let identity = office.tokens.spend(id, secret);
    let identity = identity.map_err(|error| Refusal::local(Reason::BadToken, error.to_string()))?;
    let certificate = office.authority.sign(identity.clone(), request, valid_for(office.lifetime));
    let certificate = certificate.map_err(|error| Refusal::local(Reason::BadToken, format!("{identity}: {error}")))?;
    let authority = office.authority.pem().to_owned();
    let answer = Answer { certificate, authority, settings: (office.settings)() };
    let answer = codec::encode(ANSWER_VERSION, &answer);
    let length = u32::try_from(answer.len()).map_err(|_| protocol("answer is too large"))?;
    let sent = async {
        send.write_all(&length.to_be_bytes()).await?;
        send.write_all(&answer).await
    };
    sent.await.map_err(|_| Refusal::local(Reason::Lost, format!("{identity} went away with its token spent")))?;
    let _ = send.finish();
    tracing::info!(peer = %identity, %address, "let a newcomer in: token spent, certificate issued");
    // The newcomer closes when it has read all.
    connection.closed().await;
    Ok(())
}

/// Splits a question into the token's id, its secret and the request to sign, which isn't looked at.
pub(super) fn split(question: &[u8]) -> Option<([u8; 8], [u8; 16], &[u8])> {
    let (id, rest) = question.split_first_chunk()?;
    let (secret, request) = rest.split_first_chunk()?;
    Some((*id, *secret, request))
}

/// Shows the node's certificate and the authority's behind it, and asks for none.
fn server(me: &Me, authority: &Authority) -> Result<quinn::ServerConfig, rustls::Error> {
    let shown = me.shown();
    let chain = vec![shown.credentials.certificate.clone(), CertificateDer::from(authority.der())];
    let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, shown.credentials.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    let config = QuicServerConfig::try_from(config).map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(config));
    let mut transport = TransportConfig::default();
    // One question fits, and nothing else.
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(4096))
        .receive_window(VarInt::from_u32(4096))
        .datagram_receive_buffer_size(None);
    server.transport_config(Arc::new(transport)).max_incoming(NEWCOMERS_MAX).migration(false);
    Ok(server)
}
