//! Watches over a connection for as long as it is in use: it must not outlive a certificate of either side, and a
//! revoked peer's is closed at once.
//!
//! A node whose certificate was replaced says so to each peer on the stream of the handshake, which stays open for that:
//! it shows the new certificate with a signature by its key over this connection's own exported key material, as
//! exported authenticators do (RFC 9261). The connection then lives on until the new certificate's end; nothing that
//! runs over it notices. A peer that doesn't know of this ([`Features::RENEWAL`]) is dialled anew, near the old
//! certificate's end.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use tiebeam_wire::Instant;

use crate::certificate::Leaf;
use crate::hello::{Binding, End};
use crate::me::{Me, Shown};
use crate::peer::close;
use crate::quic::{Connection, RecvStream, SendStream};
use crate::refusal::{Reason, Refusal};
use crate::version::{Agreed, Features};
use crate::{Credentials, tls};

/// Kind of the one message that is known: a new certificate.
const RENEW: u8 = 1;
/// Largest message behind its length, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// In front of what is signed, so that the signature means nothing elsewhere.
const LABEL: &[u8] = b"tiebeam-renewal-v1";
/// Connections that can't be renewed in place end at different moments within this time before their certificate's end,
/// but in its last twentieth: a node that loses all its peers at once would dial all of them at once.
const SPREAD: Duration = Duration::from_secs(300);

pub(crate) struct Guard {
    pub(crate) me: Arc<Me>,
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    pub(crate) binding: Binding,
    pub(crate) end: End,
    pub(crate) agreed: Agreed,
    /// What this node last showed on this connection.
    pub(crate) shown: Arc<Shown>,
    /// What the peer last showed.
    pub(crate) peer: Arc<Mutex<Leaf>>,
    /// Why this node closed the connection, if it did.
    pub(crate) ended: Arc<OnceLock<Refusal>>,
}

impl Guard {
    /// Ends with the connection.
    pub(crate) async fn run(mut self) {
        let mut denied = self.me.denied.subscribe();
        let mut current = self.me.current.subscribe();
        // Whatever was replaced or revoked between the handshake and now counts as news.
        denied.mark_changed();
        current.mark_changed();
        let mut inbox = Some(BytesMut::new());
        let mut theirs = self.leaf().validity.end();
        let mut ours = self.shown.credentials.leaf.validity.end();
        loop {
            tokio::select! {
                _ = self.connection.closed() => return,
                () = tiebeam_world::sleep_until(theirs) => return self.expired("certificate of the peer", &self.leaf()),
                () = tiebeam_world::sleep_until(ours) => {
                    return self.expired("certificate that the peer knows", &self.shown.credentials.leaf);
                }
                // The sender lives as long as `self`.
                _ = denied.changed() => {
                    let refused = denied.borrow_and_update().denies(&self.leaf());
                    if let Some(detail) = refused {
                        return self.close(Reason::Revoked, &detail);
                    }
                }
                _ = current.changed() => {
                    let latest = Arc::clone(&current.borrow_and_update());
                    match self.show(latest, ours).await {
                        Some(end) => ours = end,
                        None => return self.close(Reason::TooSlow, "peer doesn't take a new certificate"),
                    }
                }
                message = next(&mut self.recv, &mut inbox) => match message {
                    Ok(message) => match self.renewed(&message) {
                        Ok(end) => {
                            theirs = end;
                            denied.mark_changed();
                        }
                        Err(detail) => return self.close(Reason::Protocol, &detail),
                    },
                    Err(detail) => return self.close(Reason::Protocol, &detail),
                },
            }
        }
    }

