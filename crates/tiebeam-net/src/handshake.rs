//! From a TLS connection to a peer: certificate, hello, cookie, and the choice of one connection among several.

use std::fmt;
use std::sync::{Arc, Mutex};

use quinn_proto::crypto::rustls::HandshakeData;
use rustls_pki_types::CertificateDer;
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::Identity;
use crate::certificate::Leaf;
use crate::guard::Guard;
use crate::hello::{Binding, End, HELLO_BYTES_MAX, Hello};
use crate::me::{Me, Shown};
use crate::peer::Peer;
use crate::quic::{Connection, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use crate::refusal::{Reason, Refusal};
use crate::version::{Agreed, Layout};

/// The one who doesn't decide offers the connection with this byte, and so says that it holds no other.
const OFFER: u8 = 1;
/// The one who decides takes it with this byte; from here on streams are served.
const KEEP: u8 = 2;

/// A connection whose other side is authenticated, but which may be one of several to the same node.
///
/// Two nodes that dial each other at once make two connections. One node decides which of them is kept, so that both
/// keep the same: the one with the greater id, or the member if the other is an admin. The other node offers a
/// connection only while it holds none, and one at a time; so an offer also says that whatever the decider holds of the
/// same peer is dead.
pub struct Candidate {
    me: Arc<Me>,
    shown: Arc<Shown>,
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    end: End,
    met: Met,
}

/// What a handshake found out.
struct Met {
    leaf: Leaf,
    binding: Binding,
    hello: Hello,
    agreed: Agreed,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { met, end, .. } = self;
        f.debug_struct("Candidate")
            .field("identity", &met.leaf.identity)
            .field("incarnation", &met.hello.incarnation)
            .field("agreed", &met.agreed)
            .field("end", end)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// Checks the certificate, exchanges hellos and checks the peer's. `shown` is what TLS showed the peer.
    pub(crate) async fn authenticate(
        me: Arc<Me>,
        shown: Arc<Shown>,
        connection: Connection,
        end: End,
        expected: Option<NodeId>,
    ) -> Result<Self, Refusal> {
        // Outlives the refusal: a stream that is dropped ends, and the peer could hear of that before it hears why.
        let mut streams = None;
        let leaf = leaf_of(&connection).map_err(|refusal| refuse(&connection, refusal))?;
        let result = Self::exchange(&me, &shown, &connection, end, (&leaf, expected), &mut streams).await;
        let known = |refusal| refuse(&connection, refusal).with_peer(Some(&leaf.identity));
        let (binding, hello, agreed) = result.map_err(known)?;
        let (send, recv) = streams.expect("hellos were exchanged over them");
        Ok(Self { me, shown, connection, send, recv, end, met: Met { leaf, binding, hello, agreed } })
    }

    async fn exchange(
        me: &Me,
        shown: &Shown,
        connection: &Connection,
        end: End,
        (leaf, expected): (&Leaf, Option<NodeId>),
        streams: &mut Option<(SendStream, RecvStream)>,
    ) -> Result<(Binding, Hello, Agreed), Refusal> {
        check_certificate(me, leaf, expected)?;
        let layout = layout_of(connection)?;
        let binding = binding(me, connection, end, &leaf.identity)?;
        let opened = match end {
            End::Dialler => connection.open_bi().await,
            End::Acceptor => connection.accept_bi().await,
        };
        let (send, recv) = streams.insert(opened.map_err(|error| Refusal::from_quic(&error))?);
        let said = me.hello.encode((layout, me.speech), &binding, end, shown.cookies());
        let hear = async |recv: &mut RecvStream, from: End| -> Result<(Hello, Agreed), Refusal> {
            let message = read_hello(recv).await?;
            Hello::decode(&message, (layout, me.speech), &leaf.identity, &binding, from, shown.cookies())
        };
        let (hello, agreed) = match end {
            End::Dialler => {
                write(send, &said).await?;
                hear(recv, End::Acceptor).await?
            }
            End::Acceptor => {
                let heard = hear(recv, End::Dialler).await?;
                write(send, &said).await?;
                heard
            }
        };
        Ok((binding, hello, agreed))
    }

    /// Who the other side is, as its certificate says.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.met.leaf.identity
    }

    /// Which start of it.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.met.hello.incarnation
    }

    /// Says whether this node is the one that chooses among the connections of the pair.
    #[must_use]
    pub fn decides(&self) -> bool {
        match (self.me.identity.role, self.identity().role) {
            (Role::Admin, _) => false,
            (_, Role::Admin) => true,
            _ => self.me.identity.node > self.identity().node,
        }
    }

    /// Offers the connection to the peer, which decides, and waits for its choice.
    ///
    /// # Errors
    /// [`Refusal`]: the peer keeps another connection, or this one was lost.
    pub async fn offer(mut self) -> Result<Peer, Refusal> {
        assert!(!self.decides(), "the offer is the other's to make");
        let choice = async {
            write(&mut self.send, &[OFFER]).await?;
            read_byte(&mut self.recv, KEEP).await
        };
        let result = within(&self.me, choice).await.map_err(|refusal| self.refuse(refusal));
        result.map(|()| self.into_peer())
    }

    /// Waits for the peer's offer; only after it the connection can be kept.
    ///
    /// # Errors
    /// [`Refusal`]: the peer withdrew the connection, or it was lost.
    pub async fn offered(&mut self) -> Result<(), Refusal> {
        assert!(self.decides(), "the offer is this node's to make");
        let result = within(&self.me, read_byte(&mut self.recv, OFFER)).await;
        result.map_err(|refusal| self.refuse(refusal))
    }

    /// Keeps the connection as the one between the two nodes. Follows [`Candidate::offered`].
    ///
    /// # Errors
    /// [`Refusal`]: the connection was lost.
    pub async fn keep(mut self) -> Result<Peer, Refusal> {
        let result = within(&self.me, write(&mut self.send, &[KEEP])).await;
        result.map_err(|refusal| self.refuse(refusal)).map(|()| self.into_peer())
    }

    /// Refuses the connection, or withdraws it.
    pub fn reject(self, reason: Reason, detail: &str) -> Refusal {
        self.refuse(Refusal::local(reason, detail))
    }

    /// Offers or keeps, whichever is this node's part, without looking at other connections: for programs that have no
    /// other, such as an admin's.
    ///
    /// # Errors
    /// As [`Candidate::offer`] and [`Candidate::keep`].
    pub async fn settle(mut self) -> Result<Peer, Refusal> {
        if self.decides() {
            self.offered().await?;
            self.keep().await
        } else {
            self.offer().await
        }
    }

    fn refuse(&self, refusal: Refusal) -> Refusal {
        refuse(&self.connection, refusal).with_peer(Some(self.identity()))
    }

    fn into_peer(self) -> Peer {
        let Self { me, shown, connection, send, recv, end, met: Met { leaf, binding, hello, agreed } } = self;
        me.admitted(&leaf.identity);
        let peer = Arc::new(Mutex::new(leaf));
        let guard = Guard {
            ended: Arc::default(),
            me: Arc::clone(&me),
            connection: connection.clone(),
            send,
            recv,
            binding,
            end,
            agreed,
            shown,
            peer,
        };
        Peer::new(&me.config, connection, hello, guard)
    }
}

