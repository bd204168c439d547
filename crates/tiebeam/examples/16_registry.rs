//! Registries: processes under keys of any type, for names made at run time and for topics that many follow.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use tiebeam::registry::{Keys, RegistryConfig, RegistryError};
use tiebeam::{Addr, CallError, Ctx, ExitReason, Incarnation, NodeId, Registry, Supervisor, SupervisorSpec, System};

/// How a follower wants to be told: what is kept beside a process under a key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish {
    All,
    OnlyUrgent,
}

type Topics = Registry<String, Wish>;

struct Reader {
    read: Vec<String>,
}

#[tiebeam::actor]
impl Reader {
    /// Registers itself: a restarted reader follows again, and one that is gone is found no more.
    async fn init(args: (Topics, &'static str, Wish), ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let (topics, topic, wish) = args;
        let registered = topics.register(ctx.pid(), topic.to_owned(), wish).await;
        registered.map(|()| Self { read: Vec::new() }).map_err(|error| ExitReason::Other(error.to_string()))
    }

    #[cast]
    fn news(&mut self, text: String) {
        self.read.push(text);
    }

    #[call]
    fn read(&self) -> Vec<String> {
        self.read.clone()
    }
}

fn publish(system: &System, topics: &Topics, topic: &str, text: &str, is_urgent: bool) -> u64 {
    let mut told = 0;
    // Runs here, in the publisher, for each process under the key; the registry's own process has no part in it.
    topics.dispatch(topic, |pid, wish| {
        let reader: Addr<Reader> = system.addr(pid);
        if (wish == Wish::All || is_urgent) && reader.try_news(text.to_owned()).is_ok() {
            told += 1;
        }
    });
    told
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // Two registries, run by a supervisor: one whose keys are names, one whose keys are topics.
    let topics = Topics::new(&system, RegistryConfig { keys: Keys::Duplicate, ..RegistryConfig::default() });
    let rooms = Registry::<(u32, &'static str)>::new(&system, RegistryConfig::default());
    let spec = SupervisorSpec::rest_for_one().child(topics.child_spec("topics")).child(rooms.child_spec("rooms"));
    let root = system.spawn::<Supervisor>(spec).await?;

    let joe = system.spawn::<Reader>((topics.clone(), "weather", Wish::All)).await?;
    let mike = system.spawn::<Reader>((topics.clone(), "weather", Wish::OnlyUrgent)).await?;
    println!("weather is followed by {:?}", topics.lookup("weather"));
    println!("told of rain: {}", publish(&system, &topics, "weather", "rain", false));
    println!("told of a storm: {}", publish(&system, &topics, "weather", "storm", true));
    let read = (joe.read().await?, mike.read().await?);
    println!("read: {read:?}");
    assert_eq!(read, (vec!["rain".to_owned(), "storm".to_owned()], vec!["storm".to_owned()]));

    // What is beside a process can be changed, and the same process may follow several topics.
    topics.update_value(mike.pid(), "weather".into(), Wish::All).await?;
    topics.register(mike.pid(), "sports".into(), Wish::All).await?;
    println!("mike follows {:?}", topics.keys(mike.pid()));

    // Dead means not found, from the very end on.
    joe.stop(ExitReason::Normal).await?;
    let told = publish(&system, &topics, "weather", "sun", false);
    println!("told of the sun: {told}");
    assert_eq!(told, 1);

    // A unique key has one process. `Via` looks it up for each message, as a name does.
    rooms.register(mike.pid(), (7, "lobby"), ()).await?;
    let taken = rooms.register(root.pid(), (7, "lobby"), ()).await;
    println!("a second one in the lobby: {taken:?}");
    assert_eq!(taken, Err(RegistryError::Taken { holder: mike.pid() }));
    let lobby = rooms.via::<Reader>((7, "lobby"));
    lobby.cast(ReaderNews("you have a visitor".into())).await;
    println!("in the lobby: {:?}", lobby.call(ReaderRead).await?);
    // Its address has the methods of the actor, and is that of who is there now.
    println!("the same: {:?}", lobby.addr().read().await?.last());
    mike.stop(ExitReason::Normal).await?;
    let empty = lobby.call(ReaderRead).await;
    println!("an empty lobby: {empty:?}");
    assert_eq!(empty, Err(CallError::NoProc));

    root.stop(ExitReason::Shutdown).await?;
    Ok(())
}
