//! What each side says first: who it is, and a proof that it knows the cookie.
//!
//! One message each way: `[length u16][speech][hello][proof 32 bytes]…[count u8]`, the length counting all behind it,
//! integers big-endian, the hello as `tiebeam_wire::codec` writes it. The speech is `[min u8][max u8][features u64]`, or
//! nothing in [`Layout::One`]. `docs/protocols/handshake.md` has the timeline.

use std::net::SocketAddr;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tiebeam_wire::codec::{self, DecodeError};
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::refusal::{Reason, Refusal};
use crate::version::{Agreed, Features, Layout, Speech, Versions};
use crate::{Cookie, Identity};

/// The codec's version of the hello itself, the same in both layouts. In the older one it is the protocol's as well.
const HELLO_VERSION: u8 = 1;
/// Bytes that say what a node can speak.
const SPEECH_BYTES: usize = 10;
/// Largest hello message behind its length, in bytes; a larger one is refused unread.
pub(crate) const HELLO_BYTES_MAX: usize = 512;

const LABEL: &[u8] = b"tiebeam-cookie-v1";
const PROOF_BYTES: usize = 32;

/// Says who a node is. The fields are in wire order and are never reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) node: NodeId,
    pub(crate) role: Role,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: SocketAddr,
    pub(crate) cluster: String,
}

/// Which of the two ends of a connection speaks. Within the proof, so that it can't be sent back to its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Dialler,
    Acceptor,
}

/// What a proof is bound to: this connection and its two ends.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) dialler: NodeId,
    pub(crate) acceptor: NodeId,
    /// From the TLS exporter (RFC 9266): a relay has another one on each of its two sides.
    pub(crate) exporter: [u8; 32],
}

impl Binding {
    fn mac(&self, cookie: &Cookie, end: End) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(cookie.secret()).expect("HMAC takes keys of any length");
        mac.update(LABEL);
        mac.update(&self.to_bytes(end));
        mac
    }

    /// What a proof from `end` is made over: which side, both numbers, the exporter.
    pub(crate) fn to_bytes(&self, end: End) -> Vec<u8> {
        let side: &[u8] = match end {
            End::Dialler => &[0],
            End::Acceptor => &[1],
        };
        [side, &self.dialler.0.to_be_bytes(), &self.acceptor.0.to_be_bytes(), &self.exporter].concat()
    }

    fn proof(&self, cookie: &Cookie, end: End) -> [u8; PROOF_BYTES] {
        self.mac(cookie, end).finalize().into_bytes().into()
    }

    /// Who stands at the end opposite to `end`.
    const fn other(&self, end: End) -> NodeId {
        match end {
            End::Dialler => self.acceptor,
            End::Acceptor => self.dialler,
        }
    }

    /// Compares in constant time, so that the time it takes tells nothing about a proof.
    fn proves(&self, cookie: &Cookie, end: End, proof: &[u8]) -> bool {
        self.mac(cookie, end).verify_slice(proof).is_ok()
    }
}

