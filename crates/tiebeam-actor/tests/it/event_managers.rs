use tiebeam_actor::event_manager::{EventHandler, HandlerCall, HandlerError, HandlerExit, Next, Removal};
use tiebeam_actor::{Actor, Addr, Ctx, EventManager, ExitReason, Handler, System};
use tokio::sync::mpsc;

use crate::probe::{settle, system};

type Heard = mpsc::UnboundedSender<String>;

/// Hears `crash` and `enough` as orders.
struct Ear {
    name: &'static str,
    heard: Heard,
    count: u32,
}

struct Count;

impl EventHandler<&'static str> for Ear {
    async fn handle_event(&mut self, event: &&'static str) -> Next {
        self.count += 1;
        let _ = self.heard.send(format!("{} {event}", self.name));
        match *event {
            "crash" => std::panic::resume_unwind(Box::new("crash")),
            "enough" => Next::Remove,
            _ => Next::Keep,
        }
    }
}

impl HandlerCall<&'static str, Count> for Ear {
    type Reply = u32;

    async fn handle_call(&mut self, _: Count) -> u32 {
        self.count
    }
}

/// Hears nothing and crashes when it is asked.
struct Deaf;

impl EventHandler<&'static str> for Deaf {
    async fn handle_event(&mut self, _: &&'static str) -> Next {
        Next::Keep
    }
}

impl HandlerCall<&'static str, Count> for Deaf {
    type Reply = u32;

    async fn handle_call(&mut self, _: Count) -> u32 {
        std::panic::resume_unwind(Box::new("deaf"))
    }
}

/// Owns handlers.
struct Owner(mpsc::UnboundedSender<HandlerExit>);

impl Actor for Owner {
    type Args = mpsc::UnboundedSender<HandlerExit>;

    async fn init(told: Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(told))
    }
}

impl Handler<HandlerExit> for Owner {
    type Reply = ();

    async fn handle(&mut self, exit: HandlerExit, _: &mut Ctx<Self>) {
        let _ = self.0.send(exit);
    }
}

struct Stage {
    system: System,
    manager: Addr<EventManager<&'static str>>,
    heard_tx: Heard,
    heard: mpsc::UnboundedReceiver<String>,
    owner: Addr<Owner>,
    told: mpsc::UnboundedReceiver<HandlerExit>,
}

