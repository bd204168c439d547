use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::beam;
use crate::peer::{Peer, workers};
use crate::shape::{Scale, Shape};

/// What was measured of a shape.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) shape: Shape,
    /// In the order of [`Peer`]; ours first.
    pub(crate) columns: Vec<(Peer, Samples)>,
}

/// The values of all rounds, never empty once the rounds are over.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Takes all measurements, peer after peer within a shape and shape after shape within a round.
pub(crate) fn run(shapes: &[Shape], scale: Scale, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let peers = peers();
    let columns =
        |shape: Shape| peers.iter().filter(move |peer| peer.has(shape)).map(|peer| (*peer, Samples::default()));
    let mut rows: Vec<_> =
        shapes.iter().map(|shape| Row { shape: *shape, columns: columns(*shape).collect() }).collect();
    for round in 1..=rounds {
        for row in &mut rows {
            for (peer, samples) in &mut row.columns {
                let value = measure(row.shape, *peer, scale)?;
                eprintln!(
                    "round {round}/{rounds} {} {} {value:.1} {}",
                    row.shape.name(),
                    peer.name(),
                    row.shape.unit()
                );
                samples.0.push(value);
            }
        }
    }
    Ok(rows)
}

/// Returns who can be measured here, and says who can't.
fn peers() -> Vec<Peer> {
    let mut peers = Peer::value_variants().to_vec();
    if let Err(error) = beam::prepare() {
        eprintln!("bench-net: beam is skipped: {error:#}");
        peers.retain(|peer| *peer != Peer::Beam);
    }
    peers
}

/// Takes one measurement in a process of its own.
fn measure(shape: Shape, peer: Peer, scale: Scale) -> anyhow::Result<f64> {
    let (shape, peer) = (shape.name(), peer.name());
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--workers", &workers().to_string(), "--one", &shape, &peer]).stderr(Stdio::inherit());
    if scale == Scale::Quick {
        child.arg("--quick");
    }
    let output = child.output()?;
    ensure!(output.status.success(), "{shape} of {peer} ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("{shape} of {peer} printed no number: {text}"))
}
