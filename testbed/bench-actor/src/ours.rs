//! The shapes on tiebeam-actor, through its public API, as a user would write them.

mod call;
mod cast;
mod idle;
mod pairs;
mod restart;
mod ring;
mod skynet;
mod spawn;
mod ticker;

use std::time::Duration;

use tiebeam_actor::{Actor, Addr, Config, System};
use tiebeam_wire::{Incarnation, NodeId};

use crate::shape::Shape;

/// How long a driver may work on a shape.
const WORK_TIMEOUT: Duration = Duration::from_secs(600);

/// Lets the leaves and the inner actors of skynet live at once, should none end before all have started.
const PROCESSES_MAX: u32 = 2_000_000;

pub(crate) async fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    let config = Config { processes_max: PROCESSES_MAX, ..Config::default() };
    let system = System::with_config(NodeId(1), Incarnation(1), config);
    match shape {
        Shape::CallRtt => call::rtt(&system, count).await,
        Shape::Cast1to1 | Shape::Cast8to1 => cast::to_one(&system, shape.senders(), count).await,
        Shape::Pairs100 => pairs::one_way(&system, shape.senders(), count).await,
        Shape::SpawnStop => spawn::and_stop(&system, count).await,
        Shape::Ring1000 => ring::hops(&system, count).await,
        Shape::Skynet1m => skynet::sum(&system, count).await,
        Shape::IdleBytes => idle::bytes(&system, count).await,
        Shape::Restart => restart::until_named(&system, count).await,
        Shape::TickerP99 => ticker::jitter(&system, count).await,
    }
}

async fn start<A: Actor>(system: &System, args: A::Args) -> anyhow::Result<Addr<A>> {
    system.spawn::<A>(args).await.map_err(|reason| anyhow::anyhow!("an actor did not start: {reason}"))
}
