//! Scenarios of an event manager, its handlers `h0`.. and an actor that owns some of them.
//!
//! - `start`, `stop`: the manager
//! - `add h`, `sup h` (belongs to the owner, who is started if there is none), `delete h`, `swap h h`
//! - `notify events..`, `sync event`: the handler that `crash:h` and `enough:h` name does so, others only hear
//! - `ask h count|crash`
//! - `kill owner`

use fastrand::Rng;

use super::pick;

const HANDLERS: [&str; 4] = ["h0", "h1", "h2", "h3"];

pub(super) fn steps(rng: &mut Rng) -> Vec<String> {
    let mut steps = vec!["start".to_owned()];
    for _ in 0..rng.usize(3..25) {
        let handler = pick(rng, &HANDLERS);
        steps.push(match rng.u32(0..100) {
            0..18 => format!("add {handler}"),
            18..38 => format!("sup {handler}"),
            38..46 => format!("delete {handler}"),
            46..58 => format!("swap {handler} {}", pick(rng, &HANDLERS)),
            58..74 => (0..rng.usize(1..4)).fold("notify".to_owned(), |step, _| format!("{step} {}", event(rng))),
            74..82 => format!("sync {}", event(rng)),
            82..92 => format!("ask {handler} {}", pick(rng, &["count", "count", "crash"])),
            92..97 => "kill owner".to_owned(),
            97..98 => "stop".to_owned(),
            _ => "start".to_owned(),
        });
    }
    steps
}

fn event(rng: &mut Rng) -> String {
    match rng.u32(0..4) {
        0 => format!("crash:{}", pick(rng, &HANDLERS)),
        1 => format!("enough:{}", pick(rng, &HANDLERS)),
        _ => format!("e{}", rng.u32(0..3)),
    }
}
