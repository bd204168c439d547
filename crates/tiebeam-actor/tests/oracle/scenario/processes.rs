//! Scenarios of processes that link, watch, call and end each other.
//!
//! Labels `p0`.. name processes, `n0`.. registered names, `m0`.. monitors, `x1`.. reasons. Steps:
//!
//! - `spawn p trap|plain -|q`: starts `p`, by nobody or linked to `q`
//! - `spawnslow p trap|plain q`: the same, but `p` waits in `init` until it is released, if `q` traps exits
//! - `release p`: ends the waiting of `p` in `init`, in `terminate` or by `wait`
//! - `fail reason`: a start whose `init` fails
//! - `outside p reason`: an exit signal from code that is no process
//! - `stop p reason`: asks `p` to stop and waits for it
//! - `register n p`, `unregister n`
//! - `do p act..`: `p` does this in one handler
//!
//! Acts: `send:q:number`, `sendname:n:number`, `link:q`, `unlink:q`, `monitor:q:m`, `demonitor:m`, `exit:q:reason`,
//! `self:reason` (an exit signal to itself), `end:reason` (stops in the orderly way), `linger:reason` (the same,
//! but `terminate` waits until it is released), `crash`, `trap:on|off`, `answer`
//! (answers all calls that wait), `wait` (until it is released), `call:q:kind`, `callname:n:kind`.
//!
//! Kinds of calls: `reply`, `defer` (answered by `answer`, or never), `never` (the same, but the caller gives up after
//! 5 ms), `crash`, `end:reason` (stops without an answer), `keep:reason` (the same, but
//! the call is forgotten only with the callee's state), `last:reason` (answers and stops).

use std::collections::BTreeSet;

use fastrand::Rng;

use super::pick;
use crate::known;

const LABELS: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
const NAMES: [&str; 3] = ["n0", "n1", "n2"];
const REASONS: [&str; 6] = ["normal", "shutdown", "kill", "x1", "x2", "noproc"];

/// What the steps so far have given out.
#[derive(Default)]
struct Given {
    numbers: u32,
    /// Who monitors by which label.
    monitors: Vec<(String, String)>,
}

impl Given {
    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    fn monitor(&mut self, owner: &str) -> String {
        let label = format!("m{}", self.number());
        self.monitors.push((owner.to_owned(), label.clone()));
        label
    }

    /// Returns one of the monitors of `owner`, rather a late one.
    fn known_monitor(&self, owner: &str, rng: &mut Rng) -> Option<&str> {
        let own: Vec<_> = self.monitors.iter().rev().filter(|(other, _)| other == owner).take(3).collect();
        (!own.is_empty()).then(|| own[rng.usize(..own.len())].1.as_str())
    }
}

pub(super) fn steps(rng: &mut Rng) -> Vec<String> {
    let mut steps: Vec<_> = LABELS[..rng.usize(2..5)].iter().map(|label| spawn(rng, label)).collect();
    let mut given = Given::default();
    for _ in 0..rng.usize(3..16) {
        let label = pick(rng, &LABELS);
        let step = match rng.u32(0..100) {
            0..11 => spawn(rng, label),
            11..15 => format!("spawnslow {label} {} {}", pick(rng, &["trap", "plain"]), pick(rng, &LABELS)),
            15..17 => format!("fail {}", pick(rng, &["x1", "boom", "shutdown", "normal"])),
            17..23 => format!("outside {label} {}", pick(rng, &REASONS)),
            23..27 => format!("stop {label} {}", pick(rng, &REASONS)),
            27..33 => format!("register {} {label}", pick(rng, &NAMES)),
            33..35 => format!("unregister {}", pick(rng, &NAMES)),
            35..42 => format!("release {label}"),
            _ => acts(rng, label, &mut given),
        };
        steps.push(step);
    }
    if known::CHILD_IN_INIT_OUTLIVES_ITS_PARENT && steps.iter().any(|step| step.starts_with("spawnslow")) {
        steps.iter_mut().for_each(|step| *step = without_kills(step));
    }
    steps
}

/// Only a kill ends a process that traps exits and waits for its child.
fn without_kills(step: &str) -> String {
    let is_kill = |word: &str| word == "kill" || word.starts_with("exit:") && word.ends_with(":kill");
    let words = step.split(' ').map(|word| if is_kill(word) { word.replace("kill", "x1") } else { word.to_owned() });
    words.collect::<Vec<_>>().join(" ")
}

