//! Keeps the house tidy: rules that no compiler checks, as one command and as one ordinary test.
//!
//! A rule is a pure function from a [`Tree`] (paths and texts) to [`Finding`]s, so that its test hands it a small tree
//! that breaks the rule. Only [`Tree::read`] and [`policy::packages`] touch the outside.

mod finding;
pub mod policy;
pub mod tidy;
mod tree;

pub use finding::Finding;
pub use tree::Tree;
