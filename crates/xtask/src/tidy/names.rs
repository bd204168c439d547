//! No drawers: a crate or a module is named for what it holds, and modules lie in `name.rs`.

use syn::visit::{self, Visit};

use crate::{Finding, Tree};

/// Names that say nothing, so that everything ends up there.
const DRAWERS: [&str; 10] = ["common", "utils", "util", "helpers", "helper", "types", "misc", "core", "base", "shared"];

/// Checks the names of crates, of source files and folders, and of inline modules.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.paths().filter(|path| path.starts_with("crates/")) {
        let mut parts = path.split('/').skip(1);
        let name = parts.next().unwrap_or_default();
        if path.ends_with("/Cargo.toml") && DRAWERS.contains(&name.trim_start_matches("tiebeam-")) {
            findings.push(Finding::file(path, format!("crate `{name}` is a drawer: name it for what it holds")));
        }
        if !path.ends_with(".rs") {
            continue;
        }
        if path.ends_with("/mod.rs") {
            findings.push(Finding::file(path, "modules lie in `name.rs` beside their folder, never in mod.rs"));
        }
        // Folders count too: `src/utils/a.rs` is a drawer even before `src/utils.rs` is.
        if let Some(part) = parts.map(|part| part.trim_end_matches(".rs")).find(|part| DRAWERS.contains(part)) {
            findings.push(Finding::file(path, drawer(part)));
        }
    }
    for (path, text) in tree.sources() {
        // What doesn't parse is the compiler's to report, and `lengths` says so too.
        let Ok(file) = syn::parse_file(text) else { continue };
        let mut modules = Modules::default();
        modules.visit_file(&file);
        findings.extend(modules.found.iter().map(|(name, line)| Finding::line(path, *line, drawer(name))));
    }
    findings
}

fn drawer(name: &str) -> String {
    format!("module `{name}` is a drawer: name it for what it holds")
}

/// Collects inline modules with a drawer's name.
#[derive(Default)]
struct Modules {
    found: Vec<(String, usize)>,
}

impl<'ast> Visit<'ast> for Modules {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        if item.content.is_some() && DRAWERS.contains(&name.as_str()) {
            self.found.push((name, item.ident.span().start().line));
        }
        visit::visit_item_mod(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn drawers_are_reported() {
        assert_found(
            check,
            &[
                ("crates/tiebeam-common/Cargo.toml", ""),
                ("crates/tiebeam-log/src/group/mod.rs", ""),
                ("crates/tiebeam-log/src/lib.rs", "mod group;\nmod a {\n    mod misc {}\n}\n"),
                ("crates/tiebeam-log/src/types.rs", ""),
                ("crates/tiebeam-log/tests/it/helpers/disk.rs", ""),
            ],
            &[
                "crates/tiebeam-common/Cargo.toml: crate `tiebeam-common` is a drawer: name it for what it holds",
                "crates/tiebeam-log/src/group/mod.rs: modules lie in `name.rs` beside their folder, never in mod.rs",
                "crates/tiebeam-log/src/types.rs: module `types` is a drawer: name it for what it holds",
                "crates/tiebeam-log/tests/it/helpers/disk.rs: module `helpers` is a drawer: name it for what it holds",
                "crates/tiebeam-log/src/lib.rs:3: module `misc` is a drawer: name it for what it holds",
            ],
        );
    }

    #[test]
    fn names_that_say_something_are_in_order() {
        assert_found(
            check,
            &[("crates/tiebeam-log/Cargo.toml", ""), ("crates/tiebeam-log/src/type_config.rs", "mod based {}")],
            &[],
        );
    }
}
