//! Runs seeds: one in this process, or many, each in a process of its own, two at once.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tiebeam_sim::log::Log;
use tiebeam_sim::members;
use tiebeam_sim::run::{Outcome, Plan, run};
use tracing::Level;

/// How long a seed may take, on the real clock: far beyond what one takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(15);

/// Runs whole nodes in one process, on virtual time, from a seed.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// The one seed to run.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run, each in a process of its own.
    #[arg(long, conflicts_with = "seed")]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many run at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Number of nodes; without it the seed says how many there are of which role.
    #[arg(long)]
    nodes: Option<u64>,
    /// How many of the nodes are cores; without it all are, or as many as the seed says.
    #[arg(long)]
    cores: Option<u64>,
    /// Until when there are faults, in virtual seconds; half a minute of quiet follows.
    #[arg(long, default_value_t = 270)]
    faults: u64,
    /// Which traces go into the log.
    #[arg(long, default_value = "info")]
    level: Level,
    /// Where to write the log in any case; without it, after a failure, into `sim-SEED.log` in the folder of temporary files.
    #[arg(long)]
    log: Option<PathBuf>,
}

/// What else can be run.
#[derive(Debug, Subcommand)]
enum Scenario {
    /// Measure how membership behaves with many nodes; prints a row of a table.
    Members {
        /// How many nodes.
        #[arg(long, default_value_t = 50)]
        nodes: u64,
        /// How many of them are cores; the others are edges.
        #[arg(long, default_value_t = 5)]
        cores: u64,
        /// What everything follows from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many nodes fall over and come back.
        #[arg(long, default_value_t = 5)]
        rounds: u64,
        /// Over how long losses are counted in a bad network, in virtual seconds.
        #[arg(long, default_value_t = 120)]
        bad: u64,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(Scenario::Members { nodes, cores, seed, rounds, bad }) = cli.scenario {
        return members(members::Plan { seed, nodes, cores, rounds, bad_s: bad });
    }
    match (cli.seed, cli.seeds) {
        (Some(seed), _) => one(&cli, seed),
        (None, Some(count)) => many(&cli, count),
        (None, None) => anyhow::bail!("say --seed N, or --seeds COUNT"),
    }
}

/// Measures membership here.
fn members(plan: members::Plan) -> anyhow::Result<ExitCode> {
    let report = members::measure(plan).map_err(anyhow::Error::msg)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n{report}", members::HEAD)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs one seed here.
fn one(cli: &Cli, seed: u64) -> anyhow::Result<ExitCode> {
    quieten();
    watch(again(cli, seed));
    let usual = Plan::new(seed);
    let nodes = cli.nodes.unwrap_or(usual.nodes);
    let cores = cli.cores.or(cli.nodes).unwrap_or(usual.cores);
    let plan = Plan { nodes, cores, faults_until_s: cli.faults, level: cli.level, ..usual };
    let Outcome { failure, log, joined_after } = run(plan);
    let mut out = std::io::stdout().lock();
    if let Some(path) = &cli.log {
        write(&log, path)?;
    }
    let Some(failure) = failure else {
        let joined_ms = joined_after.unwrap_or(0) / 1_000_000;
        writeln!(out, "seed {seed}: {:016x}, {} events, joined after {joined_ms} ms", log.hash(), log.count())?;
        return Ok(ExitCode::SUCCESS);
    };
    let path = cli.log.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("sim-{seed}.log")));
    write(&log, &path)?;
    writeln!(out, "{}   # {failure} (log: {})", again(cli, seed), path.display())?;
    Ok(ExitCode::FAILURE)
}

/// The one command that does the same again.
fn again(cli: &Cli, seed: u64) -> String {
    let arguments = arguments(cli, Plan::new(seed).faults_until_s);
    if arguments.is_empty() {
        format!("make sim SEED={seed}")
    } else {
        format!("make sim SEED={seed} ARGS=\"{arguments}\"")
    }
}

/// What is other than usual, as arguments.
fn arguments(cli: &Cli, faults_s: u64) -> String {
    let nodes = cli.nodes.map(|nodes| format!("--nodes {nodes}"));
    let cores = cli.cores.map(|cores| format!("--cores {cores}"));
    let faults = (cli.faults != faults_s).then(|| format!("--faults {}", cli.faults));
    nodes.into_iter().chain(cores).chain(faults).collect::<Vec<_>>().join(" ")
}

/// Ends the process if the seed takes for ever: nodes may keep each other busy without time going on.
#[expect(clippy::disallowed_methods, reason = "a thread beside the simulation, on the real clock")]
fn watch(again: String) {
    let watch = move || {
        std::thread::sleep(PATIENCE);
        let _ = writeln!(std::io::stdout(), "{again}   # not done after {} s", PATIENCE.as_secs());
        std::process::exit(1);
    };
    drop(std::thread::spawn(watch));
}

/// Runs seeds in processes of their own.
fn many(cli: &Cli, count: u64) -> anyhow::Result<ExitCode> {
    let mut running: Vec<(u64, Child)> = Vec::new();
    let mut failed = 0;
    let myself = std::env::current_exe().context("this program has no path")?;
    for seed in cli.from..cli.from + count {
        if running.len() >= cli.jobs.max(1) {
            let (oldest, child) = running.remove(0);
            failed += u64::from(!ended(cli, oldest, child)?);
        }
        let mut command = Command::new(&myself);
        command.args(["--seed", &seed.to_string(), "--level", &cli.level.to_string()]);
        command.args(arguments(cli, Plan::new(seed).faults_until_s).split_whitespace());
        running.push((seed, command.stdout(Stdio::piped()).spawn().context("seed can't be run")?));
    }
    for (seed, child) in running {
        failed += u64::from(!ended(cli, seed, child)?);
    }
    writeln!(std::io::stdout(), "{} of {count} seeds hold, from {}", count - failed, cli.from)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for a seed; shows what it says if it failed, and says whether it held.
fn ended(cli: &Cli, seed: u64, child: Child) -> anyhow::Result<bool> {
    let output = child.wait_with_output().context("seed can't be waited for")?;
    if output.status.success() {
        return Ok(true);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&output.stdout)?;
    if output.stdout.is_empty() {
        writeln!(out, "{}   # ended as {}", again(cli, seed), output.status)?;
    }
    Ok(false)
}

fn write(log: &Log, path: &std::path::Path) -> anyhow::Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("log {} can't be written", path.display()))?;
    let mut file = std::io::BufWriter::new(file);
    for entry in log.entries() {
        writeln!(file, "{entry}")?;
    }
    file.flush().context("log can't be written")
}

/// Actors that are meant to panic do so in silence: what matters of it is in the log.
fn quieten() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(tiebeam_sim::workload::MEANT_PANIC) {
            usual(panic);
        }
    }));
}
