//! Two endpoints over real QUIC on loopback.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop there")]

mod attack;
mod join;
mod pair;
mod request;
mod rotation;
mod stranger;
mod victim;
