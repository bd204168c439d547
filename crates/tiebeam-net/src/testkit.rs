//! Doors for tests and fuzz targets: what an attacker would write himself, and every decoder.

use std::net::SocketAddr;

use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::hello::{Binding, End, Hello};
use crate::version::{Layout, Speech, Versions};
use crate::{Cookie, Credentials, Denied, DenyList, Identity, tls};

/// What a node with `credentials` dials with.
///
/// # Panics
/// If the credentials can't be used.
#[must_use]
pub fn client(credentials: &Credentials) -> quinn::ClientConfig {
    let config = tls::client(credentials, Versions::OURS).expect("the test's credentials can be used");
    quinn::ClientConfig::new(std::sync::Arc::new(config))
}

/// What a node with `credentials` is dialled with.
///
/// # Panics
/// If the credentials can't be used.
#[must_use]
pub fn server(credentials: &Credentials) -> quinn::ServerConfig {
    let config = tls::server(credentials, Versions::OURS).expect("the test's credentials can be used");
    quinn::ServerConfig::with_crypto(std::sync::Arc::new(config))
}

/// The hello of a node with `credentials`, which has dialled `acceptor` by `connection`.
///
/// # Panics
/// If TLS gives no keying material.
#[must_use]
pub fn hello(connection: &quinn::Connection, credentials: &Credentials, cookie: &Cookie, acceptor: NodeId) -> Vec<u8> {
    let mut exporter = [0; 32];
    let exported = connection.export_keying_material(&mut exporter, b"EXPORTER-Channel-Binding", b"");
    exported.expect("the handshake of TLS is over");
    let identity = credentials.identity();
    let hello = Hello {
        node: identity.node,
        role: identity.role,
        incarnation: Incarnation(1),
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        cluster: identity.cluster.clone(),
    };
    let binding = Binding { dialler: identity.node, acceptor, exporter };
    hello.encode((Layout::Range, Speech::OURS), &binding, End::Dialler, [cookie])
}

/// A list that denies `nodes`.
///
/// # Panics
/// If they are too many.
#[must_use]
pub fn deny(nodes: impl IntoIterator<Item = NodeId>) -> DenyList {
    let mut list = DenyList::default();
    nodes.into_iter().for_each(|node| list.insert(Denied::Node(node)).expect("a test denies few"));
    list
}

/// Decodes `bytes` as the message of a hello behind its length, in both layouts.
pub fn decode_hello(bytes: &[u8]) {
    let certificate = Identity { node: NodeId(2), name: "bob".into(), role: Role::Edge, cluster: "skies".into() };
    let cookie = Cookie::new(*b"sixteen bytes at least").expect("it has as many");
    for layout in [Layout::One, Layout::Range] {
        let _ = Hello::decode(bytes, (layout, Speech::OURS), &certificate, &binding(), End::Dialler, [&cookie]);
    }
}

/// Cuts `bytes` into frames, chunk by chunk; the first byte says how large a chunk is.
pub fn read_frames(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    crate::peer::read_frames(bytes.chunks(usize::from(*size).max(1)));
}

/// Reads `bytes` as messages on the stream of the handshake, each as a renewal.
pub fn read_renewals(bytes: &[u8], credentials: &Credentials) {
    let mut bytes = bytes::BytesMut::from(bytes);
    while let Ok(Some(message)) = crate::guard::take_message(&mut bytes) {
        let _ = crate::guard::read_renewal(&message, &credentials.authorities, &binding(), End::Dialler);
    }
}

/// Reads `bytes` as a node's certificate in DER.
pub fn parse_certificate(bytes: &[u8]) {
    let _ = crate::certificate::Leaf::parse(bytes);
}

/// Decodes `bytes` as each thing that a newcomer or its desk reads.
pub fn decode_join(bytes: &[u8]) {
    crate::join::decode(bytes);
}

fn binding() -> Binding {
    Binding { dialler: NodeId(2), acceptor: NodeId(1), exporter: [7; 32] }
}