impl Hello {
    /// Encodes the whole message, with one proof per cookie: current and previous, so that a cookie can be changed in
    /// one round of restarts, during which some nodes know only the former and some know both.
    pub(crate) fn encode<'a>(
        &self,
        (layout, speech): (Layout, Speech),
        binding: &Binding,
        end: End,
        cookies: impl IntoIterator<Item = &'a Cookie>,
    ) -> Vec<u8> {
        let mut message = vec![0, 0];
        if layout == Layout::Range {
            message.extend(speech.versions.to_bytes());
            message.extend(speech.features.0.to_be_bytes());
        }
        message.extend(codec::encode(HELLO_VERSION, self));
        let proofs: Vec<_> = cookies.into_iter().map(|cookie| binding.proof(cookie, end)).collect();
        let count = u8::try_from(proofs.len()).expect("there are one or two cookies");
        for proof in &proofs {
            message.extend(proof);
        }
        // Behind the proofs, so that the hello in front may have any length.
        message.push(count);
        let length = u16::try_from(message.len() - 2).expect("names are short, so a hello is far below 64 KiB");
        message[..2].copy_from_slice(&length.to_be_bytes());
        message
    }

    /// Decodes a message behind its length, checks it against the certificate and checks the proofs; returns it with what
    /// the two nodes will speak.
    pub(crate) fn decode<'a>(
        message: &[u8],
        (layout, speech): (Layout, Speech),
        certificate: &Identity,
        binding: &Binding,
        end: End,
        cookies: impl IntoIterator<Item = &'a Cookie>,
    ) -> Result<(Self, Agreed), Refusal> {
        let protocol = || Refusal::local(Reason::Protocol, "hello is cut short");
        // The version is judged before anything behind it is looked at: only it says what is behind it.
        let (theirs, message) = read_speech(message, layout)?;
        let speech = match layout {
            Layout::One => Speech { versions: Versions::FIRST, features: Features::NONE },
            Layout::Range => speech,
        };
        let agreed = speech.agree(theirs).ok_or_else(|| {
            let me = binding.other(end);
            let (peer, theirs, ours) = (certificate.node, theirs.versions, speech.versions);
            // Both sides read this text, so it names both.
            let detail = format!("{peer} speaks versions {theirs}, {me} {ours}");
            Refusal::local(Reason::VersionMismatch, detail)
        })?;
        let (count, rest) = message.split_last().ok_or_else(protocol)?;
        let proofs_size = usize::from(*count) * PROOF_BYTES;
        let (hello, proofs) = rest.split_at_checked(rest.len().wrapping_sub(proofs_size)).ok_or_else(protocol)?;
        let hello: Self = codec::decode(HELLO_VERSION, hello)
            .map_err(|error: DecodeError| Refusal::local(Reason::Protocol, format!("hello: {error}")))?;
        hello.matches(certificate)?;
        let proven = cookies
            .into_iter()
            .flat_map(|cookie| proofs.chunks_exact(PROOF_BYTES).map(move |proof| binding.proves(cookie, end, proof)))
            .fold(false, |proven, proves| proven | proves);
        if proven {
            Ok((hello, agreed))
        } else {
            Err(Refusal::local(Reason::WrongCookie, format!("{certificate} doesn't know the cookie")))
        }
    }

    fn matches(&self, certificate: &Identity) -> Result<(), Refusal> {
        if self.node != certificate.node {
            let detail = format!("peer claims to be {}, its certificate names {}", self.node, certificate.node);
            return Err(Refusal::local(Reason::NodeIdMismatch, detail));
        }
        if self.role != certificate.role {
            let detail = format!("peer claims role {}, its certificate says {}", self.role, certificate.role);
            return Err(Refusal::local(Reason::RoleForbids, detail));
        }
        if self.cluster != certificate.cluster {
            let detail = format!("peer claims cluster {:?}, its certificate {:?}", self.cluster, certificate.cluster);
            return Err(Refusal::local(Reason::WrongCluster, detail));
        }
        Ok(())
    }
}

