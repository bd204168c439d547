//! What the dependencies must satisfy: licences, bans, sources and duplicates, as `deny.toml` states them.
//!
//! The file is cargo-deny's, and this reads the part of it that needs no database: whoever has cargo-deny and whoever
//! has not check the same rules. Keys that neither reads are refused, so that a misspelt one doesn't switch a rule off.

mod licence;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::Finding;

/// Where the policy lies, and what the findings point at.
pub const FILE: &str = "deny.toml";

/// What sources a package may come from, as cargo spells them.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    licences: BTreeSet<String>,
    /// Package and the reason it is refused.
    bans: BTreeMap<String, String>,
    /// Packages and versions that may stand beside another version of themselves.
    duplicates: BTreeSet<(String, String)>,
}

/// A package that is built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as an SPDX expression, if it states one.
    pub licence: Option<String>,
    /// Where it comes from; nothing for a crate of ours.
    pub source: Option<String>,
}

impl Policy {
    /// Reads the policy from the text of `deny.toml`.
    ///
    /// # Errors
    /// If it is no TOML, lacks a section or holds an unknown key.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Table = text.parse().context("deny.toml is not TOML")?;
        let known = [
            ("graph", &["targets", "all-features"][..]),
            ("advisories", &["ignore", "yanked"]),
            ("licenses", &["allow", "private", "confidence-threshold"]),
            ("bans", &["multiple-versions", "wildcards", "allow-wildcard-paths", "deny", "skip"]),
            ("sources", &["unknown-registry", "unknown-git", "allow-registry"]),
        ];
        for (section, keys) in table.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
            let Some((_, known)) = known.iter().find(|(name, _)| name == section) else {
                bail!("deny.toml has an unknown section [{section}]");
            };
            if let Some(key) = keys.keys().find(|key| !known.contains(&key.as_str())) {
                bail!("deny.toml has an unknown key {key} in [{section}]");
            }
        }
        let licences = list(&table, "licenses", "allow")?.iter().filter_map(|v| v.as_str().map(str::to_owned));
        let bans =
            list(&table, "bans", "deny")?.iter().map(|entry| Ok((field(entry, "crate")?, field(entry, "reason")?)));
        let duplicates = list(&table, "bans", "skip")?.iter().map(|entry| {
            let spelled = field(entry, "crate")?;
            let (name, version) = spelled.split_once('@').context("a skipped crate is spelled `name@version`")?;
            Ok((name.to_owned(), version.to_owned()))
        });
        Ok(Self {
            licences: licences.collect(),
            bans: bans.collect::<anyhow::Result<_>>()?,
            duplicates: duplicates.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Checks `packages` and returns what breaks the policy.
    #[must_use]
    pub fn check(&self, packages: &[Package]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in packages {
            let Some(source) = &package.source else { continue };
            findings.extend(self.faults(package, source).into_iter().map(|message| Finding::file(FILE, message)));
            versions.entry(&package.name).or_default().insert(&package.version);
        }
        for (name, versions) in &versions {
            let skipped = |version: &&&str| self.duplicates.contains(&((*name).to_owned(), (**version).to_owned()));
            let unexplained = versions.iter().filter(|version| !skipped(version)).count();
            if unexplained > 1 {
                let versions = versions.iter().copied().collect::<Vec<_>>().join(", ");
                findings.push(Finding::file(FILE, format!("{name} is built {unexplained} times: {versions}")));
            }
        }
        for (name, version) in &self.duplicates {
            if !versions
                .get(name.as_str())
                .is_some_and(|versions| versions.len() > 1 && versions.contains(version.as_str()))
            {
                findings.push(Finding::file(
                    FILE,
                    format!("{name}@{version} is no duplicate any more: remove it from skip"),
                ));
            }
        }
        findings
    }

    fn faults(&self, package: &Package, source: &str) -> Vec<String> {
        let Package { name, version, .. } = package;
        let mut faults = Vec::new();
        if let Some(reason) = self.bans.get(name) {
            faults.push(format!("{name} {version} is banned: {reason}"));
        }
        if source != CRATES_IO {
            faults.push(format!("{name} {version} comes from {source}, not from crates.io"));
        }
        match &package.licence {
            None => faults.push(format!("{name} {version} states no licence")),
            Some(licence) if !licence::is_satisfied(licence, &self.licences) => {
                faults.push(format!("{name} {version} has licence {licence}, which is not allowed"));
            }
            Some(_) => {}
        }
        faults
    }
}

fn list<'a>(table: &'a Table, section: &str, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    let found = table.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
    found.with_context(|| format!("deny.toml has no list {key} in [{section}]"))
}

fn field(entry: &Value, key: &str) -> anyhow::Result<String> {
    let found = entry.get(key).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("deny.toml has an entry without {key}: {entry}"))
}

