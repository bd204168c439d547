//! Runs scenarios of state machines on Tiebeam; `oracle_machines.erl` is its twin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::state_machine::{Entry, Event, Timeout, Transition};
use tiebeam_actor::{Addr, CallError, Ctx, ExitReason, Machine, ReplyTo, StateMachine, System};
use tiebeam_wire::{Incarnation, NodeId};

use crate::processes::text;

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than anybody waits here.
const EVER: Duration = Duration::from_secs(1 << 32);

/// What a machine does, as the scenario says.
#[derive(Clone, Default)]
struct Table {
    tired: u32,
    rules: BTreeMap<(String, String), Vec<String>>,
    entries: BTreeMap<String, Vec<String>>,
}

type Log = Arc<Mutex<Vec<String>>>;

struct Scripted {
    table: Table,
    log: Log,
    handled: u32,
    /// Calls that are never answered: in OTP too their callers wait until the machine ends.
    forgotten: Vec<ReplyTo<String>>,
}

impl StateMachine for Scripted {
    type Args = (Table, Log);
    type State = String;
    type Message = String;
    type Reply = String;
    type Timer = String;

    async fn init((table, log): Self::Args, _: &mut Ctx<Machine<Self>>) -> Result<(Self, String), ExitReason> {
        Ok((Self { table, log, handled: 0, forgotten: Vec::new() }, "s0".to_owned()))
    }

    async fn terminate(&mut self, reason: &ExitReason, _: &String, _: &mut Ctx<Machine<Self>>) {
        self.write(format!("down {}", text(reason)));
    }

    async fn enter(&mut self, old: &String, new: &String, _: &mut Ctx<Machine<Self>>) -> Entry<Self> {
        self.write(format!("enter {old} {new}"));
        let actions = self.table.entries.get(new).cloned().unwrap_or_default();
        actions.iter().fold(Entry::new(), |entry, action| match timer(action) {
            (timeout, Some(after)) => entry.timeout(timeout, after),
            (timeout, None) => entry.cancel(timeout),
        })
    }

    async fn handle(&mut self, state: &String, event: Event<Self>, _: &mut Ctx<Machine<Self>>) -> Transition<Self> {
        let (kind, name) = match &event {
            Event::Message(name, _) => ("", name.clone()),
            Event::Internal(name) => ("inner ", name.clone()),
            Event::Timeout(timeout) => ("", format!("time:{}", timeout_name(timeout))),
            Event::Info(info) => panic!("nobody sends {info:?}"),
        };
        self.write(format!("handle {state} {kind}{name}"));
        self.handled += 1;
        if self.handled > self.table.tired {
            return Transition::stop(ExitReason::Other("tired".to_owned()));
        }
        let rule = self.table.rules.get(&(state.clone(), name)).cloned().unwrap_or_default();
        let (next, actions) = rule.split_first().map_or(("keep", &[][..]), |(next, actions)| (next.as_str(), actions));
        let transition = match next.strip_prefix("stop:") {
            Some("normal") => Transition::stop(ExitReason::Normal),
            Some(reason) => Transition::stop(ExitReason::Other(reason.to_owned())),
            None if next == "keep" => Transition::keep_state(),
            None if next == "repeat" => Transition::repeat_state(),
            None => Transition::next_state(next.to_owned()),
        };
        self.act(actions, transition, state, event)
    }
}

