//! Lets a new node in that has nothing but a token and an address.
//!
//! A token is an id, a secret and the hash of the authority's certificate. It is made beside the authority's key, and a
//! core node that has this key too keeps a [`Desk`]: a socket of its own where nothing but this is spoken. The newcomer
//! checks by the hash that it talks to a core node of the right authority, and only then says the secret; the desk checks
//! the secret before it parses anything else. The newcomer's private key never leaves it: it sends a request to sign.
//!
//! ```text
//! newcomer                                     desk
//!   | -- TLS 1.3, `tiebeam-join/1`, no client certificate --> |
//!   |   one certificate of the chain has the hash, it         |
//!   |   signed the desk's own, which names a core node        |
//!   | -- [length u16][id 8][secret 16][request to sign] ----> |   looks the token up, spends it
//!   | <------- [length u32][certificate, authority, settings] |
//! ```
//!
//! The answer's settings are the caller's own; a refusal is a close with code 18. `docs/protocols/handshake.md` has the
//! limits; this is how kubeadm's discovery by hash and SPIRE's join tokens work.

mod client;
mod desk;
mod token;

use serde::{Deserialize, Serialize};

pub use client::{JoinError, Joined, join};
pub use desk::{Desk, Office};
pub use token::{NotAToken, TOKEN_TTL_MAX, TOKENS_MAX, Token, TokenError, Tokens};

/// The application protocol at the desk, where nothing else is spoken.
const ALPN: &[u8] = b"tiebeam-join/1";
/// The codec's version of answers.
const ANSWER_VERSION: u8 = 1;
/// Largest question behind its length, in bytes.
const QUESTION_BYTES_MAX: usize = 2048;
/// Largest answer behind its length, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the desk answers. The fields are in wire order and are never reordered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    certificate: String,
    authority: String,
    settings: String,
}

#[cfg(feature = "testkit")]
pub(crate) fn decode(bytes: &[u8]) {
    let _ = tiebeam_wire::codec::decode::<Answer>(ANSWER_VERSION, bytes);
    let _ = token::decode_record(bytes);
    let _ = desk::split(bytes);
    let _ = crate::ca::public_key(bytes);
    let _ = std::str::from_utf8(bytes).map(str::parse::<Token>);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden bytes: a newcomer may be of the version before.
    #[test]
    fn bytes_of_an_answer_are_golden() {
        let answer = Answer { certificate: "c".into(), authority: "a".into(), settings: "s=1".into() };
        let bytes = tiebeam_wire::codec::encode(ANSWER_VERSION, &answer);
        assert_eq!(bytes, [1, 1, b'c', 1, b'a', 3, b's', b'=', b'1']);
    }
}
