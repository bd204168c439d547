//! Carries frames between two nodes over QUIC with mutual TLS.
//!
//! - [`ca::Authority`] issues certificates that name a node: number, name, role, cluster.
//! - [`Endpoint`] is a node's one UDP socket. [`Endpoint::dial`] and [`Endpoint::accept`] end, after certificates,
//!   hellos and cookies were checked, in a [`Candidate`]; choosing one candidate per pair of nodes makes a [`Peer`].
//! - A [`Peer`] takes requests, each with a stream of its own, and frames on ordered lanes; both ways, and each stream
//!   only for a [`Service`] that the opener's role admits.
//! - A refusal has a [`Reason`] that both sides get to know and log once.
//! - [`Endpoint::rotate`] and [`Endpoint::set_cookies`] replace certificate and cookie while connections live on;
//!   [`Endpoint::revoke`] ends those of a node and lets it in no more.
//! - [`Endpoint::dial_relayed`] reaches a node that the network keeps apart, by way of somebody who carries datagrams and
//!   can read none: [`Endpoint::next_relayed`] hands them out, [`Endpoint::take_in_relayed`] takes them in.
//! - [`join`] gives a certificate to a newcomer that has nothing but a token.
//!
//! Promises: a request is delivered at most once. Frames of one lane arrive in order and without holes until the
//! connection ends. Nothing is sent again on another connection. Nothing of a stranger is decoded beyond its hello.
//!
//! What it does not do: it knows no membership and no actors, and it never dials again by itself.
//!
//! Further reading: `docs/protocols/handshake.md`; RFC 9000 and 9001 (QUIC), RFC 9266 (channel binding).

pub mod ca;
mod certificate;
mod config;
mod datagrams;
mod deny;
mod endpoint;
mod guard;
mod handshake;
mod hello;
mod identity;
pub mod join;
mod me;
mod peer;
mod quic;
mod refusal;
mod refusal_log;
mod relay;
mod service;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tls;
mod transport;
mod version;

pub use certificate::{NotASerial, Serial, Validity};
pub use config::{AUTHORITIES_MAX, COOKIE_BYTES_MIN, Config, Cookie, CookieTooShort, Credentials, CredentialsError};
pub use datagrams::Datagrams;
pub use deny::{DENIED_MAX, Denied, DenyList, DenyListFull};
pub use endpoint::{BindError, Endpoint, Polled, RotateError, Stranger};
pub use handshake::Candidate;
pub use identity::{Identity, IdentityError, NAME_BYTES_MAX};
pub use peer::{Declined, FRAME_BYTES_MAX, Handler, LANES, Lane, LaneSender, Peer, RequestError, SendError};
pub use refusal::{Reason, Refusal, Side};
pub use service::Service;
pub use version::{Agreed, Features};
