use anyhow::Context;
use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use crate::shape::{Scale, Shape};
use crate::{bare, beam, by_kameo, by_ractor, ours};

/// Worker threads of each runtime, on BEAM schedulers.
pub(crate) const WORKERS: usize = 2;

/// What is measured of the crates that are peers.
const CRATE_SHAPES: [Shape; 6] =
    [Shape::CallRtt, Shape::Cast1to1, Shape::Cast8to1, Shape::SpawnStop, Shape::Ring1000, Shape::IdleBytes];

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// What this benchmark is about.
    Tiebeam,
    /// Erlang processes and gen_server.
    Beam,
    /// Bare tasks with an unbounded channel as mailbox and a oneshot for replies.
    Tokio,
    /// Actors of the crate ractor.
    Ractor,
    /// Actors of the crate kameo, with unbounded mailboxes.
    Kameo,
}

impl Peer {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no peer is hidden").get_name().to_owned()
    }

    /// Says whether the peer has an equivalent of the shape.
    pub(crate) fn has(self, shape: Shape) -> bool {
        match self {
            Self::Tiebeam | Self::Beam => true,
            Self::Tokio => !matches!(shape, Shape::Restart),
            Self::Ractor | Self::Kameo => CRATE_SHAPES.contains(&shape),
        }
    }

    /// Does the work of a shape in this process, for BEAM in one of its own.
    pub(crate) fn measure(self, shape: Shape, scale: Scale) -> anyhow::Result<f64> {
        let count = self.count(shape, scale);
        if self == Self::Beam {
            return beam::measure(shape, count);
        }
        let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_time().build()?;
        if let Some(count) = shape.warm_up(count) {
            self.run(&runtime, shape, count)?;
        }
        self.run(&runtime, shape, count)
    }

    /// Returns how much work is measured: the same for all, but fewer idle actors where a million of them would take
    /// gigabytes that a small machine lacks.
    const fn count(self, shape: Shape, scale: Scale) -> u64 {
        match (shape, self) {
            (Shape::IdleBytes, Self::Beam | Self::Ractor | Self::Kameo) => shape.count(scale) / 10,
            _ => shape.count(scale),
        }
    }

    fn run(self, runtime: &Runtime, shape: Shape, count: u64) -> anyhow::Result<f64> {
        // On a worker: waking the main thread is not what is measured.
        let run = match self {
            Self::Tiebeam => runtime.spawn(ours::measure(shape, count)),
            Self::Tokio => runtime.spawn(bare::measure(shape, count)),
            Self::Ractor => runtime.spawn(by_ractor::measure(shape, count)),
            Self::Kameo => runtime.spawn(by_kameo::measure(shape, count)),
            Self::Beam => unreachable!("runs in a process of its own"),
        };
        runtime.block_on(run).context("the measurement panicked")?
    }
}
