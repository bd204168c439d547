//! Arrows point to a strictly lower floor; floors 0 and 1 know nothing of the outside; each big library has one seam.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::Span;
use syn::visit::{self, Visit};
use toml::{Table, Value};

use super::manifest::{Crate, Section, crates};
use crate::{Finding, Tree};

/// The simulator stands beside the house: any crate may test with it, none may build on it.
const SIMULATOR: &str = "tiebeam-sim";
/// The one crate below the engines that may know the runtime (ADR 0018).
const WORLD: &str = "tiebeam-world";
/// The highest floor of pure words and algorithms.
const PURE_FLOOR_MAX: u64 = 1;

/// Packages that bring a runtime, a socket, a file, a clock or entropy.
const OUTSIDE: [&str; 24] = [
    "async-io",
    "async-std",
    "axum",
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "libc",
    "memmap2",
    "mio",
    "nix",
    "polling",
    "quanta",
    "quinn",
    "quinn-udp",
    "rand",
    "reqwest",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "uuid",
];
/// Parts of std that do.
const OUTSIDE_STD: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::hash::RandomState",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];
/// Libraries that one crate wraps, so that replacing one is that crate's business alone.
const SEAMS: [(&str, &str); 7] = [
    ("axum", "tiebeam-admin"),
    ("bincode", "tiebeam-wire"),
    ("chitchat", "tiebeam-cluster"),
    ("maud", "tiebeam-admin"),
    ("openraft", "tiebeam-log"),
    ("quinn", "tiebeam-net"),
    ("rustls", "tiebeam-net"),
];

/// Checks every arrow between crates, and what the pure floors may know.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let crates = crates(tree);
    let locked = locked(tree);
    let mut findings = Vec::new();
    for (name, this) in &crates {
        findings.extend(this.dependencies.iter().filter_map(|(section, dependency)| {
            let message = arrow(name, this, *section, dependency, &crates)?;
            Some(Finding::file(this.path, message))
        }));
        if this.floor <= PURE_FLOOR_MAX && name != WORLD {
            findings.extend(outside_packages(this, &crates, &locked));
            findings.extend(outside_std(tree, name, this.floor));
        }
    }
    findings
}

/// Says what is wrong with one arrow, if anything is.
fn arrow(
    name: &str,
    this: &Crate<'_>,
    section: Section,
    dependency: &str,
    crates: &BTreeMap<String, Crate<'_>>,
) -> Option<String> {
    if let Some((_, home)) = SEAMS.iter().find(|(library, home)| *library == dependency && *home != name) {
        return Some(format!("depends on {dependency}, which only {home} may know"));
    }
    let Some(other) = crates.get(dependency) else {
        return dependency.starts_with("tiebeam-").then(|| format!("depends on {dependency}, which is not in crates/"));
    };
    if dependency == SIMULATOR {
        return (section != Section::Dev).then(|| format!("builds on {SIMULATOR}, which only tests may use"));
    }
    // A crate's own tests may open its feature `testkit`; that is no arrow.
    if dependency == name && section == Section::Dev {
        return None;
    }
    let (above, below) = (this.floor, other.floor);
    (below >= above).then(|| format!("floor {above} depends on {dependency} on floor {below}; arrows point down"))
}

/// Walks the locked dependencies of a pure crate, its tests' excepted.
fn outside_packages(
    this: &Crate<'_>,
    crates: &BTreeMap<String, Crate<'_>>,
    locked: &BTreeMap<String, Vec<String>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let direct = this.dependencies.iter().filter(|(section, _)| *section != Section::Dev);
    let mut open: Vec<(&str, &str)> = direct.map(|(_, name)| (name.as_str(), name.as_str())).collect();
    while let Some((package, through)) = open.pop() {
        if crates.contains_key(package) || !seen.insert(package) {
            continue;
        }
        if OUTSIDE.contains(&package) {
            let floor = this.floor;
            let message = format!("floor {floor} depends on {package} (through {through}), which knows the outside");
            findings.push(Finding::file(this.path, message));
        }
        open.extend(locked.get(package).into_iter().flatten().map(|next| (next.as_str(), through)));
    }
    findings
}