impl Scripted {
    fn write(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    fn act(
        &mut self,
        actions: &[String],
        mut transition: Transition<Self>,
        state: &str,
        event: Event<Self>,
    ) -> Transition<Self> {
        let mut event = Some(event);
        for action in actions {
            transition = match (action.as_str(), action.strip_prefix("insert:")) {
                ("postpone", _) => transition.postpone(event.take().expect("postponed once, and first")),
                ("reply", _) => match event.take() {
                    Some(Event::Message(_, reply_to)) => transition.reply(reply_to, state.to_owned()),
                    _ => transition,
                },
                (_, Some(name)) => transition.next_event(Event::Internal(name.to_owned())),
                (timing, None) => match timer(timing) {
                    (timeout, Some(after)) => transition.timeout(timeout, after),
                    (timeout, None) => transition.cancel(timeout),
                },
            };
        }
        if let Some(Event::Message(_, reply_to)) = event {
            self.forgotten.push(reply_to);
        }
        transition
    }
}

fn timer(action: &str) -> (Timeout<String>, Option<Duration>) {
    let (verb, name) = action.split_once(':').unwrap();
    let timeout = match name {
        "state" => Timeout::State,
        "event" => Timeout::Event,
        name => Timeout::Named(name.to_owned()),
    };
    match verb {
        "zero" => (timeout, Some(Duration::ZERO)),
        "long" => (timeout, Some(HOUR)),
        "cancel" => (timeout, None),
        other => panic!("no such action: {other}"),
    }
}

fn timeout_name(timeout: &Timeout<String>) -> &str {
    match timeout {
        Timeout::State => "state",
        Timeout::Event => "event",
        Timeout::Named(name) => name,
    }
}

pub(crate) fn run(steps: &[String]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut driver = Driver::default();
        let mut trace = Vec::new();
        for step in steps {
            let words: Vec<_> = step.split(' ').collect();
            let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
            match words[..] {
                ["tired", handled] => driver.table.tired = handled.parse().unwrap(),
                ["rule", state, event, ref rule @ ..] => {
                    driver.table.rules.insert((state.to_owned(), event.to_owned()), owned(rule));
                }
                ["entry", state, ref actions @ ..] => {
                    driver.table.entries.insert(state.to_owned(), owned(actions));
                }
                ref words => {
                    trace.push(format!("step {step}"));
                    driver.act(words).await;
                    // Virtual time passes only when nothing moves.
                    tiebeam_world::sleep(Duration::from_millis(1)).await;
                    driver.observe(&mut trace).await;
                }
            }
        }
        trace
    })
}

#[derive(Default)]
struct Driver {
    table: Table,
    log: Log,
    answers: Log,
    asked: u32,
    machine: Option<(System, Addr<Machine<Scripted>>)>,
}

impl Driver {
    async fn act(&mut self, words: &[&str]) {
        match (words, &self.machine) {
            (["start"], None) => {
                let system = System::new(NodeId(1), Incarnation(1));
                let args = (self.table.clone(), Arc::clone(&self.log));
                let machine = system.spawn::<Machine<Scripted>>(args).await.unwrap();
                self.machine = Some((system, machine));
            }
            (["send", events @ ..], Some((_, machine))) => {
                for event in events {
                    machine.cast((*event).to_owned()).await;
                }
            }
            (["ask", event], Some((_, machine))) => {
                let (number, answers) = (self.asked, Arc::clone(&self.answers));
                let (machine, event) = (machine.clone(), (*event).to_owned());
                tiebeam_world::spawn("test.ask", async move {
                    let answer = match machine.call(event).timeout(EVER).await {
                        Ok(state) => state,
                        Err(CallError::NoProc | CallError::Exit(_)) => "dead".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    answers.lock().unwrap().push(format!("answer {number} {answer}"));
                });
                self.asked += 1;
            }
            _ => {}
        }
    }

    async fn observe(&self, trace: &mut Vec<String>) {
        trace.append(&mut self.log.lock().unwrap());
        let mut answers = std::mem::take(&mut *self.answers.lock().unwrap());
        answers.sort();
        trace.extend(answers);
        let Some((_, machine)) = &self.machine else { return };
        let Ok(status) = machine.status().await else { return };
        let timeouts: Vec<_> = status.timeouts.iter().map(timeout_name).collect();
        let timeouts = if timeouts.is_empty() { "-".to_owned() } else { timeouts.join(",") };
        trace.push(format!("state {} postponed {} timeouts {timeouts}", status.state, status.postponed));
    }
}
