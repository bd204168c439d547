//! Runs scenarios of supervisors on Tiebeam; `oracle_trees.erl` is its twin.

mod actors;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::{
    Addr, AutoShutdown, ChildError, ChildInfo, ChildSpec, ChildState, DynamicSpec, DynamicSupervisor, ExitReason,
    Intensity, Pid, Restart, Shutdown, Strategy, Supervisor, SupervisorSpec, System,
};
use tiebeam_wire::{Incarnation, NodeId};

use crate::processes::{reason, text};
use actors::{Book, Crash, End, Keeper, Leave, Recorder, Root, Start, Worker, start_supervisor};

const HOUR: Duration = Duration::from_secs(3600);
const STUCK: Duration = Duration::from_millis(5);

/// A child as the scenario describes it.
#[derive(Clone)]
enum Child {
    Supervisor { id: String, restart: String },
    Worker { id: String, restart: String, traps: bool, shutdown: String },
}

struct Tree {
    strategy: Strategy,
    intensity: u32,
    auto_shutdown: AutoShutdown,
    children: Vec<Child>,
}

struct Driver {
    system: System,
    book: Arc<Mutex<Book>>,
    recorder: Addr<Recorder>,
    /// The root's parent.
    keeper: Addr<Keeper>,
    trees: BTreeMap<String, Tree>,
    /// The root is a dynamic supervisor instead.
    crowd: Option<DynamicSpec>,
}

pub(crate) fn run(steps: &[String]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (system, book) = (System::new(NodeId(1), Incarnation(1)), Arc::<Mutex<Book>>::default());
        let recorder = system.spawn::<Recorder>(Arc::clone(&book)).await.unwrap();
        let keeper = system.spawn::<Keeper>((Arc::clone(&book), recorder.clone())).await.unwrap();
        let mut driver = Driver { system, book, recorder, keeper, trees: BTreeMap::new(), crowd: None };
        let mut trace = Vec::new();
        for step in steps {
            let words: Vec<_> = step.split(' ').collect();
            match words[..] {
                ["supervisor", id, strategy, intensity, auto, restart, parent] => {
                    driver.trees.insert(id.to_owned(), tree(strategy, intensity, auto));
                    driver.add(parent, Child::Supervisor { id: id.to_owned(), restart: restart.to_owned() });
                }
                ["worker", id, restart, trap, shutdown, parent] => {
                    driver.add(parent, worker(id, restart, trap, shutdown));
                }
                ["crowd", intensity, restart, shutdown] => driver.crowd = Some(crowd(intensity, restart, shutdown)),
                ref words => {
                    trace.push(format!("step {step}"));
                    trace.push(driver.act(words).await);
                    // Virtual time passes only when nothing moves: longer than children that don't stop are given.
                    tiebeam_world::sleep(Duration::from_secs(1)).await;
                    driver.observe(&mut trace).await;
                }
            }
        }
        trace
    })
}

fn tree(strategy: &str, intensity: &str, auto: &str) -> Tree {
    let strategy = match strategy {
        "one_for_one" => Strategy::OneForOne,
        "one_for_all" => Strategy::OneForAll,
        _ => Strategy::RestForOne,
    };
    let auto_shutdown = match auto {
        "never" => AutoShutdown::Never,
        "any" => AutoShutdown::AnySignificant,
        _ => AutoShutdown::AllSignificant,
    };
    Tree { strategy, intensity: intensity.parse().unwrap(), auto_shutdown, children: Vec::new() }
}

fn worker(id: &str, restart: &str, trap: &str, shutdown: &str) -> Child {
    let [id, restart, shutdown] = [id, restart, shutdown].map(str::to_owned);
    Child::Worker { id, restart, traps: trap == "trap", shutdown }
}

fn crowd(intensity: &str, restart: &str, shutdown: &str) -> DynamicSpec {
    let restart = match restart {
        "permanent" => Restart::Permanent,
        "transient" => Restart::Transient,
        _ => Restart::Temporary,
    };
    let intensity = Intensity { restarts: intensity.parse().unwrap(), period: HOUR };
    DynamicSpec { restart, shutdown: limit(shutdown), intensity, ..DynamicSpec::default() }
}

