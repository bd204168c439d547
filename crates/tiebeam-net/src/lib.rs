//! Carries frames between two nodes over QUIC with mutual TLS.
//!
//! - [`ca::Authority`] issues certificates that name a node: number, name, role, cluster.
//! - [`Endpoint`] is a node's one UDP socket. [`Endpoint::dial`] and [`Endpoint::accept`] end, after certificates,
//!   hellos and cookies were checked, in a [`Candidate`]; choosing one candidate per pair of nodes makes a [`Peer`].
//! - A [`Peer`] takes requests, each with a stream of its own, and frames on ordered lanes; both ways, and each stream
//!   only for a [`Service`] that the opener's role admits.
//! - A refusal has a [`Reason`] that both sides get to know and log once.
//!
//! Promises: a request is delivered at most once. Frames of one lane arrive in order and without holes until the
//! connection ends. Nothing is sent again on another connection. Nothing of a stranger is decoded beyond its hello.
//!
//! What it does not do: it knows no membership and no actors, and it never dials again by itself.
//!
//! Further reading: `docs/protocols/handshake.md`; RFC 9000 and 9001 (QUIC), RFC 9266 (channel binding).

pub mod ca;
mod config;
mod datagrams;
mod endpoint;
mod handshake;
mod hello;
mod identity;
mod peer;
mod quic;
mod refusal;
mod service;
mod tls;
mod transport;

pub use config::{COOKIE_BYTES_MIN, Config, Cookie, CookieTooShort, Credentials, CredentialsError};
pub use datagrams::Datagrams;
pub use endpoint::{BindError, Endpoint, Polled, Stranger};
pub use handshake::Candidate;
pub use identity::{Identity, IdentityError, NAME_BYTES_MAX};
pub use peer::{Declined, FRAME_BYTES_MAX, Handler, LANES, Lane, LaneSender, Peer, RequestError, SendError};
pub use refusal::{Reason, Refusal, Side};
pub use service::Service;
