use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Child;

use tiebeam_actor::System;
use tiebeam_cluster::Cluster;
use tiebeam_wire::{Incarnation, NodeId};

use super::first;
use super::stage::{STAGE, Stage};
use crate::peer;

/// A process with further nodes; killed when dropped.
pub(crate) struct Second(pub(super) Child);

impl Second {
    pub(super) fn process(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.0.kill()
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is these nodes until the input ends, as it does when the first process does.
pub(crate) fn run(folder: &Path, seed: SocketAddr, nodes: RangeInclusive<u64>) -> anyhow::Result<()> {
    let runtime = peer::runtime()?;
    let _clusters = runtime.block_on(async {
        let mut clusters = Vec::new();
        for node in nodes {
            let system = System::new(NodeId(node), Incarnation(1));
            // Before anybody can ask for it.
            let stage = system.starter().named(STAGE).spawn::<Stage>(()).await;
            stage.map_err(|reason| anyhow::anyhow!("the stage did not start: {reason}"))?;
            clusters.push(Cluster::start(first::config(folder, node, &[seed])?, system).await?);
        }
        anyhow::Ok(clusters)
    })?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    // What still runs needs no tidy end.
    std::process::exit(0);
}