impl Stage {
    async fn new() -> Self {
        let system = system(1);
        let manager = system.spawn::<EventManager<&'static str>>(()).await.unwrap();
        let ((heard_tx, heard), (told_tx, told)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let owner = system.spawn::<Owner>(told_tx).await.unwrap();
        Self { system, manager, heard_tx, heard, owner, told }
    }

    fn ear(&self, name: &'static str) -> Ear {
        Ear { name, heard: self.heard_tx.clone(), count: 0 }
    }

    fn heard(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    /// Lets everything settle; returns what the owner was told of.
    async fn told(&mut self) -> Vec<(String, Removal)> {
        settle().await;
        std::iter::from_fn(|| self.told.try_recv().ok()).map(|exit| (exit.id, exit.reason)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn all_handlers_hear_and_the_newest_first() {
    let mut stage = Stage::new().await;
    stage.manager.add_handler("a", stage.ear("a")).await.unwrap();
    stage.manager.notify("one").await;
    stage.manager.add_handler("b", stage.ear("b")).await.unwrap();
    stage.manager.sync_notify("two").await.unwrap();
    assert_eq!(stage.heard(), ["a one", "b two", "a two"]);
    assert_eq!(stage.manager.which_handlers().await.unwrap(), ["b", "a"]);
    let twin = stage.manager.add_handler("a", Deaf).await;
    assert_eq!(twin, Err(HandlerError::Exists { id: "a".into() }));
}

/// Fails if a crash takes the manager or another handler along, or if the event doesn't reach the others.
#[tokio::test(start_paused = true)]
async fn handler_that_crashes_or_has_enough_is_removed() {
    let mut stage = Stage::new().await;
    for name in ["a", "b"] {
        stage.manager.add_handler(name, stage.ear(name)).await.unwrap();
    }
    stage.manager.add_handler("deaf", Deaf).await.unwrap();
    stage.manager.sync_notify("crash").await.unwrap();
    assert_eq!(stage.heard(), ["b crash", "a crash"]);
    assert_eq!(stage.manager.which_handlers().await.unwrap(), ["deaf"]);
    stage.manager.add_handler("c", stage.ear("c")).await.unwrap();
    stage.manager.sync_notify("enough").await.unwrap();
    assert_eq!(stage.manager.which_handlers().await.unwrap(), ["deaf"]);
    let reason = ExitReason::Panic("deaf".into());
    let asked = stage.manager.call_handler::<Deaf, _>("deaf", Count).await;
    assert_eq!(asked, Err(HandlerError::Crashed { id: "deaf".into(), reason }));
    assert!(stage.manager.which_handlers().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_handler_is_asked_deleted_and_swapped_with_its_state() {
    let stage = Stage::new().await;
    let manager = &stage.manager;
    manager.add_handler("a", stage.ear("a")).await.unwrap();
    manager.notify("one").await;
    assert_eq!(manager.call_handler::<Ear, _>("a", Count).await, Ok(1));
    let missing = Err(HandlerError::Missing { id: "b".into() });
    assert_eq!(manager.call_handler::<Ear, _>("b", Count).await, missing);
    let incompatible = Err(HandlerError::Incompatible { id: "a".into() });
    assert_eq!(manager.call_handler::<Deaf, _>("a", Count).await, incompatible);
    assert_eq!(manager.delete_handler::<Deaf>("a").await.map(drop), Err(HandlerError::Incompatible { id: "a".into() }));
    let swapped = manager.swap_handler("a", "b", |old: Option<Ear>| Ear { name: "b", ..old.unwrap() }).await;
    assert_eq!(swapped, Ok(()));
    manager.notify("two").await;
    assert_eq!(manager.which_handlers().await.unwrap(), ["b"]);
    assert_eq!(manager.delete_handler::<Ear>("b").await.unwrap().count, 2);
    manager.swap_handler("b", "b", |old: Option<Ear>| old.map_or(Deaf, |_| panic!("it is gone"))).await.unwrap();
    assert_eq!(manager.which_handlers().await.unwrap(), ["b"]);
}

/// Fails if a handler outlives its actor, or if the actor is not told of its handler's end.
#[tokio::test(start_paused = true)]
async fn handler_and_its_actor_hear_of_each_others_end() {
    let mut stage = Stage::new().await;
    let (manager, owner) = (stage.manager.clone(), stage.owner.clone());
    for name in ["a", "b", "c"] {
        manager.add_sup_handler(&owner, name, stage.ear(name)).await.unwrap();
    }
    drop(manager.delete_handler::<Ear>("a").await.unwrap());
    assert_eq!(stage.told().await, [("a".to_owned(), Removal::Normal)]);
    manager.swap_handler("b", "d", |old: Option<Ear>| old.unwrap()).await.unwrap();
    assert_eq!(stage.told().await, [("b".to_owned(), Removal::Swapped { by: "d".into() })]);
    manager.sync_notify("crash").await.unwrap();
    let crash = Removal::Crashed(ExitReason::Panic("crash".into()));
    let mut told = stage.told().await;
    told.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(told, [("c".to_owned(), crash.clone()), ("d".to_owned(), crash)]);
    assert!(stage.system.process_info(owner.pid()).unwrap().links.is_empty(), "nothing ties the two any more");

    manager.add_sup_handler(&owner, "e", stage.ear("e")).await.unwrap();
    manager.add_handler("f", stage.ear("f")).await.unwrap();
    stage.system.exit(owner.pid(), ExitReason::Kill);
    settle().await;
    assert_eq!(manager.which_handlers().await.unwrap(), ["f"]);
}

#[tokio::test(start_paused = true)]
async fn end_of_the_manager_is_an_exit_of_the_owner() {
    let stage = Stage::new().await;
    stage.manager.add_sup_handler(&stage.owner, "a", Deaf).await.unwrap();
    stage.system.exit(stage.manager.pid(), ExitReason::Kill);
    settle().await;
    assert!(!stage.system.is_alive(stage.owner.pid()));
}

#[tokio::test(start_paused = true)]
async fn owner_hears_that_the_manager_stops() {
    let mut stage = Stage::new().await;
    stage.manager.add_sup_handler(&stage.owner, "a", Deaf).await.unwrap();
    stage.manager.stop(ExitReason::Normal).await.unwrap();
    assert_eq!(stage.told().await, [("a".to_owned(), Removal::Shutdown)]);
    assert!(stage.system.is_alive(stage.owner.pid()));
}

#[tokio::test(start_paused = true)]
async fn handlers_have_a_limit() {
    let stage = Stage::new().await;
    for number in 0..1024 {
        stage.manager.add_handler(number.to_string(), Deaf).await.unwrap();
    }
    assert_eq!(stage.manager.add_handler("one more", Deaf).await, Err(HandlerError::TooMany { limit: 1024 }));
}