/// Splits what a node can speak from what it says.
fn read_speech(message: &[u8], layout: Layout) -> Result<(Speech, &[u8]), Refusal> {
    let protocol = |detail: &str| Refusal::local(Reason::Protocol, detail);
    match layout {
        Layout::One => {
            // The byte is the hello's own first one, and stays there for its codec.
            let found = *message.first().ok_or_else(|| protocol("hello is cut short"))?;
            let versions = Versions::new(found, found).ok_or_else(|| protocol("version 0 is none"))?;
            Ok((Speech { versions, features: Features::NONE }, message))
        }
        Layout::Range => {
            let (speech, rest) =
                message.split_first_chunk::<SPEECH_BYTES>().ok_or_else(|| protocol("hello is cut short"))?;
            let [min, max, features @ ..] = *speech;
            let versions = Versions::new(min, max).ok_or_else(|| protocol("range of versions is empty"))?;
            Ok((Speech { versions, features: Features(u64::from_be_bytes(features)) }, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(secret: &str) -> Cookie {
        Cookie::new(secret).unwrap()
    }

    fn hello() -> Hello {
        Hello {
            node: NodeId(2),
            role: Role::Edge,
            incarnation: Incarnation(300),
            address: "127.0.0.1:4400".parse().unwrap(),
            cluster: "skies".into(),
        }
    }

    fn certificate() -> Identity {
        Identity { node: NodeId(2), name: "bob".into(), role: Role::Edge, cluster: "skies".into() }
    }

    fn binding() -> Binding {
        Binding { dialler: NodeId(2), acceptor: NodeId(1), exporter: [7; 32] }
    }

    const OURS: (Layout, Speech) = (Layout::Range, Speech::OURS);
    const OLD: (Layout, Speech) = (Layout::One, Speech { features: Features::NONE, ..Speech::OURS });

    fn check(message: &[u8], certificate: &Identity, binding: &Binding, end: End, secret: &str) -> Option<Reason> {
        let decoded = Hello::decode(&message[2..], OURS, certificate, binding, end, [&cookie(secret)]);
        decoded.err().map(|refusal| refusal.reason)
    }

    fn hex(message: &[u8]) -> String {
        message.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const SECRET: &str = "sixteen bytes at least";

    /// Golden bytes: another layout, codec or proof would keep new nodes out of a cluster of old ones.
    #[test]
    fn bytes_of_version_1_are_golden() {
        let message = hello().encode(OLD, &binding(), End::Dialler, [&cookie(SECRET)]);
        expect_test::expect!["0035010201fb2c01007f000001fb301105736b696573221c5853a2002409c72a8b9bd5385927a96720656f5a8f5706423b711e92ff5201"].assert_eq(&hex(&message));
        let decoded = Hello::decode(&message[2..], OLD, &certificate(), &binding(), End::Dialler, [&cookie(SECRET)]);
        assert_eq!(decoded.unwrap(), (hello(), Agreed { version: 1, features: Features::NONE }));
    }

    #[test]
    fn bytes_of_version_2_are_golden() {
        // With the features of the first build of this version: one more is a bit, and no other layout.
        let first = (Layout::Range, Speech { features: Features::RENEWAL, ..Speech::OURS });
        let message = hello().encode(first, &binding(), End::Dialler, [&cookie(SECRET)]);
        expect_test::expect!["003f01020000000000000001010201fb2c01007f000001fb301105736b696573221c5853a2002409c72a8b9bd5385927a96720656f5a8f5706423b711e92ff5201"].assert_eq(&hex(&message));
        let decoded = Hello::decode(&message[2..], OURS, &certificate(), &binding(), End::Dialler, [&cookie(SECRET)]);
        assert_eq!(decoded.unwrap(), (hello(), Agreed { version: 2, features: Features::RENEWAL }));
    }

    #[test]
    fn hello_is_accepted_with_the_current_or_the_previous_cookie_of_either_side() {
        let (old, new) = (cookie("the former cookie"), cookie("the later cookie"));
        let know = |sends: &[&Cookie], accepts: &[&Cookie]| {
            let message = hello().encode(OURS, &binding(), End::Dialler, sends.iter().copied());
            Hello::decode(&message[2..], OURS, &certificate(), &binding(), End::Dialler, accepts.iter().copied())
                .is_ok()
        };
        assert!(know(&[&new], &[&new]));
        assert!(know(&[&new, &old], &[&old]), "a changed node reaches one that isn't yet");
        assert!(know(&[&old], &[&new, &old]), "and the other way round");
        assert!(!know(&[&old], &[&new]));
        assert!(!know(&[], &[&new]), "no proof is no proof");
    }

    #[test]
    fn what_does_not_match_is_refused_with_its_reason() {
        let message = hello().encode(OURS, &binding(), End::Dialler, [&cookie(SECRET)]);
        let refused =
            |certificate: &Identity, binding: &Binding, end| check(&message, certificate, binding, end, SECRET);
        let (c, b) = (certificate(), binding());
        assert_eq!(refused(&c, &b, End::Dialler), None);
        // Sent back to its maker, moved to another connection, moved between other nodes.
        assert_eq!(refused(&c, &b, End::Acceptor), Some(Reason::WrongCookie));
        assert_eq!(refused(&c, &Binding { exporter: [8; 32], ..b.clone() }, End::Dialler), Some(Reason::WrongCookie));
        assert_eq!(refused(&c, &Binding { acceptor: NodeId(3), ..b.clone() }, End::Dialler), Some(Reason::WrongCookie));
        let other = |change: fn(&mut Identity)| {
            let mut c = certificate();
            change(&mut c);
            refused(&c, &b, End::Dialler)
        };
        assert_eq!(other(|c| c.node = NodeId(9)), Some(Reason::NodeIdMismatch));
        assert_eq!(other(|c| c.role = Role::Core), Some(Reason::RoleForbids));
        assert_eq!(other(|c| c.cluster = "seas".into()), Some(Reason::WrongCluster));
    }

    /// The refusal's text is all that the side that is refused gets to know.
    #[test]
    fn refusal_without_a_common_version_says_both_ranges() {
        let refused = |versions: [u8; 2]| {
            let mut message = hello().encode(OURS, &binding(), End::Dialler, [&cookie(SECRET)]);
            message[2..4].copy_from_slice(&versions);
            let refusal =
                Hello::decode(&message[2..], OURS, &certificate(), &binding(), End::Dialler, [&cookie(SECRET)]);
            let refusal = refusal.unwrap_err();
            (refusal.reason, refusal.detail)
        };
        assert_eq!(refused([3, 4]), (Reason::VersionMismatch, "n2 speaks versions 3 to 4, n1 1 to 2".to_owned()));
        assert_eq!(refused([0, 2]).0, Reason::Protocol);
        assert_eq!(refused([2, 1]).0, Reason::Protocol);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_not_feared(bytes: Vec<u8>) {
            for speech in [OURS, OLD] {
                let decoded = Hello::decode(&bytes, speech, &certificate(), &binding(), End::Dialler, [&cookie(SECRET)]);
                proptest::prop_assert!(decoded.is_err());
            }
        }
    }
}
