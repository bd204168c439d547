//! Measures actors on two nodes beside distributed Erlang over TLS, in the same run.
//!
//! Two processes on loopback: the first measures, the second is what it talks to. For ours the second is this binary
//! started again with `--second`, and both are nodes of a cluster with certificates of its own authority. For BEAM both
//! are `erl`, connected by TLS 1.3 with certificates on both sides. Each measurement has fresh processes. Rounds take each
//! shape with each peer in turn, so that a machine that slows down slows both; the value is the median over the rounds.

mod beam;
mod ours;
mod peer;
mod report;
mod rounds;
mod shape;
mod watch;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use peer::Peer;
use shape::{Scale, Shape};

/// What the figures that are kept were measured with.
const WORKERS: u8 = 2;

#[derive(Debug, Parser)]
#[command(about = "Measure actors across two nodes beside distributed Erlang over TLS")]
struct Options {
    /// How often each measurement is taken; its median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only these rows; the file for comparison is then left alone.
    #[arg(long, value_delimiter = ',', value_name = "SHAPE")]
    only: Vec<Shape>,
    /// Smaller counts, to try a change; the file for comparison is then left alone.
    #[arg(long)]
    quick: bool,
    /// Worker threads of each of the two processes. With as many workers as cores in either, as by default on two cores, the
    /// two compete for cores; with half as many they don't. The file for comparison is left alone unless this is 2.
    #[arg(long, default_value_t = WORKERS, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// Take one measurement, of which this process is the first node, and print it.
    #[arg(long, hide = true, num_args = 2, value_names = ["SHAPE", "PEER"])]
    one: Option<Vec<String>>,
    /// Be the second node, or several of them, with the certificates of this folder; ends with its input.
    #[arg(long, hide = true, num_args = 4, value_names = ["FOLDER", "SEED", "FIRST", "LAST"])]
    second: Option<Vec<String>>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    peer::set_workers(options.workers);
    if let Some(second) = &options.second {
        let nodes = second[2].parse()?..=second[3].parse()?;
        return ours::second::run(&PathBuf::from(&second[0]), second[1].parse()?, nodes);
    }
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    if let Some(one) = &options.one {
        let shape = parse::<Shape>(&one[0])?;
        println!("{}", parse::<Peer>(&one[1])?.measure(shape, scale)?);
        return Ok(());
    }
    let is_complete = options.only.is_empty() && !options.quick && options.workers == WORKERS;
    let shapes = if options.only.is_empty() { Shape::value_variants().to_vec() } else { options.only };
    let rows = rounds::run(&shapes, scale, options.rounds)?;
    println!("{}", report::table(&rows));
    println!("{}", report::notes(&rows, options.rounds));
    if is_complete {
        let path = report::write(&rows, options.rounds).context("cannot write the figures")?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn parse<T: ValueEnum>(name: &str) -> anyhow::Result<T> {
    T::from_str(name, false).map_err(anyhow::Error::msg)
}
