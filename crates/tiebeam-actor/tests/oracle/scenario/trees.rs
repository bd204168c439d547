//! Scenarios of supervisors and their children.
//!
//! Labels `s0`.. name supervisors, `s0` the root; `c0`.. name workers. First lines, in start order:
//!
//! - `supervisor s strategy intensity never|any|all restart parent`: the root's parent is `-`, and the period an hour;
//!   which significant children end it
//! - `worker c restart trap|plain brutal|wait|stuck parent`: a stuck one never stops when it is asked, and is killed
//!
//! The restart of a significant child ends with `!`.
//!
//! Steps:
//!
//! - `start`: starts the root, linked to the driver
//! - `fail c times stop|crash|ignore`: the next starts of `c` fail, or choose not to run
//! - `kill c`, `kill s`, `crash c`, `end c reason` (in the orderly way), `signal c reason`, `signal s reason`
//! - `terminate s c`, `restart s c`, `delete s c`, `add s c restart trap|plain brutal|wait`
//! - `leave reason`: the root's parent sends it an exit

use fastrand::Rng;

use super::pick;

const RESTARTS: [&str; 5] = ["permanent", "permanent", "transient", "transient", "temporary"];
const AUTOS: [&str; 4] = ["never", "never", "any", "all"];
const STRATEGIES: [&str; 3] = ["one_for_one", "one_for_all", "rest_for_one"];
const REASONS: [&str; 4] = ["normal", "shutdown", "x1", "kill"];

struct Tree {
    lines: Vec<String>,
    supervisors: Vec<String>,
    workers: Vec<String>,
    /// Which significant children end each supervisor.
    autos: Vec<&'static str>,
    /// Whether a supervisor may be killed: children that are stuck would then be for ever.
    has_stuck: bool,
}

pub(super) fn steps(rng: &mut Rng) -> Vec<String> {
    let (lines, supervisors, workers, autos) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut tree = Tree { lines, supervisors, workers, autos, has_stuck: rng.u32(0..8) == 0 };
    tree.supervisor(rng, "-", "never", 0);
    let mut steps = tree.lines.clone();
    if rng.u32(0..12) == 0 {
        steps.push(tree.fail(rng));
    }
    steps.push("start".to_owned());
    for _ in 0..rng.usize(1..14) {
        steps.push(tree.step(rng));
    }
    steps
}

impl Tree {
    fn supervisor(&mut self, rng: &mut Rng, parent: &str, parent_auto: &str, depth: u32) {
        let id = format!("s{}", self.supervisors.len());
        let (strategy, auto, restart) = (pick(rng, &STRATEGIES), pick(rng, &AUTOS), restart(rng, parent_auto));
        self.lines.push(format!("supervisor {id} {strategy} {} {auto} {restart} {parent}", rng.u32(0..5)));
        self.supervisors.push(id.clone());
        self.autos.push(auto);
        for _ in 0..rng.usize(1..5) {
            if depth < 2 && rng.u32(0..6) == 0 {
                self.supervisor(rng, &id, auto, depth + 1);
            } else {
                self.worker(rng, &id, auto);
            }
        }
    }

    fn worker(&mut self, rng: &mut Rng, parent: &str, parent_auto: &str) {
        let id = format!("c{}", self.workers.len());
        let stuck = if self.has_stuck { "stuck" } else { "wait" };
        let (trap, shutdown) = (pick(rng, &["trap", "plain"]), pick(rng, &["brutal", "wait", "wait", stuck]));
        self.lines.push(format!("worker {id} {} {trap} {shutdown} {parent}", restart(rng, parent_auto)));
        self.workers.push(id);
    }

    fn step(&self, rng: &mut Rng) -> String {
        let (supervisor, worker) = (any(rng, &self.supervisors), any(rng, &self.workers));
        match rng.u32(0..100) {
            0..14 => format!("kill {worker}"),
            14..28 => format!("end {worker} {}", pick(rng, &REASONS)),
            28..36 => format!("crash {worker}"),
            36..42 => format!("signal {worker} {}", pick(rng, &REASONS)),
            42..54 => self.fail(rng),
            54..64 => format!("terminate {supervisor} {}", self.child(rng)),
            64..73 => format!("restart {supervisor} {}", self.child(rng)),
            73..80 => format!("delete {supervisor} {}", self.child(rng)),
            80..89 => self.add(rng, supervisor),
            89..92 => format!("signal {supervisor} {}", pick(rng, &["normal", "shutdown", "x1"])),
            92..97 if !self.has_stuck => format!("kill {supervisor}"),
            97.. => format!("leave {}", pick(rng, &REASONS[..3])),
            _ => "start".to_owned(),
        }
    }

    fn fail(&self, rng: &mut Rng) -> String {
        format!("fail {} {} {}", any(rng, &self.workers), rng.u32(1..4), pick(rng, &["stop", "crash", "ignore"]))
    }

    fn add(&self, rng: &mut Rng, supervisor: &str) -> String {
        // One that is new, or one whose id may be taken.
        let id = format!("c{}", rng.usize(0..self.workers.len() + 3));
        let number: usize = supervisor[1..].parse().expect("a supervisor's label is s and its number");
        let (restart, trap) = (restart(rng, self.autos[number]), pick(rng, &["trap", "plain"]));
        format!("add {supervisor} {id} {restart} {trap} {}", pick(rng, &["brutal", "wait"]))
    }

    fn child<'a>(&'a self, rng: &mut Rng) -> &'a str {
        let ids = if rng.u32(0..6) == 0 { &self.supervisors } else { &self.workers };
        any(rng, ids)
    }
}

/// Seldom one that is refused.
fn restart(rng: &mut Rng, parent_auto: &str) -> String {
    let restart = pick(rng, &RESTARTS);
    let can_be_significant = restart != "permanent" && parent_auto != "never";
    let one_in = if can_be_significant { 2 } else { 60 };
    let mark = if rng.u32(0..one_in) == 0 { "!" } else { "" };
    format!("{restart}{mark}")
}

fn any<'a>(rng: &mut Rng, ids: &'a [String]) -> &'a str {
    // A supervisor may have no worker.
    if ids.is_empty() { "c0" } else { &ids[rng.usize(..ids.len())] }
}