/// Asks cargo for the packages that are built on this platform, as they are locked.
///
/// # Errors
/// If cargo can't be run, or says the lockfile doesn't fit the manifests.
pub fn packages(root: &Path) -> anyhow::Result<Vec<Package>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let platform = host(&cargo)?;
    let asked = ["metadata", "--format-version=1", "--locked", "--filter-platform", &platform];
    let output = Command::new(cargo).args(asked).current_dir(root).output().context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Json = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    resolved(&metadata)
}

/// Returns the platform cargo builds for here.
fn host(cargo: &str) -> anyhow::Result<String> {
    let output = Command::new(cargo).arg("-vV").output().context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
    host.context("cargo does not name its host")
}

/// Picks the packages that the resolved graph reaches; the list of all packages has those of other platforms too.
fn resolved(metadata: &Json) -> anyhow::Result<Vec<Package>> {
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata has no resolved graph")?;
    let reached: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let all = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let text = |package: &Json, key: &str| package[key].as_str().map(str::to_owned);
    let picked = all.iter().filter(|package| package["id"].as_str().is_some_and(|id| reached.contains(id)));
    Ok(picked
        .map(|package| Package {
            name: text(package, "name").unwrap_or_default(),
            version: text(package, "version").unwrap_or_default(),
            licence: text(package, "license"),
            source: text(package, "source"),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"openssl\", reason = \"rustls\" }]\n\
                          skip = [{ crate = \"syn@1.0.0\", reason = \"old\" }]\n";

    fn package(name: &str, version: &str, licence: &str) -> Package {
        let licence = Some(licence.to_owned()).filter(|licence| !licence.is_empty());
        Package { name: name.to_owned(), version: version.to_owned(), licence, source: Some(CRATES_IO.to_owned()) }
    }

    fn assert_found(packages: &[Package], expected: &[&str]) {
        let found = Policy::parse(POLICY).unwrap().check(packages);
        assert_eq!(found.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>(), expected);
    }

    fn explained() -> [Package; 2] {
        [package("syn", "1.0.0", "MIT"), package("syn", "2.0.0", "MIT")]
    }

    #[test]
    fn packages_within_the_policy_are_in_order() {
        let ours = Package { source: None, ..package("tiebeam-wire", "0.0.0", "") };
        assert_found(&[explained().as_slice(), &[ours]].concat(), &[]);
    }

    #[test]
    fn bans_licences_and_sources_are_reported() {
        let elsewhere = Package { source: Some("git+https://example.org".to_owned()), ..package("c", "1.0.0", "MIT") };
        let packages = [
            package("openssl", "1.0.0", "MIT"),
            package("a", "1.0.0", "GPL-3.0"),
            package("b", "1.0.0", ""),
            elsewhere,
        ];
        assert_found(
            &[explained().as_slice(), &packages].concat(),
            &[
                "openssl 1.0.0 is banned: rustls",
                "a 1.0.0 has licence GPL-3.0, which is not allowed",
                "b 1.0.0 states no licence",
                "c 1.0.0 comes from git+https://example.org, not from crates.io",
            ],
        );
    }

    #[test]
    fn duplicates_are_reported_unless_explained_and_stale_explanations_too() {
        let packages = [package("a", "1.0.0", "MIT"), package("a", "2.0.0", "MIT"), package("syn", "2.0.0", "MIT")];
        assert_found(
            &packages,
            &["a is built 2 times: 1.0.0, 2.0.0", "syn@1.0.0 is no duplicate any more: remove it from skip"],
        );
    }

    #[test]
    fn misspelt_policy_is_refused() {
        for (text, error) in [
            ("[licences]\nallow = []\n", "deny.toml has an unknown section [licences]"),
            ("[bans]\ndenny = []\n", "deny.toml has an unknown key denny in [bans]"),
            ("[bans]\ndeny = []\nskip = []\n", "deny.toml has no list allow in [licenses]"),
        ] {
            assert_eq!(Policy::parse(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn packages_of_other_platforms_are_left_out() {
        let metadata = serde_json::json!({
            "packages": [
                { "id": "a", "name": "a", "version": "1.0.0", "license": "MIT", "source": CRATES_IO },
                { "id": "w", "name": "windows", "version": "1.0.0", "license": "MIT", "source": CRATES_IO },
            ],
            "resolve": { "nodes": [{ "id": "a" }] },
        });
        assert_eq!(resolved(&metadata).unwrap(), [package("a", "1.0.0", "MIT")]);
    }

    /// The policy itself, as `cargo xtask policy` reads it.
    #[test]
    fn policy_of_the_house_is_read() {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE)).unwrap();
        let policy = Policy::parse(&text).unwrap();
        assert!(policy.licences.contains("MIT") && policy.bans.contains_key("openssl"));
    }
}