fn spawn(rng: &mut Rng, label: &str) -> String {
    let parent = if rng.bool() { "-" } else { pick(rng, &LABELS) };
    format!("spawn {label} {} {parent}", pick(rng, &["trap", "plain"]))
}

fn acts(rng: &mut Rng, label: &str, given: &mut Given) -> String {
    if rng.u32(0..20) == 0 {
        return format!("do {label} trap:{}", pick(rng, &["on", "off"]));
    }
    let mut step = format!("do {label}");
    // What is gone when it goes on is not known when the step begins, so it does nothing then for which that matters.
    let waits = rng.u32(0..10) == 0;
    if waits {
        step.push_str(" wait");
    }
    let mut exited = BTreeSet::new();
    // A link made after an exit was sent finds the other gone or not; what an unlink then takes back is not promised.
    let mut linked_late: BTreeSet<&str> = BTreeSet::new();
    // Nor is which exit comes of a link that is taken back and made again while the other ends: OTP lets the old one
    // through if the new link is there, Tiebeam says `noproc`.
    let mut unlinked_late: BTreeSet<&str> = BTreeSet::new();
    // And whether such a link's exit comes before the process ends by itself is a race.
    let last = last_act(rng).filter(|act| !waits || !act.starts_with("call"));
    let mut to = pick(rng, &LABELS);
    for _ in 0..rng.usize(1..5) {
        // What is done to one process has an order, so it is often the same one.
        if rng.u32(0..3) == 0 {
            to = pick(rng, &LABELS);
        }
        let act = match rng.u32(0..100) {
            0..16 => format!("send:{to}:{}", given.number()),
            16..20 => format!("sendname:{}:{}", pick(rng, &NAMES), given.number()),
            20..38 if !waits && !unlinked_late.contains(to) && (last.is_none() || !exited.contains(to)) => {
                linked_late.extend(exited.get(to));
                format!("link:{to}")
            }
            38..50 if !linked_late.contains(to) => {
                unlinked_late.extend(exited.get(to));
                format!("unlink:{to}")
            }
            50..66 if to != label => format!("monitor:{to}:{}", given.monitor(label)),
            66..76 => given.known_monitor(label, rng).map_or_else(String::new, |known| format!("demonitor:{known}")),
            76..85 if to != label => {
                exited.insert(to);
                format!("exit:{to}:{}", pick(rng, &REASONS))
            }
            85..90 => "answer".to_owned(),
            _ => String::new(),
        };
        if !act.is_empty() {
            step.push(' ');
            step.push_str(&act);
        }
    }
    let calls = |to: &&str| {
        last.as_ref().is_some_and(|last| last.starts_with(&format!("call:{to}:")) || last.starts_with("callname"))
    };
    if known::CALL_BEHIND_OWN_EXIT_HEARS_REASON && exited.iter().any(calls) {
        return step;
    }
    if let Some(act) = last {
        step.push(' ');
        step.push_str(&act);
    }
    step
}

/// Acts after which nothing is done, or not at once.
fn last_act(rng: &mut Rng) -> Option<String> {
    let to = pick(rng, &LABELS);
    let reason = pick(rng, &REASONS);
    match rng.u32(0..100) {
        0..5 => Some(format!("self:{reason}")),
        5..10 => Some(format!("end:{reason}")),
        10..13 => Some("crash".to_owned()),
        13..17 => Some(format!("linger:{reason}")),
        17..34 => Some(format!("call:{to}:{}", call(rng))),
        34..38 => Some(format!("callname:{}:{}", pick(rng, &NAMES), call(rng))),
        _ => None,
    }
}

fn call(rng: &mut Rng) -> String {
    match rng.u32(0..6) {
        0 => "reply".to_owned(),
        1 => "never".to_owned(),
        2 => "crash".to_owned(),
        3 if known::STOPPING_CALLEE_IS_UNANSWERED => format!("keep:{}", pick(rng, &REASONS)),
        3 => format!("{}:{}", pick(rng, &["end", "keep"]), pick(rng, &REASONS)),
        4 => format!("last:{}", pick(rng, &REASONS)),
        _ => "defer".to_owned(),
    }
}