fn limit(shutdown: &str) -> Shutdown {
    match shutdown {
        "brutal" => Shutdown::BrutalKill,
        "stuck" => Shutdown::Timeout(STUCK),
        _ => Shutdown::Infinity,
    }
}

impl Driver {
    fn add(&mut self, parent: &str, child: Child) {
        if let Some(tree) = self.trees.get_mut(parent) {
            tree.children.push(child);
        }
    }

    async fn act(&self, words: &[&str]) -> String {
        match words {
            ["start"] if self.crowd.is_some() || self.trees.contains_key("s0") => self.start().await,
            ["join", id, trap] if self.root().is_some() && self.whereis(id).is_none() => {
                let args = ((*id).to_owned(), *trap == "trap", false, self.recorder.clone());
                reply(self.members().start_child(args).await.map(drop))
            }
            ["dismiss", id] if self.root().is_some() => match self.last(id) {
                Some(pid) => reply(self.members().stop_child(pid).await),
                None => "skip".to_owned(),
            },
            ["fail", id, times, how] => {
                let failing = (times.parse().unwrap(), (*how).to_owned());
                self.book.lock().unwrap().failing.insert((*id).to_owned(), failing);
                "done".to_owned()
            }
            ["leave", why] if self.root().is_some() => {
                self.keeper.call(Leave(reason(why))).await.unwrap();
                "done".to_owned()
            }
            [verb @ ("kill" | "end" | "crash" | "signal"), id, more @ ..] => match self.whereis(id) {
                Some(pid) => {
                    self.hurt(verb, pid, more).await;
                    "done".to_owned()
                }
                None => "skip".to_owned(),
            },
            [verb @ ("terminate" | "restart" | "delete" | "add"), supervisor, id, more @ ..] => {
                match self.whereis(supervisor) {
                    Some(pid) => reply(self.manage(verb, pid, id, more).await),
                    None => "skip".to_owned(),
                }
            }
            _ => "skip".to_owned(),
        }
    }

    async fn start(&self) -> String {
        if self.root().is_some() {
            return "skip".to_owned();
        }
        let root = match self.crowd {
            Some(ref spec) => Root::Crowd(spec.clone()),
            None => Root::Tree(self.spec("s0")),
        };
        let started = self.keeper.call(Start(root)).await.unwrap();
        started.map_or("failed", |()| "done").to_owned()
    }

    async fn hurt(&self, verb: &str, pid: Pid, more: &[&str]) {
        match (verb, more) {
            ("kill", []) => self.system.exit(pid, ExitReason::Kill),
            ("signal", [why]) => self.system.exit(pid, reason(why)),
            ("end", [why]) => self.system.addr::<Worker>(pid).cast(End(reason(why))).await,
            ("crash", []) => self.system.addr::<Worker>(pid).cast(Crash).await,
            other => panic!("no such step: {other:?}"),
        }
    }

    async fn manage(&self, verb: &str, pid: Pid, id: &str, more: &[&str]) -> Result<(), ChildError> {
        let supervisor = self.system.addr::<Supervisor>(pid);
        match (verb, more) {
            ("terminate", []) => supervisor.stop_child(id).await,
            ("restart", []) => supervisor.restart_child(id).await.map(drop),
            ("delete", []) => supervisor.delete_child(id).await,
            ("add", [restart, trap, shutdown]) => {
                let spec = self.child(&worker(id, restart, trap, shutdown));
                supervisor.start_child(spec).await.map(drop)
            }
            other => panic!("no such step: {other:?}"),
        }
    }

    fn whereis(&self, id: &str) -> Option<Pid> {
        self.book.lock().unwrap().current.get(id).copied()
    }

    fn root(&self) -> Option<Pid> {
        self.whereis("s0")
    }

    fn last(&self, id: &str) -> Option<Pid> {
        self.book.lock().unwrap().last.get(id).copied()
    }

