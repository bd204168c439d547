//! thin
use std::sync::Arc;
use futures::FutureExt;
use tiebeam_sim::{SECOND, Simulation, on_thread};
fn main() {
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let (hash, count, lines, sees) = on_thread(seed, move || {
        let mut sim = Simulation::new(seed, 3, tracing::Level::DEBUG, Arc::new(|_| async {}.boxed())).unwrap();
        for node in sim.nodes().to_vec() { sim.start(node); }
        sim.run_until(3 * SECOND);
        let all = sim.nodes().to_vec();
        let sees = sim.sees(all[0], &all);
        sim.run_until(300 * SECOND);
        let state = sim.shared().lines();
        (state.0, state.1, state.2, sees)
    });
    for line in lines.iter().take(60) { println!("{line}"); }
    println!("{hash:x} {count} {sees}");
}
