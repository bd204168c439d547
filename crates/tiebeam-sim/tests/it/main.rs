//! Whole nodes on virtual time.

mod interpose;
mod nodes;
mod seeds;
