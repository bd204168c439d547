//! The `tiebeam` command.

#[allow(dead_code, unused_imports, reason = "a row is read whole, and the demo needs only some of its columns")]
mod flights;

fn main() {}