/// Reads which package needs which from the lockfile. It knows no features, so this errs on the side of reporting.
fn locked(tree: &Tree) -> BTreeMap<String, Vec<String>> {
    let lock = tree.text("Cargo.lock").and_then(|text| text.parse::<Table>().ok()).unwrap_or_default();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock.get("package").and_then(Value::as_array).into_iter().flatten() {
        let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
        let needs = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        // An entry is `name`, or `name version` where there are several.
        let names = needs.filter_map(|entry| entry.as_str()?.split(' ').next().map(str::to_owned));
        found.entry(name.to_owned()).or_default().extend(names);
    }
    found
}

fn outside_std(tree: &Tree, name: &str, floor: u64) -> Vec<Finding> {
    let folder = format!("crates/{name}/src/");
    let mut findings = Vec::new();
    for (path, text) in tree.sources().filter(|(path, _)| path.starts_with(&folder)) {
        // What doesn't parse is the compiler's to report, and `lengths` says so too.
        let Ok(file) = syn::parse_file(text) else { continue };
        let mut paths = Paths::default();
        paths.visit_file(&file);
        for (used, span) in paths.found {
            let within = |outside: &&&str| used == **outside || used.starts_with(&format!("{outside}::"));
            if let Some(outside) = OUTSIDE_STD.iter().find(within) {
                let message = format!("floor {floor} uses {outside}, which knows the outside");
                findings.push(Finding::line(path, span.start().line, message));
            }
        }
    }
    findings
}

/// Collects every path a file spells, imports unfolded.
#[derive(Default)]
struct Paths {
    found: Vec<(String, Span)>,
}

