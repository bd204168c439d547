//! Nothing in the repository knows the machine it was written on, nor where that machine got its packages.

use crate::{Finding, Tree};

/// Folders of build machines and of their users; split, so that this file names none.
const FOLDERS: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/tmp/bash", "_jobs"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];
/// Parts of a host name that give a package registry or its mirror away.
const HOSTS: [&str; 5] = ["registry", "mirror", "artifactory", "nexus", "index.crates"];
/// The one source a locked package may name.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every text for paths of a machine and for hosts of a registry.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (number, line) in (1..).zip(text.lines()) {
            findings.extend(fault(path, line).map(|message| Finding::line(path, number, message)));
        }
    }
    findings
}

fn fault(path: &str, line: &str) -> Option<String> {
    let names = |folder: &&&str| line.match_indices(**folder).any(|(start, _)| begins_path(&line[..start]));
    if let Some(folder) = FOLDERS.iter().find(names) {
        return Some(format!("names {folder}, a path of one machine"));
    }
    if let Some(source) = line.strip_prefix("source = \"").filter(|_| path == "Cargo.lock") {
        return (source.trim_end_matches('"') != CRATES_IO)
            .then(|| "locks a package from elsewhere than crates.io".to_owned());
    }
    let hosts = line.split("://").skip(1).map(|rest| rest.split(['/', ':', '"', ' ']).next().unwrap_or_default());
    let host = hosts.into_iter().find(|host| HOSTS.iter().any(|part| host.contains(part)))?;
    Some(format!("names {host}, the host of a package registry"))
}

/// Says whether a slash after `before` begins an absolute path: `a/work/b` is a path of ours.
fn begins_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')' | '$' | '*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::assert_found;

    #[test]
    fn paths_of_one_machine_are_reported() {
        let text = format!("dir={}main\nsee crates{}x and $HOME{}y\n", FOLDERS[0], FOLDERS[0], FOLDERS[4]);
        let expected = format!("scripts/a.sh:1: names {}, a path of one machine", FOLDERS[0]);
        assert_found(check, &[("scripts/a.sh", &text)], &[&expected]);
    }

    #[test]
    fn hosts_of_a_registry_are_reported() {
        let host = concat!("mir", "ror.example.org");
        let text = format!("a = \"https://{host}/x\"\nb = \"https://docs.rs/\"\n");
        let expected = format!(".cargo/config.toml:1: names {host}, the host of a package registry");
        assert_found(check, &[(".cargo/config.toml", &text)], &[&expected]);
    }

    #[test]
    fn locked_package_from_elsewhere_is_reported() {
        let lock = format!("source = \"{CRATES_IO}\"\nsource = \"git+https://example.org/a\"\n");
        assert_found(check, &[("Cargo.lock", &lock)], &["Cargo.lock:2: locks a package from elsewhere than crates.io"]);
    }
}
