//! The shapes on tiebeam-actor, through its public API, as a user would write them.

mod call;
mod cast;

use std::time::Duration;

use tiebeam_actor::{Actor, Addr, Config, System};
use tiebeam_wire::{Incarnation, NodeId};

use crate::shape::Shape;

/// How long a driver may work on a shape.
const WORK_TIMEOUT: Duration = Duration::from_secs(600);

pub(crate) async fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    let system = system();
    match shape {
        Shape::CallRtt => call::rtt(&system, count).await,
        Shape::Cast1to1 | Shape::Cast8to1 => cast::to_one(&system, shape.senders(), count).await,
        _ => anyhow::bail!("not written yet"),
    }
}

/// Makes a system with the default limits but for the number of processes, of which skynet needs more.
fn system() -> System {
    let config = Config { processes_max: 2_000_000, ..Config::default() };
    System::with_config(NodeId(1), Incarnation(1), config)
}

async fn start<A: Actor>(system: &System, args: A::Args) -> anyhow::Result<Addr<A>> {
    system.spawn::<A>(args).await.map_err(|reason| anyhow::anyhow!("an actor did not start: {reason}"))
}