impl Paths {
    fn unfold(&mut self, prefix: &str, tree: &syn::UseTree) {
        let joined =
            |ident: &syn::Ident| if prefix.is_empty() { ident.to_string() } else { format!("{prefix}::{ident}") };
        match tree {
            syn::UseTree::Path(path) => self.unfold(&joined(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.found.push((prefix.to_owned(), name.ident.span())),
            syn::UseTree::Name(name) => self.found.push((joined(&name.ident), name.ident.span())),
            syn::UseTree::Rename(name) => self.found.push((joined(&name.ident), name.ident.span())),
            syn::UseTree::Glob(glob) => self.found.push((prefix.to_owned(), glob.star_token.spans[0])),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.unfold(prefix, item)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.unfold("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.found.push((names.join("::"), first.ident.span()));
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    fn manifest(floor: u64, rest: &str) -> String {
        format!("[package.metadata.tiebeam]\nfloor = {floor}\n{rest}")
    }

    #[test]
    fn arrow_along_or_up_is_reported_in_every_section() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let along = manifest(2, &format!("[{section}]\ntiebeam-net.workspace = true\n"));
            assert_found(
                check,
                &[("crates/tiebeam-actor/Cargo.toml", &along), ("crates/tiebeam-net/Cargo.toml", &manifest(2, ""))],
                &["crates/tiebeam-actor/Cargo.toml: floor 2 depends on tiebeam-net on floor 2; arrows point down"],
            );
        }
        let up = manifest(3, "[dependencies]\ntiebeam-log.workspace = true\n");
        assert_found(
            check,
            &[("crates/tiebeam-cluster/Cargo.toml", &up), ("crates/tiebeam-log/Cargo.toml", &manifest(4, ""))],
            &["crates/tiebeam-cluster/Cargo.toml: floor 3 depends on tiebeam-log on floor 4; arrows point down"],
        );
    }

    #[test]
    fn crate_may_test_itself_and_not_build_on_itself() {
        let itself = |section: &str| manifest(2, &format!("[{section}]\ntiebeam-net = {{ path = \".\" }}\n"));
        assert_found(check, &[("crates/tiebeam-net/Cargo.toml", &itself("dev-dependencies"))], &[]);
        assert_found(
            check,
            &[("crates/tiebeam-net/Cargo.toml", &itself("dependencies"))],
            &["crates/tiebeam-net/Cargo.toml: floor 2 depends on tiebeam-net on floor 2; arrows point down"],
        );
    }

    #[test]
    fn arrow_down_is_in_order_and_an_unknown_one_is_not() {
        let down = manifest(3, "[dependencies]\ntiebeam-net.workspace = true\ntiebeam-gone.workspace = true\n");
        assert_found(
            check,
            &[("crates/tiebeam-cluster/Cargo.toml", &down), ("crates/tiebeam-net/Cargo.toml", &manifest(2, ""))],
            &["crates/tiebeam-cluster/Cargo.toml: depends on tiebeam-gone, which is not in crates/"],
        );
    }

    #[test]
    fn simulator_is_for_tests_only() {
        let simulator = ("crates/tiebeam-sim/Cargo.toml", &*manifest(1, ""));
        let tests = manifest(0, "[dev-dependencies]\ntiebeam-sim.workspace = true\n");
        assert_found(check, &[("crates/tiebeam-wire/Cargo.toml", &tests), simulator], &[]);
        let builds = manifest(3, "[dependencies]\ntiebeam-sim.workspace = true\n");
        assert_found(
            check,
            &[("crates/tiebeam-cluster/Cargo.toml", &builds), simulator],
            &["crates/tiebeam-cluster/Cargo.toml: builds on tiebeam-sim, which only tests may use"],
        );
    }

    #[test]
    fn pure_floor_that_reaches_a_runtime_is_reported() {
        let lock = "[[package]]\nname = \"a\"\ndependencies = [\"b 1.0.0\"]\n[[package]]\nname = \"b\"\n\
                    dependencies = [\"tokio\"]\n";
        let pure = manifest(1, "[dependencies]\na = \"1\"\n[dev-dependencies]\nrand = \"1\"\n");
        let expected = "crates/tiebeam-crdt/Cargo.toml: floor 1 depends on tokio (through a), which knows the outside";
        assert_found(check, &[("Cargo.lock", lock), ("crates/tiebeam-crdt/Cargo.toml", &pure)], &[expected]);
        assert_found(check, &[("Cargo.lock", lock), ("crates/tiebeam-world/Cargo.toml", &pure)], &[]);
    }

    #[test]
    fn pure_floor_that_uses_the_outside_of_std_is_reported() {
        let source = "//! std::fs in prose is fine.\nuse std::{fmt, time::{Duration, Instant as Clock}};\n\
                      fn f() {\n    std::fs::read(\"a\");\n}\n";
        assert_found(
            check,
            &[("crates/tiebeam-wire/Cargo.toml", &manifest(0, "")), ("crates/tiebeam-wire/src/lib.rs", source)],
            &[
                "crates/tiebeam-wire/src/lib.rs:2: floor 0 uses std::time::Instant, which knows the outside",
                "crates/tiebeam-wire/src/lib.rs:4: floor 0 uses std::fs, which knows the outside",
            ],
        );
    }

    #[test]
    fn library_beyond_its_seam_is_reported() {
        let beyond = manifest(5, "[dependencies]\nopenraft.workspace = true\n");
        assert_found(
            check,
            &[("crates/tiebeam-kv/Cargo.toml", &beyond)],
            &["crates/tiebeam-kv/Cargo.toml: depends on openraft, which only tiebeam-log may know"],
        );
        let home = manifest(4, "[dependencies]\nopenraft.workspace = true\n");
        assert_found(check, &[("crates/tiebeam-log/Cargo.toml", &home)], &[]);
    }
}
