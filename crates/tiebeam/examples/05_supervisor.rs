//! Supervisors: let it crash, and start again from a known state.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use tiebeam::{
    CallError, ChildSpec, ExitReason, Incarnation, Named, NodeId, Shutdown, Supervisor, SupervisorSpec, System,
};

struct Divider {
    done: u64,
}

#[tiebeam::actor]
impl Divider {
    fn init(name: &'static str) -> Self {
        println!("  {name} starts");
        Self { done: 0 }
    }

    /// Checks nothing: what can't be helped here is left to the supervisor.
    #[call]
    fn divide(&mut self, a: u64, b: u64) -> (u64, u64) {
        self.done += 1;
        (a / b, self.done)
    }
}

/// Tries again while the child restarts: certainly nobody has handled such a call.
async fn divide(divider: &Named<Divider>, a: u64, b: u64) -> Result<(u64, u64), CallError> {
    loop {
        match divider.divide(a, b).await {
            Err(error) if error.is_unhandled() => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let named = |name: &'static str| {
        ChildSpec::new(name, move |starter| starter.named(name).spawn::<Divider>(name))
            .shutdown(Shutdown::Timeout(Duration::from_secs(1)))
    };
    // Two crashes within a minute are bad luck; a third is a fault that a restart doesn't mend.
    let spec = SupervisorSpec::one_for_one()
        .intensity(2, Duration::from_secs(60))
        .child(named("left"))
        .child(named("right").transient());
    let supervisor = system.spawn::<Supervisor>(spec).await?;
    let left = system.named::<Divider>(system.node(), "left");

    println!("6 / 3 = {:?}", divide(&left, 6, 3).await?);
    println!("7 / 2 = {:?}", divide(&left, 7, 2).await?);
    let crashed = divide(&left, 1, 0).await;
    println!("1 / 0: {crashed:?}");
    assert!(matches!(crashed, Err(CallError::Exit(ExitReason::Panic(_)))));
    // The name leads to the next life, whose state began anew: it counts from 1.
    println!("8 / 2 = {:?}", divide(&left, 8, 2).await?);

    // Children can be stopped and started by hand, and more added.
    supervisor.stop_child("right").await?;
    supervisor.start_child(named("middle").temporary()).await?;
    for child in supervisor.which_children().await? {
        println!("child {:?}: {:?}, {:?}", child.id, child.restart, child.state);
    }

    // Beyond its intensity a supervisor stops its children and ends, so that its own supervisor decides.
    let ended = system.wait(supervisor.pid());
    for _ in 0..2 {
        println!("1 / 0: {:?}", divide(&left, 1, 0).await);
    }
    println!("supervisor ended: {}", ended.await);
    println!("processes left: {}", system.process_count());
    Ok(())
}