    /// Tells the peer of a new certificate; returns when the connection ends if nothing else happens, or nothing if the
    /// peer doesn't let itself be told: to wait for it would be to watch over nothing else meanwhile.
    async fn show(&mut self, latest: Arc<Shown>, ours: Instant) -> Option<Instant> {
        let leaf = &latest.credentials.leaf;
        if *leaf == self.shown.credentials.leaf {
            return Some(ours);
        }
        if !self.agreed.features.contains(Features::RENEWAL) {
            let left = ours.since(tiebeam_world::now());
            let spread = SPREAD.min(left / 20);
            let early = spread.mul_f64(f64::from(u32::try_from(tiebeam_world::random() >> 32).unwrap_or(0)) / 4.3e9);
            return Some(tiebeam_world::now() + left.saturating_sub(early));
        }
        let message = match renewal(&latest.credentials, &self.binding, self.end) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(peer = %self.leaf().identity, %error, "new certificate can't be shown");
                return Some(ours);
            }
        };
        let written = tiebeam_world::timeout(self.me.config.handshake_timeout, self.send.write_all(&message)).await;
        match written {
            Ok(Ok(())) => {
                let end = leaf.validity.end();
                self.shown = latest;
                Some(end)
            }
            // The connection has ended, or the peer has ended the stream; then the old certificate counts.
            Ok(Err(_)) => Some(ours),
            Err(_) => None,
        }
    }

    /// Takes a message of the peer; returns when its new certificate ends.
    fn renewed(&self, message: &[u8]) -> Result<Instant, String> {
        let leaf = self.leaf();
        let authorities = &self.me.current.borrow().credentials.authorities;
        let other = match self.end {
            End::Dialler => End::Acceptor,
            End::Acceptor => End::Dialler,
        };
        let new = read_renewal(message, authorities, &self.binding, other)?;
        if new.identity != leaf.identity {
            return Err(format!("{} renews with a certificate of {}", leaf.identity, new.identity));
        }
        tracing::info!(peer = %new.identity, serial = %new.serial, "peer has a new certificate");
        let end = new.validity.end();
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(end)
    }

    fn leaf(&self) -> Leaf {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn expired(&self, whose: &str, leaf: &Leaf) {
        self.close(Reason::Expired, &format!("{whose} has expired: {} of {}", leaf.serial, leaf.identity));
    }

    fn close(&self, reason: Reason, detail: &str) {
        tracing::warn!(peer = %self.leaf().identity, %reason, detail, "closed the connection to a peer");
        close(&self.connection, &self.ended, reason, detail);
    }
}

/// Waits for the next message. Cancel safe: what has arrived of it is in `inbox`, which is none once the peer has ended
/// the stream, as old ones do.
async fn next(recv: &mut RecvStream, inbox: &mut Option<BytesMut>) -> Result<Vec<u8>, String> {
    loop {
        let Some(bytes) = inbox else { return std::future::pending().await };
        if let Some(message) = take_message(bytes)? {
            return Ok(message);
        }
        match recv.read_chunk(MESSAGE_BYTES_MAX).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => *inbox = None,
        }
    }
}

/// Cuts the next message, `[length u16][body]`, off `bytes`, if it is whole.
pub(crate) fn take_message(bytes: &mut BytesMut) -> Result<Option<Vec<u8>>, String> {
    let Some(length) = bytes.first_chunk::<2>() else { return Ok(None) };
    let size = usize::from(u16::from_be_bytes(*length));
    if size > MESSAGE_BYTES_MAX {
        return Err(format!("message has {size} bytes, more than {MESSAGE_BYTES_MAX}"));
    }
    if bytes.len() < 2 + size {
        return Ok(None);
    }
    bytes.advance(2);
    Ok(Some(bytes.split_to(size).to_vec()))
}

/// `[length u16][1][scheme u16][signature length u16][signature][certificate]`.
fn renewal(credentials: &Credentials, binding: &Binding, end: End) -> Result<Vec<u8>, rustls::Error> {
    let key = rustls::crypto::ring::sign::any_supported_type(&credentials.key)?;
    let schemes = tls::provider().signature_verification_algorithms.supported_schemes();
    let signer = key.choose_scheme(&schemes).ok_or_else(|| rustls::Error::General("key signs nothing".to_owned()))?;
    let signature = signer.sign(&signed(&credentials.certificate, binding, end))?;
    let too_large = |_| rustls::Error::General("certificate is too large to be shown again".to_owned());
    let mut body = vec![RENEW];
    body.extend(u16::from(signer.scheme()).to_be_bytes());
    body.extend(u16::try_from(signature.len()).map_err(too_large)?.to_be_bytes());
    body.extend(signature);
    body.extend(credentials.certificate.as_ref());
    let mut message = u16::try_from(body.len()).map_err(too_large)?.to_be_bytes().to_vec();
    message.extend(body);
    Ok(message)
}

/// Reads a message behind its length: a certificate of one of the `authorities`, good today, whose key signed for this
/// side of this connection.
pub(crate) fn read_renewal(
    message: &[u8],
    authorities: &[CertificateDer<'static>],
    binding: &Binding,
    end: End,
) -> Result<Leaf, String> {
    let cut = || "renewal is cut short".to_owned();
    let (head, rest) = message.split_first_chunk::<5>().ok_or_else(cut)?;
    let [kind, scheme @ .., l0, l1] = *head;
    if kind != RENEW {
        return Err(format!("message has kind {kind}, which nobody knows"));
    }
    let size = usize::from(u16::from_be_bytes([l0, l1]));
    let (signature, certificate) = rest.split_at_checked(size).ok_or_else(cut)?;
    let certificate = CertificateDer::from(certificate.to_vec());
    let roots = tls::roots(authorities).map_err(|error| error.to_string())?;
    let algorithms = tls::provider().signature_verification_algorithms;
    let now =
        UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(tiebeam_world::wall_clock_ms()).unwrap_or(0)));
    tls::verify(&certificate, &[], &roots, now, algorithms).map_err(|error| format!("renewal: {error}"))?;
    let scheme = SignatureScheme::from(u16::from_be_bytes(scheme));
    if !is_signed(&certificate, &signed(&certificate, binding, end), scheme, signature, algorithms) {
        return Err("renewal isn't signed by its certificate's key for this connection".to_owned());
    }
    Leaf::parse(&certificate).map_err(|error| error.to_string())
}

