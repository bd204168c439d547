//! Whole nodes on virtual time.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod interpose;
mod nodes;
mod seeds;
mod standing;
