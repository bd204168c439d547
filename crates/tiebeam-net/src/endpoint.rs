mod door;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tiebeam_wire::NodeId;

use self::door::{Door, Knock, Place};
use crate::handshake::Candidate;
use crate::hello::{End, Hello};
use crate::me::{Me, Shown};
use crate::refusal::{Reason, Refusal};
use crate::relay::{self, Beside, Relayed};
use crate::version::Speech;
use crate::{Config, Cookie, Credentials, Denied, DenyList, DenyListFull, Identity, Serial, quic, transport};

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

/// Why a node keeps its old certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// The new certificate names somebody else: a node doesn't become another one while it runs.
    #[error("new certificate is for {new}, this node is {node}")]
    Identity {
        /// Whom the new certificate names.
        new: Box<Identity>,
        /// Who this node is.
        node: Box<Identity>,
    },
    /// The new certificate isn't good now; peers would refuse it.
    #[error("new certificate {serial} is past its end or not good yet")]
    Expired {
        /// Its number.
        serial: Serial,
    },
    /// The certificate and the key don't belong together, or not to the authority.
    #[error("credentials can't be used")]
    Credentials(#[source] rustls::Error),
}

/// A node's one UDP socket, on which it dials and is dialled. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    quic: quic::Endpoint,
    transport: Arc<quinn_proto::TransportConfig>,
    relayed: Arc<Relayed>,
    me: Arc<Me>,
    door: Arc<Door>,
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
        Self::bind_as(config, Speech::OURS, |_| {})
    }

    /// Binds with other versions than this build's and a hello that `disguise` may have changed; the tests play older
    /// nodes, later nodes and liars with it.
    pub(crate) fn bind_as(
        config: Config,
        speech: Speech,
        disguise: impl FnOnce(&mut Hello),
    ) -> Result<Self, BindError> {
        let transport = transport::config(&config);
        let cookies = (config.cookie.clone(), config.cookie_previous.clone());
        let shown = Shown::new(&config, config.credentials.clone(), cookies, speech, &transport);
        let shown = shown.map_err(BindError::Credentials)?;

        let socket_error = |source| BindError::Socket { address: config.listen, source };
        let socket = transport::socket(&config).map_err(socket_error)?;
        let bound = socket.local_addr().map_err(socket_error)?;
        let address = config.advertise.unwrap_or(bound);
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(BindError::Advertise(address));
        }
        let relayed = Relayed::new();
        let socket = Arc::new(Beside::new(socket, Arc::clone(&relayed)));
        let settings = transport::endpoint(&config);
        let silence_max = config.idle_timeout.saturating_add(config.keep_alive_interval);
        let quic = quic::Endpoint::new(settings, Arc::clone(&shown.server), socket, silence_max);
        let door = Arc::new(Door::new(config.handshakes_max));
        let mut me = Me::new(config, address, shown, speech);
        disguise(&mut me.hello);
        Ok(Self { quic, transport, relayed, me: Arc::new(me), door })
    }

    /// Shows `credentials` and trusts their authorities from now on, without a restart.
    ///
    /// New handshakes use them. Connections live on: a peer that can ([`Features::RENEWAL`](crate::Features::RENEWAL))
    /// is shown the new certificate over the connection in use, any other one is dialled anew near the old one's end.
    ///
    /// # Errors
    /// [`RotateError`]; nothing has changed then.
    pub fn rotate(&self, credentials: Credentials) -> Result<(), RotateError> {
        let me = &*self.me;
        if *credentials.identity() != me.identity {
            let (new, node) = (Box::new(credentials.identity().clone()), Box::new(me.identity.clone()));
            return Err(RotateError::Identity { new, node });
        }
        if !credentials.validity().contains(tiebeam_world::wall_clock_ms()) {
            return Err(RotateError::Expired { serial: credentials.serial().clone() });
        }
        if credentials.is_same(&me.shown().credentials) {
            return Ok(());
        }
        let serial = credentials.serial().clone();
        self.show(|old| (credentials, (old.cookie.clone(), old.cookie_previous.clone())))?;
        tracing::info!(node = %me.identity.node, %serial, "shows a new certificate");
        Ok(())
    }

    /// Proves and demands these cookies from now on, the current one and the one before. Connections live on.
    ///
    /// # Errors
    /// None that the credentials in use haven't shown before.
    pub fn set_cookies(&self, current: Cookie, previous: Option<Cookie>) -> Result<(), RotateError> {
        self.show(|old| (old.credentials.clone(), (current, previous)))
    }

    fn show(&self, change: impl FnOnce(&Shown) -> (Credentials, (Cookie, Option<Cookie>))) -> Result<(), RotateError> {
        let me = &*self.me;
        let mut result = Ok(());
        // Within the lock of the value, so that of two changes at once neither undoes the other.
        me.current.send_if_modified(|current| {
            let (credentials, cookies) = change(current);
            match Shown::new(&me.config, credentials, cookies, me.speech, &self.transport) {
                Ok(shown) => *current = Arc::new(shown),
                Err(error) => result = Err(RotateError::Credentials(error)),
            }
            result.is_ok()
        });
        result
    }

    /// Denies a node or a certificate from now on: its connections are closed with [`Reason::Revoked`], and it is let in
    /// no more, nor dialled with success.
    ///
    /// # Errors
    /// [`DenyListFull`]; nothing has changed then.
    pub fn revoke(&self, denied: Denied) -> Result<(), DenyListFull> {
        let mut list = DenyList::clone(&self.me.denied.borrow());
        list.insert(denied)?;
        self.deny(list);
        Ok(())
    }

    /// Denies everybody in `list` and nobody else from now on.
    pub fn deny(&self, list: DenyList) {
        self.me.denied.send_replace(Arc::new(list));
    }

    /// Dials `address` and authenticates whoever answers; `expected`, if given, must be who it is.
    ///
    /// # Errors
    /// [`Refusal`] says which side refused and why; it was logged already.
    pub async fn dial(&self, address: SocketAddr, expected: Option<NodeId>) -> Result<Candidate, Refusal> {
        let attempt = async {
            let shown = self.me.shown();
            // The name isn't looked at: see `tls`.
            let connection = self
                .quic
                .connect(shown.client.clone(), address, "node.tiebeam")
                .map_err(|error| Refusal::local(Reason::Lost, format!("{address} can't be dialled: {error}")))?;
            connection.established().await.map_err(|error| Refusal::from_quic(&error))?;
            Candidate::authenticate(Arc::clone(&self.me), shown, connection, End::Dialler, expected).await
        };
        let result = within(&self.me, attempt).await;
        result.inspect_err(|refusal| self.me.log(refusal, address, true))
    }

    /// As [`Endpoint::dial`], by way of whoever carries datagrams to `node` ([`Endpoint::next_relayed`]).
    ///
    /// # Errors
    /// As [`Endpoint::dial`].
    pub async fn dial_relayed(&self, node: NodeId) -> Result<Candidate, Refusal> {
        self.dial(relay::address(node), Some(node)).await
    }

    /// Waits for a datagram that somebody is to carry, and says to which node. It may be lost, doubled or late, as over UDP.
    /// More than 1,024 don't wait. For one waiter; cancel safe.
    pub async fn next_relayed(&self) -> (NodeId, Bytes) {
        self.relayed.next().await
    }

    /// Takes in a datagram of `from` that somebody has carried. Whoever carries it is trusted in no way.
    pub fn take_in_relayed(&self, from: NodeId, datagram: Bytes) {
        self.relayed.put(from, datagram);
    }

    /// Waits for a stranger who dials; none after the endpoint was closed. Cancel safe.
    ///
    /// Waits also while [`Config::handshakes_max`] strangers are in their handshakes.
    pub async fn accept(&self) -> Option<Stranger> {
        loop {
            let place = self.door.wait().await?;
            let incoming = self.quic.accept().await?;
            let address = incoming.remote_address();
            match self.door.knock(place, address.ip(), incoming.remote_address_validated()) {
                Knock::Enter(place) => return Some(Stranger { me: Arc::clone(&self.me), incoming, place }),
                Knock::ShowAddress => incoming.retry(),
                // An honest one asks again with its next packet.
                Knock::Wait => incoming.ignore(),
            }
        }
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

    pub(crate) fn me(&self) -> Arc<Me> {
        Arc::clone(&self.me)
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

    /// Takes in what has arrived, in this thread and without waiting: for a thread that has much to do, now and then.
    /// [`Endpoint::flush`] is to follow soon: what there is to say to it waits for that.
    pub fn look(&self) {
        self.quic.look();
    }

    /// Takes in what has arrived, in this thread and without waiting, if something is likely to have: for a thread that has
    /// nothing else to do. [`Endpoint::flush`] is to follow as after [`Endpoint::look`].
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
    place: Place,
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
        let Self { me, incoming, place } = self;
        let address = incoming.remote_address();
        let shown = me.shown();
        let attempt = async {
            let connection = incoming.accept(&shown.server).map_err(|error| Refusal::from_quic(&error))?;
            connection.established().await.map_err(|error| Refusal::from_quic(&error))?;
            Candidate::authenticate(Arc::clone(&me), Arc::clone(&shown), connection, End::Acceptor, None).await
        };
        let result = within(&me, attempt).await;
        drop(place);
        result.inspect_err(|refusal| me.log(refusal, address, false))
    }
}

/// Gives the handshake its time.
async fn within(me: &Me, attempt: impl Future<Output = Result<Candidate, Refusal>>) -> Result<Candidate, Refusal> {
    tiebeam_world::timeout(me.config.handshake_timeout, attempt).await.unwrap_or_else(|_| {
        let detail = format!("handshake took longer than {:?}", me.config.handshake_timeout);
        Err(Refusal::local(Reason::TooSlow, detail))
    })
}

#[cfg(test)]
mod tests;