/// Tells the peer why and returns what is worth more: the peer's own reason, if it was first.
fn refuse(connection: &Connection, refusal: Refusal) -> Refusal {
    match connection.close_reason() {
        Some(error) => Refusal::from_quic(&error),
        None => {
            connection.close(refusal.reason.code(), refusal.detail.as_bytes());
            refusal
        }
    }
}

async fn within<T>(me: &Me, step: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tiebeam_world::timeout(me.config.handshake_timeout, step)
        .await
        .unwrap_or_else(|_| Err(Refusal::local(Reason::TooSlow, "peer didn't choose a connection in time")))
}

fn leaf_of(connection: &Connection) -> Result<Leaf, Refusal> {
    let nameless = |detail: String| Refusal::local(Reason::NamelessCertificate, detail);
    let chain = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.and_then(|chain| chain.into_iter().next());
    let leaf = leaf.ok_or_else(|| nameless("peer showed no certificate".to_owned()))?;
    Leaf::parse(&leaf).map_err(|error| nameless(error.to_string()))
}

fn layout_of(connection: &Connection) -> Result<Layout, Refusal> {
    let data = connection.handshake_data().and_then(|any| any.downcast::<HandshakeData>().ok());
    let layout = data.and_then(|data| Layout::from_alpn(&data.protocol?));
    layout.ok_or_else(|| Refusal::local(Reason::VersionMismatch, "no application protocol was agreed on"))
}

