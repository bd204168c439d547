//! Runs scenarios of processes on Tiebeam; `oracle_processes.erl` is its twin, act for act.

mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_actor::{ExitReason, Pid, System};
use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::Notify;

use crate::known;
use crate::scenario::Scenario;
use probe::{Act, Acts, Events, Faulty, NAMES, Probe, SpawnChild, Target, What};

/// Takes one step, waits until nothing moves, writes down what it sees.
struct Driver {
    system: System,
    events: Events,
    latest: BTreeMap<String, Pid>,
    lives: BTreeMap<String, u32>,
    names: BTreeMap<Pid, String>,
    /// Those that wait for an answer or for a start.
    busy: BTreeSet<Pid>,
    /// Those that wait in `init` or in `terminate`, and what releases them.
    paused: BTreeMap<Pid, Arc<Notify>>,
    alive: BTreeMap<Pid, BoxFuture<'static, ExitReason>>,
    /// Whether known differences are stepped around.
    excuses_known: bool,
}

pub(crate) fn run(scenario: &Scenario) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut driver = Driver {
            system: System::new(NodeId(1), Incarnation(1)),
            events: Arc::new(Mutex::default()),
            latest: BTreeMap::new(),
            lives: BTreeMap::new(),
            names: BTreeMap::new(),
            busy: BTreeSet::new(),
            paused: BTreeMap::new(),
            alive: BTreeMap::new(),
            excuses_known: scenario.seed.is_some(),
        };
        let mut trace = Vec::new();
        for step in &scenario.steps {
            trace.push(format!("step {step}"));
            let words: Vec<_> = step.split(' ').collect();
            trace.push(driver.act(&words).await);
            // Virtual time passes only when nothing moves: longer than the calls that give up.
            tiebeam_world::sleep(Duration::from_millis(10)).await;
            driver.observe(&mut trace);
        }
        trace
    })
}

pub(crate) fn reason(text: &str) -> ExitReason {
    match text {
        "normal" => ExitReason::Normal,
        "shutdown" => ExitReason::Shutdown,
        "kill" => ExitReason::Kill,
        "killed" => ExitReason::Killed,
        "noproc" => ExitReason::NoProc,
        text => ExitReason::Other(text.to_owned()),
    }
}

pub(crate) fn text(reason: &ExitReason) -> String {
    match reason {
        ExitReason::NoProc => "noproc".to_owned(),
        ExitReason::Panic(_) => "crash".to_owned(),
        reason => reason.to_string(),
    }
}

impl Driver {
    async fn act(&mut self, words: &[&str]) -> String {
        match words {
            ["spawn", label, trap, parent] => self.spawn(label, *trap == "trap", parent).await,
            ["spawnslow", label, trap, parent] => self.spawn_slow(label, *trap == "trap", parent).await,
            ["release", label] => match self.latest.get(*label).and_then(|pid| self.paused.remove(pid)) {
                Some(pause) => {
                    pause.notify_one();
                    "done".to_owned()
                }
                None => "skip".to_owned(),
            },
            ["fail", why] => {
                let failed = self.system.spawn::<Faulty>((*why).to_owned()).await;
                format!("failed {}", text(&failed.unwrap_err()))
            }
            ["outside", label, why] => match self.latest.get(*label) {
                Some(pid) => {
                    self.system.exit(*pid, reason(why));
                    "done".to_owned()
                }
                None => "skip".to_owned(),
            },
            ["stop", label, why] => match self.idle(label) {
                Some(pid) => {
                    let ended = self.system.addr::<Probe>(pid).stop(reason(why)).await;
                    assert_eq!(ended, Ok(reason(why)));
                    "done".to_owned()
                }
                None => "skip".to_owned(),
            },
            ["register", name, label] => self.register(name, label),
            ["unregister", name] => self.system.unregister(name).map_or("none", |_| "done").to_owned(),
            ["do", label, acts @ ..] => match self.latest.get(*label).copied() {
                Some(pid) if self.alive.contains_key(&pid) => {
                    let is_last = |act: &&str| {
                        ["self", "end", "linger", "exit", "crash", "call"].iter().any(|verb| act.starts_with(verb))
                    };
                    let ends = acts.iter().any(is_last);
                    let acts = acts.iter().filter_map(|act| self.prepare(act, pid, ends)).collect();
                    self.system.addr::<Probe>(pid).cast(Acts(acts)).await;
                    "done".to_owned()
                }
                _ => "skip".to_owned(),
            },
            words => panic!("no such step: {words:?}"),
        }
    }

