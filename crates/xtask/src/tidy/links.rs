//! Links inside the repository lead somewhere.

use crate::{Finding, Tree};

/// Checks every relative link of every Markdown file, its heading too where it names one.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (line, link) in links(text) {
            findings.extend(fault(tree, path, text, link).map(|message| Finding::line(path, line, message)));
        }
    }
    findings
}

fn fault(tree: &Tree, path: &str, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { Some(path.to_owned()) } else { resolve(path, file) };
    let Some(target) = target.filter(|target| tree.holds(target)) else {
        return Some(format!("link to {link} leads nowhere"));
    };
    let text = if file.is_empty() { Some(text) } else { tree.text(&target) };
    let known = heading.is_empty() || text.is_some_and(|text| prose(text).any(|(_, line)| anchor(line) == heading));
    (!known).then(|| format!("link to {link} names no heading there"))
}

/// Returns the path of `link` as seen from the file `from`; nothing if it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// Returns the lines outside code fences, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Returns the targets of `[text](target)` with their lines; code is not looked into.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        // Every other piece lies between back quotes.
        let outside = line.split('`').step_by(2);
        let targets = outside.flat_map(|piece| piece.split("](").skip(1));
        targets.filter_map(move |rest| Some((number, rest.split_once(')')?.0))).filter(|(_, link)| !link.is_empty())
    })
}

/// Returns the name by which a heading is linked, empty if the line is none.
fn anchor(line: &str) -> String {
    let title = line.trim_start_matches('#');
    if title.len() == line.len() || !title.starts_with(' ') {
        return String::new();
    }
    let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn dead_links_are_reported() {
        let text =
            "[a](gone.md) and [b](adr/0001-a.md)\n[c](../../out.md)\n[d](adr/0001-a.md#why-not)\n[e](#nowhere)\n";
        assert_found(
            check,
            &[("docs/a.md", text), ("docs/adr/0001-a.md", "# Why\n")],
            &[
                "docs/a.md:1: link to gone.md leads nowhere",
                "docs/a.md:2: link to ../../out.md leads nowhere",
                "docs/a.md:3: link to adr/0001-a.md#why-not names no heading there",
                "docs/a.md:4: link to #nowhere names no heading there",
            ],
        );
    }

    #[test]
    fn live_links_code_and_other_hosts_are_in_order() {
        let text = "# Two words, `code`\n[a](adr/0001-a.md#why) [b](adr) [c](adr/) [d](../README.md) [e](#two-words-code)\n\
                    [f](https://example.org/x) `[g](gone.md)`\n```text\n[h](gone.md)\n# no\n```\n";
        assert_found(check, &[("README.md", ""), ("docs/a.md", text), ("docs/adr/0001-a.md", "## Why\n")], &[]);
    }
}