fn check_certificate(me: &Me, leaf: &Leaf, expected: Option<NodeId>) -> Result<(), Refusal> {
    let peer = &leaf.identity;
    if peer.cluster != me.identity.cluster {
        let detail = format!("{peer} is not of cluster {:?}", me.identity.cluster);
        return Err(Refusal::local(Reason::WrongCluster, detail));
    }
    if let Some(detail) = me.denied.borrow().denies(leaf) {
        return Err(Refusal::local(Reason::Revoked, detail));
    }
    if let Some(expected) = expected.filter(|expected| *expected != peer.node) {
        let detail = format!("dialled {expected}, the certificate names {}", peer.node);
        return Err(Refusal::local(Reason::NodeIdMismatch, detail));
    }
    if peer.node == me.identity.node {
        return Err(Refusal::local(Reason::Oneself, format!("{peer} answered itself")));
    }
    if peer.role == Role::Admin && me.identity.role == Role::Admin {
        return Err(Refusal::local(Reason::RoleForbids, "two admins have nothing to say to each other"));
    }
    Ok(())
}

fn binding(me: &Me, connection: &Connection, end: End, peer: &Identity) -> Result<Binding, Refusal> {
    let mut exporter = [0; 32];
    if !connection.export_keying_material(&mut exporter, b"EXPORTER-Channel-Binding", b"") {
        return Err(Refusal::local(Reason::Protocol, "no keying material to bind to"));
    }
    let (dialler, acceptor) = match end {
        End::Dialler => (me.identity.node, peer.node),
        End::Acceptor => (peer.node, me.identity.node),
    };
    Ok(Binding { dialler, acceptor, exporter })
}

async fn read_hello(recv: &mut RecvStream) -> Result<Vec<u8>, Refusal> {
    let mut length = [0; 2];
    recv.read_exact(&mut length).await.map_err(|error| unread(&error))?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > HELLO_BYTES_MAX {
        let detail = format!("hello has {length} bytes, more than {HELLO_BYTES_MAX}");
        return Err(Refusal::local(Reason::Protocol, detail));
    }
    let mut message = vec![0; length];
    recv.read_exact(&mut message).await.map_err(|error| unread(&error))?;
    Ok(message)
}

async fn read_byte(recv: &mut RecvStream, expected: u8) -> Result<(), Refusal> {
    let mut byte = [0];
    recv.read_exact(&mut byte).await.map_err(|error| unread(&error))?;
    if byte[0] == expected {
        Ok(())
    } else {
        Err(Refusal::local(Reason::Protocol, format!("handshake has byte {} in place of {expected}", byte[0])))
    }
}

async fn write(send: &mut SendStream, bytes: &[u8]) -> Result<(), Refusal> {
    send.write_all(bytes).await.map_err(|error| match error {
        WriteError::ConnectionLost(error) => Refusal::from_quic(&error),
        error => Refusal::local(Reason::Protocol, format!("handshake stream: {error}")),
    })
}

fn unread(error: &ReadExactError) -> Refusal {
    match error {
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => Refusal::from_quic(error),
        error => Refusal::local(Reason::Protocol, format!("handshake stream: {error}")),
    }
}
