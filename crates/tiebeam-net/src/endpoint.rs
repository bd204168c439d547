use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tiebeam_wire::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::handshake::{Candidate, Me};
use crate::hello::{End, Hello};
use crate::refusal::{Reason, Refusal};
use crate::{Config, Identity, quic, tls, transport};

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is in use, or not this machine's.
    #[error("udp address {address} can't be bound")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Peers would be told to dial an address that names no interface.
    #[error("address {0} can't be dialled by peers; say which address to advertise")]
    Advertise(SocketAddr),
    /// The certificate and the key don't belong together, or not to the authority.
    #[error("credentials can't be used")]
    Credentials(#[source] rustls::Error),
}

/// A node's one UDP socket, on which it dials and is dialled. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    quic: quic::Endpoint,
    client: quinn_proto::ClientConfig,
    me: Arc<Me>,
    handshakes: Arc<Semaphore>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("identity", &self.me.identity)
            .field("address", &self.me.hello.address)
            .finish()
    }
}

impl Endpoint {
    /// Binds the socket and listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]; nothing is left running.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        Self::bind_as(config, |_| {})
    }

    /// Binds with a hello that `disguise` may have changed; the tests play liars with it.
    pub(crate) fn bind_as(config: Config, disguise: impl FnOnce(&mut Hello)) -> Result<Self, BindError> {
        let transport = transport::config(&config);
        let mut server = quinn_proto::ServerConfig::with_crypto(Arc::new(
            tls::server(&config.credentials).map_err(BindError::Credentials)?,
        ));
        server.transport_config(Arc::clone(&transport)).max_incoming(config.handshakes_max).migration(false);
        let client = tls::client(&config.credentials).map_err(BindError::Credentials)?;
        let mut client = quinn_proto::ClientConfig::new(Arc::new(client));
        client.transport_config(transport);

        let socket_error = |source| BindError::Socket { address: config.listen, source };
        let socket = transport::socket(&config).map_err(socket_error)?;
        let bound = socket.local_addr().map_err(socket_error)?;
        let address = config.advertise.unwrap_or(bound);
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(BindError::Advertise(address));
        }
        let quic = quic::Endpoint::new(transport::endpoint(&config), server, socket);
        let handshakes = Arc::new(Semaphore::new(config.handshakes_max));
        let mut me = Me::new(config, address);
        disguise(&mut me.hello);
        Ok(Self { quic, client, me: Arc::new(me), handshakes })
    }

    /// Dials `address` and authenticates whoever answers; `expected`, if given, must be who it is.
    ///
    /// # Errors
    /// [`Refusal`] says which side refused and why; it was logged already.
    pub async fn dial(&self, address: SocketAddr, expected: Option<NodeId>) -> Result<Candidate, Refusal> {
        let attempt = async {
            // The name isn't looked at: see `tls`.
            let connection = self
                .quic
                .connect(self.client.clone(), address, "node.tiebeam")
                .map_err(|error| Refusal::local(Reason::Lost, format!("{address} can't be dialled: {error}")))?;
            connection.established().await.map_err(|error| Refusal::from_quic(&error))?;
            Candidate::authenticate(Arc::clone(&self.me), connection, End::Dialler, expected).await
        };
        finish(&self.me, address, attempt).await
    }

    /// Waits for a stranger who dials; none after the endpoint was closed. Cancel safe.
    ///
    /// Waits also while [`Config::handshakes_max`] strangers are in their handshakes.
    pub async fn accept(&self) -> Option<Stranger> {
        let permit = Arc::clone(&self.handshakes).acquire_owned().await.ok()?;
        let incoming = self.quic.accept().await?;
        Some(Stranger { me: Arc::clone(&self.me), incoming, permit })
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.me.identity
    }

    /// Where peers are told to dial this node.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.me.hello.address
    }

    /// Where the socket is bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// How many connections there are, those in their handshakes included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.quic.open_connections()
    }

    /// Writes what was queued on lanes ([`LaneSender::queue`](crate::LaneSender::queue)); costs little if there is nothing.
    #[inline]
    pub fn flush(&self) {
        self.quic.flush();
    }

    /// Takes in what has arrived, in this thread and without waiting: for a thread that has nothing else to do.
    #[must_use]
    pub fn poll(&self) -> Polled {
        self.quic.poll()
    }

    /// Closes all connections with [`Reason::Shutdown`] and takes no more.
    pub fn close(&self) {
        self.quic.close(Reason::Shutdown.code(), b"");
    }

    /// Waits until the peers of closed connections were told, or can't be.
    pub async fn idle(&self) {
        self.quic.wait_idle().await;
    }
}