    fn members(&self) -> Addr<DynamicSupervisor<Worker>> {
        self.system.addr(self.root().expect("the root runs"))
    }

    fn spec(&self, id: &str) -> SupervisorSpec {
        let tree = &self.trees[id];
        let spec = SupervisorSpec::new(tree.strategy).intensity(tree.intensity, HOUR).auto_shutdown(tree.auto_shutdown);
        tree.children.iter().fold(spec, |spec, child| spec.child(self.child(child)))
    }

    fn child(&self, child: &Child) -> ChildSpec {
        let recorder = self.recorder.clone();
        let (spec, restart) = match child {
            Child::Supervisor { id, restart } => {
                let (name, spec) = (id.clone(), self.spec(id));
                let start = move |starter| {
                    start_supervisor::<Supervisor>(starter, name.clone(), spec.clone(), recorder.clone())
                };
                (ChildSpec::new(id, start).is_supervisor(), restart)
            }
            Child::Worker { id, restart, traps, shutdown } => {
                let spec = ChildSpec::actor::<Worker>(id, (id.clone(), *traps, shutdown == "stuck", recorder));
                (spec.shutdown(limit(shutdown)), restart)
            }
        };
        let (spec, restart) = match restart.strip_suffix('!') {
            Some(restart) => (spec.significant(), restart),
            None => (spec, restart.as_str()),
        };
        match restart {
            "permanent" => spec.permanent(),
            "transient" => spec.transient(),
            _ => spec.temporary(),
        }
    }

    async fn observe(&self, trace: &mut Vec<String>) {
        let (log, heard) = {
            let mut book = self.book.lock().unwrap();
            (std::mem::take(&mut book.log), std::mem::take(&mut book.heard))
        };
        trace.extend(log.iter().map(|line| format!("log {line}")));
        trace.extend(heard.iter().map(|why| format!("parent hears {}", text(why))));
        if self.crowd.is_some() && self.root().is_some() {
            let children = self.members().which_children().await.unwrap();
            let counts = self.members().count_children().await.unwrap();
            let mut children: Vec<_> = children.iter().map(|child| self.state(child)).collect();
            children.sort();
            let numbers = [counts.active, counts.supervisors, counts.workers];
            trace.push(format!("children of s0 {} {}", joined(&children, ","), joined(&numbers, "/")));
        }
        for id in self.trees.keys() {
            let Some(pid) = self.whereis(id) else { continue };
            let supervisor = self.system.addr::<Supervisor>(pid);
            let children = supervisor.which_children().await.unwrap();
            let counts = supervisor.count_children().await.unwrap();
            let children: Vec<_> = children.iter().map(|child| format!("{}={}", child.id, self.state(child))).collect();
            let numbers = [counts.specs, counts.active, counts.supervisors, counts.workers];
            trace.push(format!("children of {id} {} {}", joined(&children, ","), joined(&numbers, "/")));
        }
    }

    fn state(&self, child: &ChildInfo) -> String {
        match child.state {
            ChildState::Running(pid) => self.book.lock().unwrap().name(pid),
            ChildState::Restarting => "restarting".to_owned(),
            ChildState::Stopped => "stopped".to_owned(),
        }
    }
}

fn joined<T: ToString>(items: &[T], separator: &str) -> String {
    let items: Vec<_> = items.iter().map(T::to_string).collect();
    if items.is_empty() { "-".to_owned() } else { items.join(separator) }
}

fn reply(result: Result<(), ChildError>) -> String {
    let text = match result {
        Ok(()) => "ok",
        Err(ChildError::Missing { .. }) => "missing",
        Err(ChildError::Running { .. }) => "running",
        Err(ChildError::Exists { .. }) => "exists",
        Err(ChildError::Start { reason: ExitReason::Ignore }) => "ignored",
        Err(ChildError::Start { .. } | ChildError::Significant { .. }) => "failed",
        Err(ChildError::Call(_)) => "dead",
        Err(error) => return format!("{error:?}"),
    };
    text.to_owned()
}
