//! OTP as the oracle: random scenarios run on real OTP and on Tiebeam, and what can be observed must be the same.
//!
//! A scenario is a list of steps in a small language (see `scenario.rs`). After each step both sides wait until nothing
//! moves and write down what every process heard, who died of what, and what can be seen of those who live. What OTP
//! leaves unordered is put into an order before the traces are compared (see `trace.rs`).
//!
//! What differs on purpose, each mapped at one place and nowhere else:
//!
//! | OTP | Tiebeam | mapped in |
//! |---|---|---|
//! | a crash is `{Reason, Stack}` | [`ExitReason::Panic`](tiebeam_actor::ExitReason::Panic) | `crash` on both sides |
//! | `terminate` is called after a crash | a state that crashed is not trusted | `oracle_processes.erl`, `oracle_trees.erl`: `terminate` |
//! | `link/1` raises `noproc` for a local pid, unless exits are trapped | always an exit signal | `oracle_processes.erl`: `link_later` |
//! | a process has one name | several | second names are not asked for |
//! | `register/2` of a taken name or a dead pid is `badarg` | two errors | `refused` |
//! | a call watches its callee with a monitor that can be seen | callers are not listed as watchers | `oracle_processes.erl`: `look` |
//! | calling oneself is an error | waits for its time to be up | not generated |
//! | a call whose caller gave up is handled | skipped | callees that are busy are only asked what leaves no mark |
//! | `exit(self(), R)` ends at once | ends when the handler waits or returns | is the last act of a step |
//! | a process that nobody is linked to from the start is its own parent | it has none | `oracle_processes.erl`: `act` |
//! | until OTP 26 a parent gets an exit signal of a start that failed | the start's result is all | failing starts have no parent |
//! | `already_present`, `already_started` and `running`, `restarting` | `Exists` and `Running` | `oracle_trees.erl`: `reply` |
//! | a crowd's supervisor stops any pid that is gone with success | it is no child | `oracle_trees.erl`: `act` |
//! | a crowd's children share one spec, which is counted once | one is counted for each | `oracle_trees.erl`: `children` |
//! | a machine tells a call from a cast | both are one event | `oracle_machines.erl`: `name` |
//! | a crowd goes on to list a child that chose not to be restarted | it is forgotten, as in Elixir | not generated |
//! | two handlers may have the same id | the second is refused | `oracle_events.erl`: `act` |
//! | children are listed in reverse | in start order | `oracle_trees.erl`: `children` |
//!
//! What differs and should not is listed in `known.rs`.
//!
//! `ORACLE_SCENARIOS` says how many scenarios of each kind run, `ORACLE_SEED` runs the one of that seed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop there")]

mod by_hand;
mod events;
mod known;
mod machines;
mod otp;
mod processes;
mod scenario;
mod trace;
mod trees;

use std::io::Write;

use otp::Otp;
use scenario::{Kind, Scenario};

const SKIPPED: &str =
    "SKIPPED: no erl on the PATH, so nothing is compared with OTP (Debian: apt-get install erlang-base)";

/// How many scenarios of a kind run unless told otherwise; their seeds are 0 and up.
const SCENARIOS: u64 = 300;

#[test]
fn random_processes_behave_as_on_otp() {
    compare(Kind::Processes);
}

#[test]
fn random_trees_of_supervisors_behave_as_on_otp() {
    compare(Kind::Trees);
}

#[test]
fn random_crowds_of_children_behave_as_on_otp() {
    compare(Kind::Crowds);
}

#[test]
fn random_state_machines_behave_as_on_otp() {
    compare(Kind::Machines);
}

#[test]
fn random_event_managers_behave_as_on_otp() {
    compare(Kind::Events);
}

/// How often OTP is asked again before what we do counts as a difference.
const REPETITIONS: u32 = 5;

/// A difference that is mended must not stay excused.
#[test]
fn known_differences_from_otp_are_still_there() {
    let Some(mut otp) = Otp::start() else { return say(SKIPPED) };
    for (is_there, scenario) in known::differences() {
        match (is_there, differs(&mut otp, &scenario)) {
            (true, false) => panic!("mended, so known.rs must say so:\n{scenario}"),
            (false, true) => panic!("{}", report(&mut otp, &scenario, &scenario)),
            (true, true) | (false, false) => {}
        }
    }
}

/// What chance meets too seldom.
#[test]
fn scenarios_written_by_hand_behave_as_on_otp() {
    let Some(mut otp) = Otp::start() else { return say(SKIPPED) };
    for scenario in by_hand::scenarios() {
        assert!(!differs(&mut otp, &scenario), "{}", report(&mut otp, &scenario, &scenario));
    }
}

fn compare(kind: Kind) {
    let Some(mut otp) = Otp::start() else { return say(SKIPPED) };
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().expect(name));
    let seeds = match number("ORACLE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ORACLE_SCENARIOS").unwrap_or(SCENARIOS),
    };
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let scenario = Scenario::random(kind, seed);
        if differs(&mut otp, &scenario) {
            let small = shrink(&mut otp, scenario.clone());
            panic!("{}", report(&mut otp, &scenario, &small));
        }
    }
    say(&format!("{count} scenarios of {kind} without a difference from OTP {}", otp.release()));
}

/// Speaks to whoever runs the tests, not to the harness, which would keep it to itself.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "oracle: {text}");
}

fn traces(otp: &mut Otp, scenario: &Scenario) -> (String, String) {
    let ours = match scenario.kind {
        Kind::Processes => processes::run(scenario),
        Kind::Trees | Kind::Crowds => trees::run(&scenario.steps),
        Kind::Machines => machines::run(&scenario.steps),
        Kind::Events => events::run(&scenario.steps),
    };
    (trace::comparable(scenario.kind, &otp.run(scenario)), trace::comparable(scenario.kind, &ours))
}

/// Says whether we do what OTP doesn't. Ours runs on virtual time, OTP on the machine's, where a call of milliseconds may
/// time out before its callee had its turn: what OTP does sometimes may be done.
fn differs(otp: &mut Otp, scenario: &Scenario) -> bool {
    let (theirs, ours) = traces(otp, scenario);
    let mut again = || trace::comparable(scenario.kind, &otp.run(scenario));
    theirs != ours && !(0..REPETITIONS).any(|_| again() == ours)
}

/// Leaves steps out as long as the difference stays.
fn shrink(otp: &mut Otp, mut scenario: Scenario) -> Scenario {
    let mut index = 0;
    while index < scenario.steps.len() {
        let mut smaller = scenario.clone();
        smaller.steps.remove(index);
        if differs(otp, &smaller) {
            scenario = smaller;
            index = 0;
        } else {
            index += 1;
        }
    }
    scenario
}

fn report(otp: &mut Otp, scenario: &Scenario, small: &Scenario) -> String {
    let (theirs, ours) = traces(otp, small);
    let Scenario { kind, seed, .. } = scenario;
    let repeat = seed.map(|seed| format!("ORACLE_SEED={seed} cargo test -p tiebeam-actor --test oracle random_{kind}"));
    let repeat = repeat.unwrap_or_else(|| "cargo test -p tiebeam-actor --test oracle".to_owned());
    format!(
        "{kind} behave otherwise than on OTP\n\nscenario, without the steps that don't matter:\n{small}\n\
         OTP:\n{theirs}\nTiebeam:\n{ours}\n\
         repeat: {repeat}\n"
    )
}
