//! Chores of the house that are longer than one line of make: `cargo xtask tidy`, `cargo xtask policy`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use xtask::{Finding, Tree, policy, tidy};

const USAGE: &str = "usage: cargo xtask tidy | policy

  tidy     floors, names, leftovers, lengths, links, decision records: everything in crates/xtask/src/tidy
  policy   licences, bans, sources and duplicates of the dependencies, as deny.toml states them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => Tree::read(&root).map(|tree| report("tidy", &tidy::check(&tree))),
        ["policy"] => check_policy(&root),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the findings and says whether there were none.
fn report(chore: &str, findings: &[Finding]) -> bool {
    for finding in findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => println!("{chore}: all in order"),
        found => eprintln!("{chore}: {found} findings"),
    }
    findings.is_empty()
}

/// Checks the dependencies by our own reading of `deny.toml`, which needs nothing installed, and by cargo-deny too
/// where that is at hand.
fn check_policy(root: &Path) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(root.join(policy::FILE)).context("cannot read deny.toml")?;
    let policy = policy::Policy::parse(&text)?;
    let mut in_order = report("policy", &policy.check(&policy::packages(root)?));
    if !deny(root, &["--version"], Stdio::null())?.success() {
        println!("policy: cargo-deny is not installed, so advisories were not checked");
        return Ok(in_order);
    }
    in_order &= deny(root, &["--locked", "check", "bans", "licenses", "sources"], Stdio::inherit())?.success();
    if deny(root, &["fetch", "db"], Stdio::null())?.success() {
        in_order &= deny(root, &["--locked", "check", "advisories"], Stdio::inherit())?.success();
    } else {
        println!("policy: the advisory database can't be reached, so advisories were not checked");
    }
    Ok(in_order)
}

fn deny(root: &Path, arguments: &[&str], output: Stdio) -> anyhow::Result<std::process::ExitStatus> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.arg("deny").args(arguments).current_dir(root).stdout(output).stderr(Stdio::null());
    if arguments.contains(&"check") {
        command.stderr(Stdio::inherit());
    }
    command.status().context("cannot run cargo deny")
}