    async fn spawn(&self, label: &str, traps: bool, parent: &str) -> String {
        let events = Arc::clone(&self.events);
        match (self.is_free(label), parent, self.idle(parent)) {
            (true, "-", _) => {
                let child = self.system.spawn::<Probe>((events, traps, None)).await.unwrap();
                probe::tell(&self.events, child.pid(), child.pid(), What::Spawned(label.to_owned(), child.pid()));
            }
            (true, _, Some(parent)) => {
                let child = SpawnChild { label: label.to_owned(), traps, is_slow: false };
                self.system.addr::<Probe>(parent).cast(child).await;
            }
            _ => return "skip".to_owned(),
        }
        "done".to_owned()
    }

    /// A parent that doesn't trap exits is ended in OTP by a child that is ended in `init`.
    async fn spawn_slow(&self, label: &str, traps: bool, parent: &str) -> String {
        let parent = self.idle(parent).filter(|pid| self.system.process_info(*pid).is_some_and(|info| info.traps_exit));
        match parent {
            Some(parent) if self.is_free(label) => {
                let child = SpawnChild { label: label.to_owned(), traps, is_slow: true };
                self.system.addr::<Probe>(parent).cast(child).await;
                "done".to_owned()
            }
            _ => "skip".to_owned(),
        }
    }

    fn is_free(&self, label: &str) -> bool {
        self.latest.get(label).is_none_or(|pid| !self.alive.contains_key(pid))
    }

    fn register(&self, name: &str, label: &str) -> String {
        let Some(pid) = self.latest.get(label) else { return "skip".to_owned() };
        // In OTP a process has one name, in Tiebeam several: a second one is not asked for.
        if self.system.process_info(*pid).is_some_and(|info| !info.names.is_empty()) {
            return "skip".to_owned();
        }
        self.system.register(name, *pid).map_or("refused", |()| "done").to_owned()
    }

    fn idle(&self, label: &str) -> Option<Pid> {
        let pid = self.latest.get(label)?;
        (self.alive.contains_key(pid) && !self.is_busy(*pid)).then_some(*pid)
    }

    fn is_busy(&self, pid: Pid) -> bool {
        self.busy.contains(&pid) || self.paused.contains_key(&pid)
    }

    /// Turns labels into pids and drops acts that are not comparable; the twin drops the same.
    fn prepare(&self, act: &str, from: Pid, ends: bool) -> Option<Act> {
        let words: Vec<_> = act.split(':').collect();
        let pid = || words.get(1).and_then(|label| self.latest.get(*label)).copied();
        let number = |text: &str| text.parse().unwrap();
        Some(match words[..] {
            ["send", _, n] => Act::Send(Target::Pid(pid()?), number(n)),
            ["sendname", name, n] => Act::Send(Target::Name(name.to_owned()), number(n)),
            // Whether its exit comes before the process ends by itself is a race.
            ["link", _] => Act::Link(pid().filter(|pid| !ends || self.alive.contains_key(pid))?),
            ["unlink", _] => Act::Unlink(pid().filter(|pid| self.alive.contains_key(pid))?),
            ["monitor", _, label] => Act::Monitor(pid()?, label.to_owned()),
            ["demonitor", label] => Act::Demonitor(label.to_owned()),
            ["exit", _, why] => Act::Exit(pid()?, reason(why)),
            ["self", why] => Act::ExitSelf(reason(why)),
            ["end", why] => Act::End(reason(why)),
            ["linger", why] => Act::Linger(reason(why)),
            ["crash"] => Act::Crash,
            ["trap", how] => Act::Trap(how == "on"),
            ["answer"] => Act::Answer,
            ["wait"] => Act::Wait,
            ["call", _, ref kind @ ..] => self.call(Target::Pid(pid()?), pid(), kind, from)?,
            ["callname", name, ref kind @ ..] => {
                self.call(Target::Name(name.to_owned()), self.system.whereis(name), kind, from)?
            }
            ref words => panic!("no such act: {words:?}"),
        })
    }

