//! Measures the actor runtime beside what users would pick instead, in the same run.
//!
//! Each measurement runs in a fresh child process: this binary started again with `--one SHAPE PEER`, or `erl`. Rounds
//! take each shape with every peer in turn, so that a machine that slows down slows all of them; the value is the median
//! over the rounds. Callers and senders are actors (tasks for bare tokio, processes on BEAM), never the main thread.

mod bare;
mod beam;
mod by_kameo;
mod by_ractor;
mod crowd;
mod flood;
mod ours;
mod peer;
mod report;
mod rounds;
mod shape;
mod watch;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use peer::Peer;
use shape::{Scale, Shape};

#[derive(Debug, Parser)]
#[command(about = "Measure tiebeam-actor beside BEAM, bare tokio, ractor and kameo")]
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
    /// Instead, show a million actors and a tree of 100,000 start and end.
    #[arg(long)]
    crowd: bool,
    /// Instead, show what becomes of a flood under each policy of a full mailbox.
    #[arg(long)]
    flood: bool,
    /// Take one measurement in this process and print it.
    #[arg(long, hide = true, num_args = 2, value_names = ["SHAPE", "PEER"])]
    one: Option<Vec<String>>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    if let Some(one) = &options.one {
        let shape = parse::<Shape>(&one[0])?;
        let value = parse::<Peer>(&one[1])?.measure(shape, scale)?;
        println!("{value}");
        // A million actors need no tidy end, and some peers would take seconds over it.
        std::process::exit(0);
    }
    if options.crowd || options.flood {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(peer::WORKERS).enable_time().build()?;
        return runtime.block_on(async {
            if options.crowd {
                tokio::spawn(crowd::show()).await??;
            }
            if options.flood {
                tokio::spawn(flood::show()).await??;
            }
            Ok(())
        });
    }
    let is_complete = options.only.is_empty() && !options.quick;
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
