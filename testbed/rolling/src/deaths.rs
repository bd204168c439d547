//! How soon all nodes know that one died: killed, which its machine says, or frozen, which only its silence says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;
use tiebeam_node::cluster::names::OnConflict;
use tiebeam_node::wire::NodeId;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::cluster::{self, Nodes};
use crate::echo::{Missed, OBSERVER, Observer};

/// Starts the nodes, has some die, and prints a table.
pub(crate) async fn show(count: usize) -> anyhow::Result<()> {
    let mut nodes = Nodes::lay_out(CORES, count - CORES - 1)?;
    nodes.start_all()?;
    let here = cluster::start(&nodes.observer()).await?;
    let cluster = here.handle().cluster().clone();
    let (heard, mut missed) = tokio::sync::mpsc::unbounded_channel();
    let observer = here.handle().system().spawn::<Observer>(heard).await;
    let observer = observer.map_err(|reason| anyhow::anyhow!("no observer: {reason}"))?;
    cluster.names().register(OBSERVER, &observer, OnConflict::Exit)?;
    nodes.all_serve(&cluster).await?;
    tokio::time::sleep(SETTLE).await;
    let mut alive: BTreeSet<NodeId> = (1..count as u64).map(NodeId).collect();
    println!("| died | how | all know after, ms | half know after, ms |");
    println!("|------|-----|-------------------:|--------------------:|");
    for (i, how) in [(count - 2, "SIGKILL"), (count - 3, "SIGSTOP"), (CORES - 1, "SIGKILL"), (CORES - 2, "SIGSTOP")] {
        let node = NodeId(i as u64 + 1);
        alive.remove(&node);
        let began = Instant::now();
        nodes.signal(i, if how == "SIGKILL" { Signal::SIGKILL } else { Signal::SIGSTOP })?;
        let mut times = all_miss(node, &alive, &mut missed, began).await.context("not all nodes missed it")?;
        times.sort_unstable();
        let (half, last) = (times[times.len() / 2], times[times.len() - 1]);
        println!("| {} | {how} | {} | {} |", nodes.name(i), last.as_millis(), half.as_millis());
        tokio::time::sleep(SETTLE).await;
    }
    println!(
        "{count} nodes as processes on loopback, {CORES} of them cores; counted from the signal until the observer, an edge, heard it"
    );
    drop(nodes);
    Ok(())
}

/// Waits until all who live have missed a node; returns how long each took.
async fn all_miss(
    node: NodeId,
    alive: &BTreeSet<NodeId>,
    missed: &mut UnboundedReceiver<(Missed, Instant)>,
    began: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let (mut left, mut times) = (alive.clone(), Vec::new());
    while !left.is_empty() {
        let next = tokio::time::timeout(PATIENCE, missed.recv()).await;
        let Ok(Some((Missed { lost, by }, at))) = next else { anyhow::bail!("{left:?} never missed {node}") };
        if lost == node && left.remove(&by) {
            times.push(at - began);
        }
    }
    Ok(times)
}

const CORES: usize = 5;
const SETTLE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);