    fn call(&self, to: Target, callee: Option<Pid>, kind: &[&str], from: Pid) -> Option<Act> {
        let leaves_no_mark = matches!(kind[0], "reply" | "defer" | "never");
        let is_busy = callee.is_some_and(|callee| self.is_busy(callee));
        let is_comparable = callee != Some(from) && !self.is_busy(from) && (!is_busy || leaves_no_mark);
        let kind = kind.iter().map(|&word| word.to_owned()).collect();
        is_comparable.then_some(Act::Call { to, is_there: callee.is_some(), kind })
    }

    fn observe(&mut self, trace: &mut Vec<String>) {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        for event in events {
            let what = match event.what {
                What::Spawned(label, pid) => {
                    self.born(label, pid);
                    continue;
                }
                What::Calling => {
                    self.busy.insert(event.who);
                    continue;
                }
                What::Paused(pause) => {
                    self.paused.insert(event.who, pause);
                    continue;
                }
                What::Called(result) => {
                    self.busy.remove(&event.who);
                    format!("called {result}")
                }
                What::Text(text) => text,
            };
            trace.push(format!("event {} {} {what}", self.name(event.who), self.name(event.source)));
        }
        let dead = self.alive.iter_mut().filter_map(|(pid, ended)| Some((*pid, ended.now_or_never()?)));
        for (pid, reason) in dead.collect::<Vec<_>>() {
            trace.push(format!("died {} {}", self.name(pid), text(&reason)));
            self.alive.remove(&pid);
            self.busy.remove(&pid);
            self.paused.remove(&pid);
        }
        let holders = NAMES.iter().filter_map(|name| Some((name, self.system.whereis(name)?)));
        trace.extend(holders.map(|(name, pid)| format!("name {name} {}", self.name(pid))));
        trace.extend(self.alive.keys().map(|pid| self.look(*pid)));
    }

    fn born(&mut self, label: String, pid: Pid) {
        let life = self.lives.entry(label.clone()).or_default();
        *life += 1;
        self.names.insert(pid, format!("{label}.{life}"));
        self.latest.insert(label, pid);
        self.alive.insert(pid, self.system.wait(pid).boxed());
    }

    fn look(&self, pid: Pid) -> String {
        let info = self.system.process_info(pid).expect("a process that did not end is there");
        let trap = if info.traps_exit { "traps" } else { "plain" };
        let names = |pids: &[Pid]| {
            let mut names: Vec<_> = pids.iter().map(|pid| self.name(*pid)).collect();
            names.sort();
            if names.is_empty() { "-".to_owned() } else { names.join(",") }
        };
        let (links, watches) = (names(&info.links), names(&info.monitors));
        let excuses = self.excuses_known && known::WATCHERS_STAY_WHEN_THEY_DIE;
        let counts = |watcher: &&Pid| !excuses || self.alive.contains_key(watcher);
        let watched = names(&info.monitored_by.iter().filter(counts).copied().collect::<Vec<_>>());
        format!("alive {} {trap} links {links} watches {watches} watched {watched}", self.name(pid))
    }

    fn name(&self, pid: Pid) -> String {
        match self.names.get(&pid) {
            Some(name) => name.clone(),
            None => "outside".to_owned(),
        }
    }
}