fn is_signed(
    certificate: &CertificateDer<'_>,
    message: &[u8],
    scheme: SignatureScheme,
    signature: &[u8],
    algorithms: WebPkiSupportedAlgorithms,
) -> bool {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return false };
    let known = algorithms.mapping.iter().filter(|(known, _)| *known == scheme).flat_map(|(_, algorithms)| *algorithms);
    known.into_iter().any(|algorithm| certificate.verify_signature(*algorithm, message, signature).is_ok())
}

fn signed(certificate: &CertificateDer<'_>, binding: &Binding, end: End) -> Vec<u8> {
    [LABEL, &binding.to_bytes(end), &Sha256::digest(certificate)].concat()
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::{NodeId, Role};

    use super::*;
    use crate::Identity;
    use crate::ca::Authority;

    fn binding() -> Binding {
        Binding { dialler: NodeId(2), acceptor: NodeId(1), exporter: [7; 32] }
    }

    fn credentials(authority: &Authority) -> Credentials {
        let identity = Identity { node: NodeId(2), name: "bob".into(), role: Role::Edge, cluster: "skies".into() };
        let issued = authority.issue(identity).unwrap();
        let (certificate, key) = (issued.certificate.as_bytes(), issued.key.as_bytes());
        Credentials::from_pem(authority.pem().as_bytes(), certificate, key).unwrap()
    }

    fn check(message: &[u8], credentials: &Credentials, binding: &Binding, end: End) -> Result<Leaf, String> {
        read_renewal(&message[2..], &credentials.authorities, binding, end)
    }

    #[test]
    fn renewal_counts_on_its_connection_and_from_its_side_alone() {
        let authority = Authority::ephemeral("skies").unwrap();
        let credentials = credentials(&authority);
        let message = renewal(&credentials, &binding(), End::Dialler).unwrap();
        assert_eq!(check(&message, &credentials, &binding(), End::Dialler), Ok(credentials.leaf.clone()));
        let refused = |binding, end| check(&message, &credentials, &binding, end).unwrap_err();
        let text = "renewal isn't signed by its certificate's key for this connection";
        assert_eq!(refused(binding(), End::Acceptor), text);
        assert_eq!(refused(Binding { exporter: [8; 32], ..binding() }, End::Dialler), text);
        assert_eq!(refused(Binding { acceptor: NodeId(3), ..binding() }, End::Dialler), text);
    }

    #[test]
    fn certificate_of_another_authority_or_another_key_renews_nothing() {
        let (ours, theirs) = (Authority::ephemeral("skies").unwrap(), Authority::ephemeral("skies").unwrap());
        let (good, foreign) = (credentials(&ours), credentials(&theirs));
        let message = renewal(&foreign, &binding(), End::Dialler).unwrap();
        assert!(check(&message, &good, &binding(), End::Dialler).unwrap_err().contains("certificate"));
        // A certificate that somebody saw, signed for by a key that isn't its own.
        let stolen = Credentials { key: credentials(&ours).key, ..good.clone() };
        let message = renewal(&stolen, &binding(), End::Dialler).unwrap();
        assert!(check(&message, &good, &binding(), End::Dialler).unwrap_err().contains("isn't signed"));
    }

    #[test]
    fn messages_are_cut_where_they_end_and_bounded() {
        let mut bytes = BytesMut::from(&[0, 2, 7, 8, 0, 1][..]);
        assert_eq!(take_message(&mut bytes), Ok(Some(vec![7, 8])));
        assert_eq!(take_message(&mut bytes), Ok(None));
        bytes.extend_from_slice(&[9]);
        assert_eq!(take_message(&mut bytes), Ok(Some(vec![9])));
        let mut bytes = BytesMut::from(&[0xff, 0xff][..]);
        assert!(take_message(&mut bytes).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_not_feared(bytes: Vec<u8>) {
            let authority = Authority::ephemeral("skies").unwrap();
            let credentials = credentials(&authority);
            proptest::prop_assert!(read_renewal(&bytes, &credentials.authorities, &binding(), End::Dialler).is_err());
        }
    }
}
