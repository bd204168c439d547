//! Names: an address is one life of an actor, a name is whoever has it now.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use tiebeam::{CallError, ExitReason, Incarnation, NodeId, System};

struct Greeter {
    greeting: &'static str,
}

#[tiebeam::actor]
impl Greeter {
    fn init(greeting: &'static str) -> Self {
        Self { greeting }
    }

    #[call]
    fn greet(&self, whom: String) -> String {
        format!("{} {whom}", self.greeting)
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // The name is given before `init` runs, so nobody sees the actor without it.
    let first = system.starter().named("greeter").spawn::<Greeter>("hello").await?;
    println!("greeter is {:?}", system.whereis("greeter"));

    // A name belongs to one process.
    let second = system.starter().named("greeter").spawn::<Greeter>("salut").await;
    println!("a second greeter: {}", second.err().ok_or("the name was free")?);

    // `Named` looks the name up for each message.
    let greeter = system.named::<Greeter>(system.node(), "greeter");
    println!("by name: {}", greeter.greet("Joe".into()).await?);

    // When the actor ends its name is free, before anybody hears of the end.
    first.stop(ExitReason::Normal).await?;
    println!("nobody has the name: {:?}", greeter.greet("Joe".into()).await);

    // The next holder gets the messages; the old address still names the old life.
    let second = system.spawn::<Greeter>("salut").await?;
    system.register("greeter", second.pid())?;
    println!("by name: {}", greeter.greet("Joe".into()).await?);
    println!("by the old address: {:?}", first.greet("Joe".into()).await);
    assert_eq!(first.greet("Joe".into()).await, Err(CallError::NoProc));

    // One process may have several names.
    system.register("salutateur", second.pid())?;
    println!("unregistered {:?}, left {:?}", system.unregister("greeter"), system.whereis("salutateur"));
    Ok(())
}
