use std::sync::OnceLock;

use anyhow::Context;
use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use crate::shape::{Scale, Shape};
use crate::{beam, ours};

static WORKERS: OnceLock<u8> = OnceLock::new();

/// Sets how many worker threads each of the two processes has, on BEAM schedulers. Before they are asked for.
pub(crate) fn set_workers(workers: u8) {
    let _ = WORKERS.set(workers);
}

pub(crate) fn workers() -> u8 {
    *WORKERS.get().expect("set by whoever started")
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// What this benchmark is about.
    Tiebeam,
    /// Erlang processes and gen_server, distributed over TLS.
    Beam,
}

impl Peer {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no peer is hidden").get_name().to_owned()
    }

    /// Says whether the shape is measured of the peer. What a connection weighs in BEAM drowns in what its allocators keep
    /// in reserve.
    pub(crate) const fn has(self, shape: Shape) -> bool {
        match self {
            Self::Tiebeam => true,
            Self::Beam => !matches!(shape, Shape::ConnectionBytes | Shape::MonitorBytes | Shape::LinkBytes),
        }
    }

    /// Does the work of a shape with this process as the first node, for BEAM with one of its own.
    pub(crate) fn measure(self, shape: Shape, scale: Scale) -> anyhow::Result<f64> {
        let count = shape.count(scale);
        match self {
            Self::Beam => beam::measure(shape, count),
            // On a worker: waking the main thread is not what is measured.
            Self::Tiebeam => {
                let runtime = runtime()?;
                runtime.block_on(runtime.spawn(ours::measure(shape, count))).context("the measurement panicked")?
            }
        }
    }
}

pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(workers().into()).enable_all().build()?)
}
