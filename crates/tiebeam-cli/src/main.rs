//! The `tiebeam` command.
fn main() {}
