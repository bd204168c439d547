//! Decision records carry a number of four digits, each its own, and whoever cites one cites one that exists.
//!
//! Numbers come from the table of decisions, so they have gaps: a record is written when its code is.

use std::collections::BTreeMap;

use crate::{Finding, Tree};

const FOLDER: &str = "docs/adr/";
/// How sources and prose cite a record; split, so that this file cites none.
const CITATION: &str = concat!("AD", "R ");

/// Checks the names and headings of the records, and every citation.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut records: BTreeMap<&str, &str> = BTreeMap::new();
    for path in tree.paths().filter(|path| path.starts_with(FOLDER)) {
        let Some(number) = number(&path[FOLDER.len()..]) else {
            findings.push(Finding::file(path, "is not named `0000-title.md`"));
            continue;
        };
        if let Some(first) = records.insert(number, path) {
            findings.push(Finding::file(path, format!("has the number of {first}")));
        }
        let heading = format!("# {number}: ");
        if !tree.text(path).is_some_and(|text| text.starts_with(&heading)) {
            findings.push(Finding::line(path, 1, format!("does not begin with `{heading}title`")));
        }
    }
    for (path, text) in tree.texts() {
        for (line, text) in (1..).zip(text.lines()) {
            let cited = text.split(CITATION).skip(1).filter_map(|rest| rest.get(..4));
            let cited = cited.filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
            let unknown = cited.filter(|number| !records.contains_key(number));
            findings.extend(
                unknown.map(|number| Finding::line(path, line, format!("cites record {number}, which is not written"))),
            );
        }
    }
    findings
}

fn number(name: &str) -> Option<&str> {
    let (number, title) = name.strip_suffix(".md")?.split_once('-')?;
    let digits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    let words = !title.is_empty() && title.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (digits && words).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn wrong_names_numbers_and_headings_are_reported() {
        assert_found(
            check,
            &[
                ("docs/adr/0001-one-log.md", "# 0001: One log\n"),
                ("docs/adr/0001-two-logs.md", "# 0001: Two logs\n"),
                ("docs/adr/0002-raft.md", "# Raft\n"),
                ("docs/adr/3-lanes.md", ""),
                ("docs/adr/0004-Mixed_Case.md", ""),
            ],
            &[
                "docs/adr/0001-two-logs.md: has the number of docs/adr/0001-one-log.md",
                "docs/adr/0002-raft.md:1: does not begin with `# 0002: title`",
                "docs/adr/0004-Mixed_Case.md: is not named `0000-title.md`",
                "docs/adr/3-lanes.md: is not named `0000-title.md`",
            ],
        );
    }

    #[test]
    fn citation_of_a_missing_record_is_reported() {
        let source = format!("//! ({CITATION}0001)\n//! {CITATION}0009, {CITATION}NNNN\n");
        assert_found(
            check,
            &[("a.rs", &source), ("docs/adr/0001-one-log.md", "# 0001: One log\n")],
            &["a.rs:2: cites record 0009, which is not written"],
        );
    }
}
