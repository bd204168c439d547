//! Drives quinn's protocol machine: datagrams in, datagrams out, frames of lanes straight to their handler.
//!
//! quinn-proto decides everything that is QUIC; this is the part that quinn itself adds, made for nodes that exchange
//! small messages ([ADR 0030](../../../docs/adr/0030-quic-driven-by-hand.md)). Whoever sends writes its packets itself,
//! in its own thread; whoever receives decrypts, cuts frames and hands them over, without a task between. The rest waits
//! as futures do: handshakes and requests.
//!
//! Locks are taken in this order, each for a moment: `receive` (one thread at a time takes datagrams in, so frames of a
//! lane keep their order), a connection, a lane or the endpoint's own. Handlers are called under `receive` alone.
//!
//! Further reading: quinn's `endpoint.rs` and `connection.rs`, whose rules for wakers and for dropped handles hold here.

mod congestion;
mod connection;
mod drive;
mod endpoint;
mod heat;
mod lanes;
mod socket;
mod stream;
mod timers;

pub(crate) use congestion::Congestion;
pub(crate) use connection::{Connection, Link};
pub(crate) use endpoint::{Endpoint, Incoming};
pub(crate) use lanes::{OutLane, Taker};
pub(crate) use socket::{Socket, UdpSocket};
pub(crate) use stream::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};
