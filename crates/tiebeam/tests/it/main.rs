//! What the macros make.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop there")]
mod actors;
mod protocols;
