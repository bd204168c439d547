//! Runs scenarios of event managers on Tiebeam; `oracle_events.erl` is its twin.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::event_manager::{EventHandler, HandlerCall, HandlerError, HandlerExit, Next, Removal};
use tiebeam_actor::{Actor, Addr, Ctx, EventManager, ExitReason, Handler, System};
use tiebeam_wire::{Incarnation, NodeId};

type Manager = Addr<EventManager<String>>;
type Log = Arc<Mutex<Vec<String>>>;

struct Scripted {
    id: String,
    log: Log,
    count: u32,
}

struct Ask(String);

impl Scripted {
    fn new(id: &str, log: &Log) -> Self {
        log.lock().unwrap().push(format!("up {id}"));
        Self { id: id.to_owned(), log: Arc::clone(log), count: 0 }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.log.lock().unwrap().push(format!("gone {}", self.id));
    }
}

/// Panics without a word on stderr.
fn crash() -> ! {
    std::panic::resume_unwind(Box::new("boom"))
}

impl EventHandler<String> for Scripted {
    async fn handle_event(&mut self, event: &String) -> Next {
        self.log.lock().unwrap().push(format!("hears {} {event}", self.id));
        self.count += 1;
        match event.split_once(':') {
            Some(("crash", id)) if id == self.id => crash(),
            Some(("enough", id)) if id == self.id => Next::Remove,
            _ => Next::Keep,
        }
    }
}

impl HandlerCall<String, Ask> for Scripted {
    type Reply = u32;

    async fn handle_call(&mut self, Ask(what): Ask) -> u32 {
        if what == "crash" { crash() } else { self.count }
    }
}

struct Owner(Log);

impl Actor for Owner {
    type Args = Log;

    async fn init(told: Log, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(told))
    }
}

impl Handler<HandlerExit> for Owner {
    type Reply = ();

    async fn handle(&mut self, HandlerExit { id, reason, .. }: HandlerExit, _: &mut Ctx<Self>) {
        let reason = match reason {
            Removal::Normal => "normal".to_owned(),
            Removal::Swapped { by } => format!("swapped {by}"),
            Removal::Crashed(_) => "crash".to_owned(),
            Removal::Shutdown => "shutdown".to_owned(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(format!("told {id} {reason}"));
    }
}

struct Driver {
    system: System,
    manager: Option<Manager>,
    owner: Option<Addr<Owner>>,
    log: Log,
    told: Log,
}

pub(crate) fn run(steps: &[String]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let system = System::new(NodeId(1), Incarnation(1));
        let mut driver = Driver { system, manager: None, owner: None, log: Log::default(), told: Log::default() };
        let mut trace = Vec::new();
        for step in steps {
            trace.push(format!("step {step}"));
            trace.push(driver.act(&step.split(' ').collect::<Vec<_>>()).await);
            // Virtual time passes only when nothing moves.
            tiebeam_world::sleep(Duration::from_millis(1)).await;
            driver.observe(&mut trace).await;
        }
        trace
    })
}

impl Driver {
    async fn act(&mut self, words: &[&str]) -> String {
        let Some(manager) = self.manager.clone() else {
            if words != ["start"] {
                return "skip".to_owned();
            }
            self.manager = Some(self.system.spawn::<EventManager<String>>(()).await.unwrap());
            return "ok".to_owned();
        };
        match words {
            ["stop"] => {
                manager.stop(ExitReason::Normal).await.unwrap();
                self.manager = None;
                "ok".to_owned()
            }
            [verb @ ("add" | "sup"), id] => self.add(&manager, verb, id).await,
            ["delete", id] => reply(manager.delete_handler::<Scripted>(*id).await.map(drop)),
            ["swap", old, new] => {
                let (id, log) = ((*new).to_owned(), Arc::clone(&self.log));
                let make = move |old: Option<Scripted>| {
                    drop(old);
                    Scripted::new(&id, &log)
                };
                reply(manager.swap_handler(*old, *new, make).await)
            }
            ["ask", id, what] => match manager.call_handler::<Scripted, _>(*id, Ask((*what).to_owned())).await {
                Ok(count) => count.to_string(),
                Err(error) => reply(Err(error)),
            },
            ["notify", events @ ..] => {
                for event in events {
                    manager.notify((*event).to_owned()).await;
                }
                "ok".to_owned()
            }
            ["sync", event] => reply(manager.sync_notify((*event).to_owned()).await.map_err(HandlerError::Call)),
            ["kill", "owner"] => match self.owner.take() {
                Some(owner) => {
                    self.system.exit(owner.pid(), ExitReason::Kill);
                    "ok".to_owned()
                }
                None => "skip".to_owned(),
            },
            _ => "skip".to_owned(),
        }
    }

    async fn add(&mut self, manager: &Manager, verb: &str, id: &str) -> String {
        if verb == "sup" && self.owner.is_none() {
            self.owner = Some(self.system.spawn::<Owner>(Arc::clone(&self.told)).await.unwrap());
        }
        if manager.which_handlers().await.unwrap().iter().any(|other| other == id) {
            return "exists".to_owned();
        }
        let handler = Scripted::new(id, &self.log);
        match &self.owner {
            Some(owner) if verb == "sup" => reply(manager.add_sup_handler(owner, id, handler).await),
            _ => reply(manager.add_handler(id, handler).await),
        }
    }

    async fn observe(&self, trace: &mut Vec<String>) {
        trace.append(&mut self.log.lock().unwrap());
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.sort();
        trace.extend(told);
        if let Some(manager) = &self.manager {
            let handlers = manager.which_handlers().await.unwrap();
            let handlers = if handlers.is_empty() { "-".to_owned() } else { handlers.join(",") };
            trace.push(format!("handlers {handlers}"));
        }
    }
}

fn reply(result: Result<(), HandlerError>) -> String {
    let text = match result {
        Ok(()) => "ok",
        Err(HandlerError::Exists { .. }) => "exists",
        Err(HandlerError::Missing { .. }) => "missing",
        Err(HandlerError::Crashed { .. }) => "crashed",
        Err(error) => return error.to_string(),
    };
    text.to_owned()
}
