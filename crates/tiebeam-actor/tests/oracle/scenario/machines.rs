//! Scenarios of state machines: a table of what one does, and what it is sent.
//!
//! States are `s0`.. and `s0` the first; events are `e0`.., or `time:state`, `time:event`, `time:t0`, `time:t1` for timeouts
//! that have come. First lines:
//!
//! - `tired count`: after this many events the machine stops, so that no table runs for ever
//! - `rule state event keep|repeat|stop:reason|state actions..`: what is not in the table is ignored
//! - `entry state actions..`: what entering does
//!
//! Actions:
//!
//! - `postpone`, `reply` (with the state, if it was a call), `insert:event`; not on entry
//! - `zero:timeout`, `long:timeout` (which never comes), `cancel:timeout`
//!
//! Steps:
//!
//! - `start`
//! - `send events..`: one cast after the other
//! - `ask event`: a call whose caller waits for ever

use fastrand::Rng;

use super::pick;

const STATES: [&str; 3] = ["s0", "s1", "s2"];
const EVENTS: [&str; 4] = ["e0", "e1", "e2", "e3"];
const TIMEOUTS: [&str; 4] = ["state", "event", "t0", "t1"];

pub(super) fn steps(rng: &mut Rng) -> Vec<String> {
    let mut steps = vec!["tired 30".to_owned()];
    for state in STATES {
        let timeouts = TIMEOUTS.map(|timeout| format!("time:{timeout}"));
        for event in EVENTS.iter().copied().chain(timeouts.iter().map(String::as_str)) {
            if rng.u32(0..4) > 0 {
                steps.push(rule(rng, state, event));
            }
        }
        if rng.bool() {
            let actions: String = (0..rng.usize(1..3)).map(|_| format!(" {}", timer(rng))).collect();
            steps.push(format!("entry {state}{actions}"));
        }
    }
    steps.push("start".to_owned());
    for _ in 0..rng.usize(1..10) {
        steps.push(match rng.u32(0..3) {
            0 => format!("ask {}", pick(rng, &EVENTS)),
            _ => (0..rng.usize(1..5)).fold("send".to_owned(), |step, _| format!("{step} {}", pick(rng, &EVENTS))),
        });
    }
    steps
}

fn rule(rng: &mut Rng, state: &str, event: &str) -> String {
    let next = match rng.u32(0..40) {
        0 => "stop:x1",
        1 => "stop:normal",
        2..6 => "repeat",
        6..22 => "keep",
        _ => pick(rng, &STATES),
    };
    // What is postponed is answered later.
    let first = match rng.u32(0..5) {
        0 | 1 => " postpone",
        2 => " reply",
        _ => "",
    };
    let actions = (0..rng.usize(0..4)).fold(first.to_owned(), |actions, _| {
        let action = if rng.u32(0..3) == 0 { format!("insert:{}", pick(rng, &EVENTS)) } else { timer(rng) };
        format!("{actions} {action}")
    });
    format!("rule {state} {event} {next}{actions}")
}

fn timer(rng: &mut Rng) -> String {
    format!("{}:{}", pick(rng, &["zero", "zero", "long", "long", "cancel"]), pick(rng, &TIMEOUTS))
}
