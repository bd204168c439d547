//! Every crate lies in a folder of its own name, states its floor and takes the lints of the workspace.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::{Finding, Tree};

/// Checks what every manifest below `crates/` must say.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.paths().filter(|path| folder(path).is_some()) {
        let Some(manifest) = tree.text(path).and_then(|text| text.parse::<Table>().ok()) else {
            findings.push(Finding::file(path, "is not TOML"));
            continue;
        };
        let name = at(&manifest, &["package", "name"]).and_then(Value::as_str).unwrap_or_default();
        if Some(name) != folder(path) {
            findings.push(Finding::file(path, format!("crate `{name}` lies in a folder of another name")));
        }
        if floor(&manifest).is_none() {
            findings.push(Finding::file(path, "states no floor: add `floor = N` to [package.metadata.tiebeam]"));
        }
        if at(&manifest, &["lints", "workspace"]).and_then(Value::as_bool) != Some(true) {
            findings
                .push(Finding::file(path, "does not take the lints of the workspace: add `[lints] workspace = true`"));
        }
    }
    findings
}

/// A crate as its manifest states it.
pub(super) struct Crate<'a> {
    /// Where the manifest lies.
    pub(super) path: &'a str,
    /// Its floor; `u64::MAX` if it states none, which [`check`] reports.
    pub(super) floor: u64,
    /// Its dependencies with the section that names them, target-specific ones included.
    pub(super) dependencies: Vec<(Section, String)>,
}

/// Where a dependency is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Normal,
    Build,
    Dev,
}

const SECTIONS: [(&str, Section); 3] =
    [("dependencies", Section::Normal), ("build-dependencies", Section::Build), ("dev-dependencies", Section::Dev)];

/// Reads the manifests below `crates/`, by crate name; skips what [`check`] reports as broken.
pub(super) fn crates(tree: &Tree) -> BTreeMap<String, Crate<'_>> {
    let renamed = tree.text("Cargo.toml").and_then(|text| text.parse::<Table>().ok()).unwrap_or_default();
    let manifests = tree.paths().filter_map(|path| Some((path, folder(path)?)));
    let read = manifests.filter_map(|(path, name)| {
        let manifest = tree.text(path)?.parse::<Table>().ok()?;
        let floor = floor(&manifest).unwrap_or(u64::MAX);
        Some((name.to_owned(), Crate { path, floor, dependencies: dependencies(&manifest, &renamed) }))
    });
    read.collect()
}

/// Returns the crate's folder if `path` is the manifest of one.
fn folder(path: &str) -> Option<&str> {
    let folder = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
    (!folder.contains('/')).then_some(folder)
}

fn floor(manifest: &Table) -> Option<u64> {
    let floor = at(manifest, &["package", "metadata", "tiebeam", "floor"])?.as_integer()?;
    u64::try_from(floor).ok()
}

fn dependencies(manifest: &Table, workspace: &Table) -> Vec<(Section, String)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    let mut found = Vec::new();
    for table in tables {
        for (key, section) in SECTIONS {
            let entries = table.get(key).and_then(Value::as_table).into_iter().flatten();
            found.extend(entries.map(|(name, entry)| (section, package(name, entry, workspace))));
        }
    }
    found
}

/// Returns the package behind a dependency, which may go by another name here or in the workspace.
fn package(name: &str, entry: &Value, workspace: &Table) -> String {
    let inherited = at(workspace, &["workspace", "dependencies", name]);
    let renamed = |value: &Value| value.get("package").and_then(Value::as_str).map(str::to_owned);
    renamed(entry).or_else(|| inherited.and_then(renamed)).unwrap_or_else(|| name.to_owned())
}

fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, parents) = path.split_last()?;
    parents.iter().try_fold(table, |table, key| table.get(*key)?.as_table())?.get(*last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn manifest_without_floor_or_lints_is_reported() {
        let manifest = "[package]\nname = \"tiebeam-b\"\n[lints]\nworkspace = false\n";
        assert_found(
            check,
            &[("crates/tiebeam-a/Cargo.toml", manifest)],
            &[
                "crates/tiebeam-a/Cargo.toml: crate `tiebeam-b` lies in a folder of another name",
                "crates/tiebeam-a/Cargo.toml: states no floor: add `floor = N` to [package.metadata.tiebeam]",
                "crates/tiebeam-a/Cargo.toml: does not take the lints of the workspace: add `[lints] workspace = true`",
            ],
        );
    }

    #[test]
    fn manifest_with_all_is_in_order() {
        let manifest = "[package]\nname = \"a\"\nmetadata.tiebeam.floor = 0\n[lints]\nworkspace = true\n[dependencies]\nb = \"1\"\n";
        assert_found(check, &[("crates/a/Cargo.toml", manifest)], &[]);
    }

    /// Catches an arrow that hides behind a rename or a target table.
    #[test]
    fn dependencies_are_found_in_every_table_and_under_any_name() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace.dependencies]\nroof = { package = \"c\", path = \"crates/c\" }\n"),
            (
                "crates/a/Cargo.toml",
                "[dependencies]\nroof.workspace = true\n[dev-dependencies]\nx = { package = \"d\" }\n\
                 [build-dependencies]\ne = \"1\"\n[target.'cfg(unix)'.dependencies]\nf = \"1\"\n",
            ),
        ]);
        let named = |section, name: &str| (section, name.to_owned());
        let expected = [
            named(Section::Normal, "c"),
            named(Section::Build, "e"),
            named(Section::Dev, "d"),
            named(Section::Normal, "f"),
        ];
        assert_eq!(crates(&tree)["a"].dependencies, expected);
    }
}
