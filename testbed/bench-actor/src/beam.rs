use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::peer::WORKERS;
use crate::shape::Shape;

const SOURCES: [&str; 2] = ["bench_actor.erl", "bench_actor_sup.erl"];

/// Compiles the Erlang side.
///
/// # Errors
/// What is missing, for the reader of the table.
pub(crate) fn prepare() -> anyhow::Result<()> {
    let starts = Command::new("erl").args(["-noshell", "-eval", "halt()."]).status();
    ensure!(starts.is_ok_and(|erl| erl.success()), "erl does not run; `make bench-peers` installs it where it may");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("beam");
    let target = folder()?;
    std::fs::create_dir_all(&target)?;
    let files = SOURCES.map(|source| sources.join(source));
    let compiled = Command::new("erlc").arg("-o").arg(&target).args(files).status().context("erlc does not run")?;
    ensure!(compiled.success(), "erlc failed");
    Ok(())
}

/// Runs one shape in a fresh virtual machine.
pub(crate) fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    let warm_up = shape.warm_up(count).unwrap_or(0);
    let run = format!("bench_actor:main({}, {count}, {}, {warm_up}).", shape.name(), shape.senders());
    let schedulers = format!("{WORKERS}:{WORKERS}");
    let mut erl = Command::new("erl");
    erl.args(["-noshell", "+S", &schedulers, "+P", "2000000", "-kernel", "logger_level", "none", "-pa"]);
    let output = erl.arg(folder()?).args(["-eval", &run]).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "erl failed at {}: {text}", shape.name());
    text.trim().parse().with_context(|| format!("erl printed no number at {}: {text}", shape.name()))
}

/// Returns where compiled modules go: beside this binary, in cargo's target folder.
fn folder() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("bench-actor-beam"))
}
