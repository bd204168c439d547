//! Scenarios of a supervisor whose children are of one kind and come and go: `simple_one_for_one` in OTP,
//! [`DynamicSupervisor`](tiebeam_actor::DynamicSupervisor) in Tiebeam.
//!
//! The first line is `crowd intensity restart brutal|wait`; the supervisor is called `s0`. Steps are those of `trees.rs`
//! and two more:
//!
//! - `join c trap|plain`: starts `c`, unless it runs
//! - `dismiss c`: stops the last `c` that was started, if it runs

use fastrand::Rng;

use super::pick;

const LABELS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];
const REASONS: [&str; 4] = ["normal", "shutdown", "x1", "kill"];

pub(super) fn steps(rng: &mut Rng) -> Vec<String> {
    let (restart, shutdown) = (pick(rng, &["permanent", "transient", "temporary"]), pick(rng, &["brutal", "wait"]));
    // A child that chooses not to be restarted is forgotten, as in Elixir; OTP goes on to list it.
    let failures: &[_] = if restart == "temporary" { &["stop", "crash", "ignore"] } else { &["stop", "crash"] };
    let mut steps = vec![format!("crowd {} {restart} {shutdown}", rng.u32(0..5)), "start".to_owned()];
    for _ in 0..rng.usize(3..20) {
        let label = pick(rng, &LABELS);
        steps.push(match rng.u32(0..100) {
            0..40 => format!("join {label} {}", pick(rng, &["trap", "plain"])),
            40..50 => format!("kill {label}"),
            50..62 => format!("end {label} {}", pick(rng, &REASONS)),
            62..68 => format!("crash {label}"),
            68..74 => format!("signal {label} {}", pick(rng, &REASONS)),
            74..82 => format!("fail {label} {} {}", rng.u32(1..4), pick(rng, failures)),
            82..91 => format!("dismiss {label}"),
            91..93 => format!("signal s0 {}", pick(rng, &REASONS[..3])),
            93..95 => "kill s0".to_owned(),
            95..97 => format!("leave {}", pick(rng, &REASONS[..3])),
            _ => "start".to_owned(),
        });
    }
    steps
}
