//! Dynamic supervisors: many children of one kind, one for each session, order or device.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use tiebeam::{
    ChildError, DynamicSpec, DynamicSupervisor, ExitReason, Incarnation, Intensity, NodeId, Restart, System,
};

struct Session {
    user: String,
    clicks: u64,
}

#[tiebeam::actor]
impl Session {
    fn init(user: String) -> Result<Self, ExitReason> {
        match user.as_str() {
            "" => Err(ExitReason::Other("nobody has no session".into())),
            _ => Ok(Self { user, clicks: 0 }),
        }
    }

    #[call]
    fn click(&mut self) -> String {
        self.clicks += 1;
        format!("{} clicked {} times", self.user, self.clicks)
    }

    #[cast]
    fn crash(&self) {
        panic!("{} found a bug", self.user);
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let spec = DynamicSpec {
        children_max: 100,
        restart: Restart::Transient,
        intensity: Intensity { restarts: 10, period: Duration::from_secs(1) },
        ..DynamicSpec::default()
    };
    let sessions = system.spawn::<DynamicSupervisor<Session>>(spec).await?;

    // A child is started with arguments of its own, with which it is restarted too.
    let joe = sessions.start_child("joe".into()).await?;
    let mike = sessions.start_child("mike".into()).await?;
    println!("{}", joe.click().await?);
    println!("{}", mike.click().await?);

    // An `init` that fails is the caller's answer and starts nothing.
    let refused = sessions.start_child(String::new()).await;
    println!("refused: {}", refused.err().ok_or("it started")?);

    // Children are alone: the crash of one touches no other, and the next life has another pid.
    let ended = system.wait(joe.pid());
    joe.crash().await;
    println!("joe: {}", ended.await);
    println!("{}", mike.click().await?);
    while sessions.count_children().await?.active < 2 {
        tokio::task::yield_now().await;
    }
    for child in sessions.which_children().await? {
        println!("child {:?}", child.state);
    }

    // One that is stopped stays away.
    sessions.stop_child(mike.pid()).await?;
    let again = sessions.stop_child(mike.pid()).await;
    assert!(matches!(again, Err(ChildError::Missing { .. })));
    println!("children left: {}", sessions.count_children().await?.active);

    // With the supervisor go all its children, at the same time.
    sessions.stop(ExitReason::Shutdown).await?;
    println!("processes left: {}", system.process_count());
    Ok(())
}
