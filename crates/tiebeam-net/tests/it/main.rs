//! Two endpoints over real QUIC on loopback.

mod pair;
mod request;
mod stranger;
