//! Restarts the nodes of a cluster one after the other while calls go on, and says what the callers noticed.
//!
//! Five core nodes run as processes of this binary; each hosts actors of one group. This process is an edge node of the
//! same cluster: its callers call members of the group as fast as they can. A call that fails is made once more, to a
//! member on another node; one that fails twice is lost. Each node in turn gets SIGTERM, ends, and is started again.

#![expect(clippy::disallowed_methods, reason = "a measurement runs on real time, beside the node's tasks")]

mod callers;
mod cluster;
mod deaths;
mod echo;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use callers::Callers;
use cluster::Nodes;
use report::Row;

#[derive(Debug, Parser)]
#[command(about = "Restart five nodes one after the other under a load of calls")]
struct Options {
    /// How often all nodes are restarted.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many callers call at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    callers: u32,
    /// Kill the nodes with SIGKILL in place of stopping them.
    #[arg(long)]
    kill: bool,
    /// Start this many nodes in place of restarting five, five of them cores, and show when all know of a death.
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u32).range(8..=200))]
    deaths: Option<u32>,
    /// Be one of the nodes, with this configuration, until SIGTERM.
    #[arg(long, hide = true, value_name = "FILE")]
    node: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match (&options.node, options.deaths) {
        (Some(config), _) => runtime.block_on(run_node(config.clone())),
        (None, Some(nodes)) => runtime.block_on(deaths::show(nodes as usize)),
        (None, None) => runtime.block_on(roll(&options)),
    }
}

async fn run_node(config: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let node = cluster::start(&config).await?;
    terminate.recv().await;
    node.stop().await;
    Ok(())
}

async fn roll(options: &Options) -> anyhow::Result<()> {
    let mut nodes = Nodes::lay_out(NODES, 0)?;
    nodes.start_all()?;
    let here = cluster::start(&nodes.observer()).await?;
    let cluster = here.handle().cluster().clone();
    nodes.all_serve(&cluster).await?;
    let callers = Callers::start(&cluster, options.callers);
    tokio::time::sleep(SETTLE).await;
    callers.take();
    let mut rows = Vec::new();
    for _ in 0..options.rounds {
        for i in 0..NODES {
            let stop = if options.kill { nodes.kill(i).await? } else { nodes.stop(i).await? };
            let start = nodes.start_again(i, &cluster).await?;
            tokio::time::sleep(SETTLE).await;
            rows.push(Row { node: nodes.name(i), stop, start, noticed: callers.take() });
        }
    }
    callers.stop().await;
    here.stop().await;
    drop(nodes);
    println!("{}", report::table(&rows));
    println!("{}", report::notes(options.callers, options.kill));
    let path = report::write(&rows).context("cannot write the figures")?;
    println!("written to {}", path.display());
    let lost: u64 = rows.iter().map(|row| row.noticed.lost).sum();
    ensure!(lost == 0, "{lost} calls were lost, the last one: {}", report::last_error(&rows));
    Ok(())
}

/// Nodes that are restarted, all cores.
const NODES: usize = 5;
/// How long the cluster is left alone before the next node's turn.
const SETTLE: Duration = Duration::from_secs(2);