/// What [`Endpoint::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Datagrams have arrived and were taken in.
    Arrived,
    /// None, but some have arrived a moment ago, so that looking again is cheaper than being woken.
    Hot,
    /// None.
    Quiet,
}

/// Somebody who dialled and isn't authenticated.
pub struct Stranger {
    me: Arc<Me>,
    incoming: quic::Incoming,
    permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stranger").field("address", &self.incoming.remote_address()).finish_non_exhaustive()
    }
}

impl Stranger {
    /// Authenticates it.
    ///
    /// # Errors
    /// [`Refusal`] says which side refused and why; it was logged already.
    pub async fn authenticate(self) -> Result<Candidate, Refusal> {
        let Self { me, incoming, permit } = self;
        let address = incoming.remote_address();
        let attempt = async {
            let connection = incoming.accept().map_err(|error| Refusal::from_quic(&error))?;
            connection.established().await.map_err(|error| Refusal::from_quic(&error))?;
            Candidate::authenticate(Arc::clone(&me), connection, End::Acceptor, None).await
        };
        let result = finish(&me, address, attempt).await;
        drop(permit);
        result
    }
}

/// Gives the handshake its time, and logs its failure once on this side.
async fn finish(
    me: &Me,
    address: SocketAddr,
    attempt: impl Future<Output = Result<Candidate, Refusal>>,
) -> Result<Candidate, Refusal> {
    let result = tiebeam_world::timeout(me.config.handshake_timeout, attempt).await.unwrap_or_else(|_| {
        let detail = format!("handshake took longer than {:?}", me.config.handshake_timeout);
        Err(Refusal::local(Reason::TooSlow, detail))
    });
    if let Err(refusal) = &result {
        refusal.log(me.identity.node, address);
    }
    result
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::{Incarnation, Role};

    use super::*;
    use crate::ca::Authority;
    use crate::{Cookie, Credentials};

    fn endpoint(authority: &Authority, node: u64, disguise: impl FnOnce(&mut Hello)) -> Endpoint {
        let identity = Identity {
            node: NodeId(node),
            name: format!("node-{node}"),
            role: Role::Edge,
            cluster: authority.cluster().to_owned(),
        };
        let issued = authority.issue(identity).unwrap();
        let credentials =
            Credentials::from_pem(authority.pem().as_bytes(), issued.certificate.as_bytes(), issued.key.as_bytes());
        let cookie = Cookie::new("a secret of the tests").unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        Endpoint::bind_as(Config::new(listen, Incarnation(1), credentials.unwrap(), cookie), disguise).unwrap()
    }

    /// A node with a good certificate that says it is another one is refused, and told why, whichever side dials.
    async fn liar_is_refused(disguise: impl Fn(&mut Hello), reason: Reason) {
        let authority = Authority::ephemeral("skies").unwrap();
        let (honest, liar) = (endpoint(&authority, 1, |_| {}), endpoint(&authority, 2, disguise));
        for (dialler, acceptor) in [(&liar, &honest), (&honest, &liar)] {
            let settle = async |candidate: Result<Candidate, Refusal>| candidate?.settle().await.map(drop);
            let dial = async { settle(dialler.dial(acceptor.address(), None).await).await };
            let accept = async { settle(acceptor.accept().await.unwrap().authenticate().await).await };
            let (dialled, accepted) = tokio::join!(dial, accept);
            let (dialled, accepted) = (dialled.unwrap_err(), accepted.unwrap_err());
            assert_eq!((dialled.reason, accepted.reason), (reason, reason), "{dialled} / {accepted}");
        }
    }

    #[tokio::test]
    async fn claim_that_the_certificate_does_not_cover_is_refused_on_both_sides() {
        liar_is_refused(|hello| hello.node = NodeId(3), Reason::NodeIdMismatch).await;
        liar_is_refused(|hello| hello.role = Role::Core, Reason::RoleForbids).await;
        liar_is_refused(|hello| hello.cluster = "seas".into(), Reason::WrongCluster).await;
    }

    #[tokio::test]
    async fn address_that_nobody_can_dial_is_not_advertised() {
        let authority = Authority::ephemeral("skies").unwrap();
        let mut config = endpoint(&authority, 1, |_| {}).me.config.clone();
        config.listen = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(Endpoint::bind(config), Err(BindError::Advertise(_))));
    }
}
