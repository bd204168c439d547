//! The shapes on two nodes of a cluster, through the public API, as a user would write them.

mod call;
mod cast;
mod first;
mod memory;
mod ping;
pub(crate) mod second;
mod stage;
mod watcher;

use std::time::Duration;

use bytes::Bytes;
use tiebeam_actor::{Actor, Addr, Pid, System};
use tiebeam_wire::NodeId;

use crate::shape::Shape;
use first::First;
use second::Second;
use stage::{Act, STAGE, Stage};

/// How long a driver may work on a shape.
const WORK_TIMEOUT: Duration = Duration::from_secs(600);

/// The two nodes, connected.
struct Pair {
    first: First,
    second: Second,
}

pub(crate) async fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    let first = First::start().await?;
    let second = first.join(SECOND..=SECOND).await?;
    let mut pair = Pair { first, second };
    if let Some(count) = shape.warm_up(count) {
        run(&mut pair, shape, count).await?;
    }
    run(&mut pair, shape, count).await
}

async fn run(pair: &mut Pair, shape: Shape, count: u64) -> anyhow::Result<f64> {
    match shape {
        Shape::CallRtt => call::rtt(pair, count).await,
        Shape::Callers64 => call::at_once(pair, count).await,
        Shape::Cast100b => cast::us_each(pair, Bytes::from(vec![7; shape.body_bytes()]), count).await,
        Shape::Cast64kib => cast::megabytes_per_s(pair, Bytes::from(vec![7; shape.body_bytes()]), count).await,
        Shape::PingIdle => ping::idle(pair, count).await,
        Shape::PingInFlood => ping::in_flood(pair, Bytes::from(vec![7; shape.body_bytes()]), count).await,
        Shape::ConnectionBytes => memory::of_connections(pair, count).await,
        Shape::MonitorBytes => memory::of_monitors(pair, count).await,
        Shape::LinkBytes => memory::of_links(pair, count).await,
        Shape::Monitors100k => watcher::until_all_fired(pair, count).await,
    }
}

impl Pair {
    fn system(&self) -> &System {
        &self.first.system
    }

    /// Starts actors on the second node.
    async fn act(&self, act: Act) -> anyhow::Result<Vec<Pid>> {
        let stage = self.system().named::<Stage>(NodeId(SECOND), STAGE);
        Ok(stage.call(act).timeout(WORK_TIMEOUT).await?)
    }
}

async fn start<A: Actor>(system: &System, args: A::Args) -> anyhow::Result<Addr<A>> {
    system.spawn::<A>(args).await.map_err(|reason| anyhow::anyhow!("an actor did not start: {reason}"))
}

/// The second node's number; those that join later follow.
const SECOND: u64 = 2;
