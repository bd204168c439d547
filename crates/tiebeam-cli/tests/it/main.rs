//! The binary as users meet it: real processes on loopback, their answers and their trace lines.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop there")]

mod bad_input;
mod cut_off;
mod flights;
mod join;
mod rotation;
mod site;
mod strangers;
