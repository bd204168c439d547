//! What a node is, says and demands in its handshakes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::hello::Hello;
use crate::refusal::Refusal;
use crate::refusal_log::{RefusalLog, Who};
use crate::version::Speech;
use crate::{Config, Cookie, Credentials, DenyList, Identity, tls};

#[derive(Debug)]
pub(crate) struct Me {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) hello: Hello,
    pub(crate) speech: Speech,
    /// Replaced as a whole; a handshake takes it once, and stays with what it took.
    pub(crate) current: watch::Sender<Arc<Shown>>,
    pub(crate) denied: watch::Sender<Arc<DenyList>>,
    refusals: Mutex<RefusalLog>,
}

/// What a node shows and believes in its handshakes.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) credentials: Credentials,
    pub(crate) cookie: Cookie,
    pub(crate) cookie_previous: Option<Cookie>,
    pub(crate) server: Arc<quinn_proto::ServerConfig>,
    pub(crate) client: quinn_proto::ClientConfig,
}

impl Shown {
    pub(crate) fn new(
        config: &Config,
        credentials: Credentials,
        cookies: (Cookie, Option<Cookie>),
        speech: Speech,
        transport: &Arc<quinn_proto::TransportConfig>,
    ) -> Result<Self, rustls::Error> {
        let mut server = quinn_proto::ServerConfig::with_crypto(Arc::new(tls::server(&credentials, speech.versions)?));
        server.transport_config(Arc::clone(transport)).max_incoming(config.handshakes_max).migration(false);
        let mut client = quinn_proto::ClientConfig::new(Arc::new(tls::client(&credentials, speech.versions)?));
        client.transport_config(Arc::clone(transport));
        let (cookie, cookie_previous) = cookies;
        Ok(Self { credentials, cookie, cookie_previous, server: Arc::new(server), client })
    }

    pub(crate) fn cookies(&self) -> impl Iterator<Item = &Cookie> {
        std::iter::once(&self.cookie).chain(&self.cookie_previous)
    }
}

impl Me {
    pub(crate) fn new(config: Config, address: SocketAddr, shown: Shown, speech: Speech) -> Self {
        let identity = config.credentials.identity().clone();
        let hello = Hello {
            node: identity.node,
            role: identity.role,
            incarnation: config.incarnation,
            address,
            cluster: identity.cluster.clone(),
        };
        let denied = watch::Sender::new(Arc::new(config.denied.clone()));
        let current = watch::Sender::new(Arc::new(shown));
        Self { config, identity, hello, speech, current, denied, refusals: Mutex::new(RefusalLog::new()) }
    }

    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.current.borrow())
    }

    /// Writes a refusal down, unless it was written down before and is only repeated.
    pub(crate) fn log(&self, refusal: &Refusal, address: SocketAddr, dialled: bool) {
        let who = match &refusal.peer {
            Some(peer) => Who::Node(peer.node),
            None if dialled => Who::Dialled(address),
            None => Who::Stranger(SocketAddr::new(address.ip(), 0)),
        };
        // What isn't for people goes to a level that they don't read, and needs no thrift.
        let line = match refusal.is_quiet() {
            true => Some(crate::refusal_log::Line { repeated: 0, others: 0 }),
            false => self.refusals().refused(tiebeam_world::now(), who, refusal.reason),
        };
        if let Some(line) = line {
            refusal.log(self.identity.node, address, line);
        }
    }

    /// Notes that a node was let in, so that its next refusal is news.
    pub(crate) fn admitted(&self, peer: &Identity) {
        self.refusals().admitted(peer.node);
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, RefusalLog> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
