//! The program, as `make sim` runs it.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tiebeam-sim")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Two processes, with addresses and real clocks of their own: whatever leaks from there into a node would show in a packet.
#[test]
fn same_seed_does_the_same_in_two_processes() {
    let run = |seed, nodes| said(&sim(&["--seed", seed, "--nodes", nodes, "--faults", "15"]));
    for nodes in ["2", "5"] {
        let (first, again) = (run("7", nodes), run("7", nodes));
        assert!(first.starts_with("seed 7: "), "{first}");
        assert_eq!(first, again);
    }
    assert_ne!(run("7", "2").split(':').nth(1), run("8", "2").split(':').nth(1));
}

#[test]
fn fixed_seeds_hold() {
    let output = sim(&["--seeds", "3", "--from", "100", "--faults", "30"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "3 of 3 seeds hold, from 100\n");
}

/// Edges know where they stand by what cores tell them alone.
#[test]
fn seeds_with_edges_hold() {
    let output = sim(&["--seeds", "2", "--from", "200", "--nodes", "5", "--cores", "3", "--faults", "30"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "2 of 2 seeds hold, from 200\n");
}

/// Without nodes nobody does what the workloads wait for; the line says how to see it again.
#[test]
fn seed_that_fails_says_how_to_repeat_it() {
    let log = std::env::temp_dir().join(format!("sim-test-{}.log", std::process::id()));
    let output = sim(&["--seed", "3", "--nodes", "0", "--faults", "5", "--log", log.to_str().unwrap()]);
    let (said, written) = (said(&output), std::fs::read_to_string(&log).unwrap());
    std::fs::remove_file(&log).unwrap();
    assert!(said.starts_with("make sim SEED=3 ARGS=\"--nodes 0 --faults 5\"   # no tie was ever told"), "{said}");
    assert!(!output.status.success());
    assert!(written.contains("BROKEN: no tie was ever told"), "{written}");
}

#[test]
fn many_nodes_are_measured() {
    let output = said(&sim(&["members", "--nodes", "3", "--rounds", "1", "--bad", "10"]));
    let row = output.lines().nth(1).unwrap_or_default();
    assert!(row.starts_with("| 3 | ") && !row.contains("never"), "{output}");
}
