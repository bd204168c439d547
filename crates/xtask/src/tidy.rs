//! The rules of the house, each in a module that states it.

mod adr;
mod floors;
mod leftovers;
mod lengths;
mod links;
mod machine;
mod manifest;
mod names;

use crate::{Finding, Tree};

/// Checks all rules and returns what breaks them, by path and line.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let rules = [
        manifest::check,
        floors::check,
        names::check,
        leftovers::check,
        lengths::check,
        links::check,
        adr::check,
        machine::check,
    ];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings.dedup();
    findings
}

/// Asserts which findings a rule reports on a tree of `(path, text)`, as `path:line: message` in order.
#[cfg(test)]
fn assert_found(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)], expected: &[&str]) {
    let found: Vec<String> = rule(&Tree::of(files)).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The house itself. What fails here is printed as `path:line: message`; `cargo xtask tidy` prints the same.
    #[test]
    fn house_is_tidy() {
        let tree = Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
        assert!(tree.sources().count() > 20, "the sources were not found");
        let findings: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }
}
