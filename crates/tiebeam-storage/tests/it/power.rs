//! Power loss at every operation on the disk. All writes pass one queue, so what a recovery may find is exact: the state
//! after some number of operations, no fewer than were acknowledged and no more than were made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tiebeam_storage::fault::{MemDisk, Moment};

use crate::support::{Model, Op, observe, open, try_open, wait};

/// What a workload did before the power went.
struct Run {
    /// The state after each number of operations.
    states: Vec<Model>,
    /// The least number of operations that must survive.
    acknowledged: usize,
}

/// Makes the operations that `seed` draws, `burst` at a time without waiting, until all are made or one fails.
fn run(disk: &MemDisk, before: Model, seed: u64, ops: usize, burst: usize) -> Run {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut run = Run { states: vec![before], acknowledged: 0 };
    let Ok((wal, _)) = try_open(disk) else { return run };
    let acknowledged = Arc::new(AtomicUsize::new(0));
    for number in 1..=ops {
        let op = Op::draw(random.u64(..));
        let mut model = run.states[number - 1].clone();
        let version = seed * 1000 + number as u64;
        let answered = Arc::clone(&acknowledged);
        // A lazy value promises nothing.
        let promise = if op.is_lazy() { 0 } else { number };
        let note = move |answer: &Result<(), _>| {
            if answer.is_ok() {
                answered.fetch_max(promise, Ordering::SeqCst);
            }
        };
        let result = if number % burst == 0 && !op.is_lazy() {
            wait(|done| {
                op.apply(version, &mut model, &wal, move |answer| {
                    note(&answer);
                    done(answer);
                })
            })
        } else {
            op.apply(version, &mut model, &wal, move |answer| note(&answer))
        };
        run.states.push(model);
        if result.is_err() {
            break;
        }
    }
    drop(wal);
    run.acknowledged = acknowledged.load(Ordering::SeqCst);
    run
}

/// Recovers what `disk` holds and returns it; it must be one of the states that may survive.
fn recover(disk: &MemDisk, run: &Run, what: &str) -> Model {
    let wal = match try_open(disk) {
        Ok((wal, _)) => wal,
        Err(error) => panic!("{what}: a power loss is not damage, but opening says: {error}"),
    };
    let found = observe(&wal);
    let may = &run.states[run.acknowledged..];
    assert!(may.contains(&found), "{what}: acknowledged {}, found {found:#?}, not in {may:#?}", run.acknowledged);
    found
}

fn lose_power_everywhere(seeds: std::ops::Range<u64>, ops: usize, burst: usize) {
    for seed in seeds {
        for cut in 0.. {
            let mut reached = false;
            for moment in [Moment::Before, Moment::After] {
                let disk = MemDisk::new();
                disk.cut_power_at(cut, moment);
                let first = run(&disk, Model::new(), seed, ops, burst);
                reached |= disk.is_off();
                for crash in 0..6 {
                    let what = format!("seed {seed} burst {burst} cut {cut} {moment:?} crash {crash}");
                    let after = disk.crash(crash);
                    let found = recover(&after, &first, &what);
                    lose_power_again(&disk, &after, found, &first, cut, &what);
                }
            }
            if !reached {
                break;
            }
        }
    }
}

/// Two more losses: one during the recovery itself, one in the work after it.
fn lose_power_again(disk: &MemDisk, recovered: &MemDisk, found: Model, first: &Run, cut: usize, what: &str) {
    let interrupted = disk.crash(cut as u64);
    interrupted.cut_power_at(cut % 5, Moment::After);
    drop(try_open(&interrupted));
    recover(&interrupted.crash(cut as u64 + 1), first, &format!("{what}, then during recovery"));

    let again = recovered.kill();
    again.cut_power_at(3 + cut % 11, Moment::Before);
    let second = run(&again, found, 999, 6, 2);
    recover(&again.crash(cut as u64), &second, &format!("{what}, then at work again"));
}

#[test]
fn power_loss_at_every_operation_keeps_what_was_acknowledged() {
    lose_power_everywhere(0..6, 24, 1);
}

/// Batches of several groups; which operations share one depends on the threads, what may survive does not.
#[test]
fn power_loss_at_every_operation_of_shared_batches_keeps_what_was_acknowledged() {
    lose_power_everywhere(100..104, 24, 5);
}

/// A killed process leaves its unsynced bytes in the page cache. They are believed after the restart, so the restart must
/// sync them, and the names of segments: a power loss after it may not take them back. Fails without the two syncs at
/// the end of recovery.
#[test]
fn what_a_restart_found_survives_a_power_loss_after_it() {
    for (seed, cut) in (0..4).flat_map(|seed| (0..60).map(move |cut| (seed, cut))) {
        let disk = MemDisk::new();
        disk.cut_power_at(cut, Moment::After);
        run(&disk, Model::new(), seed, 24, 1);
        let killed = disk.kill();
        let wal = open(&killed);
        let found = observe(&wal);
        for crash in 0..5 {
            assert_eq!(observe(&open(&killed.crash(crash))), found, "seed {seed} cut {cut} crash {crash}");
        }
    }
}
