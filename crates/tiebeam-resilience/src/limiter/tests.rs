use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const AIMD: Algorithm = Algorithm::Aimd { latency_max: Duration::from_millis(100), backoff_percent: 90 };

fn limiter(initial: u32, algorithm: Algorithm) -> Limiter {
    Limiter::new(LimiterConfig { initial, min: 1, max: 200, algorithm })
}

/// A server of `workers`, each of which takes 8 to 12 ms for a call, and a queue before it. Keeps as many calls under way
/// as the limit allows until so many have ended; returns the limit at the end.
fn settle(limiter: &mut Limiter, workers: usize, calls: u64) -> u32 {
    let (mut now, mut free, mut under_way) = (0, vec![0; workers], BTreeSet::new());
    for call in 0..calls {
        while limiter.try_start().is_ok() {
            let service = 8_000_000 + (call + under_way.len() as u64) * 7_919 % 4_000_000;
            free.sort_unstable();
            free[0] = now.max(free[0]) + service;
            under_way.insert((free[0], now, under_way.len()));
        }
        let (end, start, _) = under_way.pop_first().expect("the limit lets one start");
        now = end;
        limiter.ended(Sample::Done(Duration::from_nanos(end - start)));
    }
    under_way.into_iter().for_each(|_| limiter.ended(Sample::Ignored));
    limiter.limit()
}

#[test]
fn aimd_grows_by_one_per_limit_of_calls_and_shrinks_by_a_share() {
    let mut limiter = limiter(10, AIMD);
    let mut limits = Vec::new();
    for sample in [Sample::Done(MS), Sample::Done(MS), Sample::Overloaded, Sample::Done(101 * MS)] {
        let room = limiter.limit();
        (0..room).for_each(|_| limiter.try_start().unwrap());
        (0..room - 1).for_each(|_| limiter.ended(Sample::Ignored));
        // The last one alone would not use the limit, so the others are started again.
        (0..room - 1).for_each(|_| limiter.try_start().unwrap());
        limiter.ended(sample);
        (0..room - 1).for_each(|_| limiter.ended(Sample::Ignored));
        limits.push(limiter.limit());
    }
    assert_eq!(limits, [10, 10, 9, 8]);
    // Ten calls of a limit of ten add one.
    let mut limiter = Limiter::new(LimiterConfig { initial: 10, min: 1, max: 200, algorithm: AIMD });
    for _ in 0..11 {
        (0..10).for_each(|_| limiter.try_start().unwrap());
        limiter.ended(Sample::Done(MS));
        (0..9).for_each(|_| limiter.ended(Sample::Ignored));
    }
    assert_eq!(limiter.limit(), 11);
}

#[test]
fn gradient_finds_about_what_the_server_can_do() {
    for workers in [5, 20, 60_u32] {
        let mut limiter = limiter(20, Algorithm::GRADIENT);
        let limits: Vec<u32> = (0..20).map(|_| settle(&mut limiter, workers as usize, 500)).collect();
        // Half again as many as there are workers, a short queue, and at times half of all that.
        let band = workers * 3 / 4..=workers * 5 / 2;
        assert!(limits[10..].iter().all(|limit| band.contains(limit)), "{workers} workers, limits {limits:?}");
    }
}

#[test]
fn gradient_gives_way_when_the_server_gets_slow() {
    let mut limiter = limiter(20, Algorithm::GRADIENT);
    let before = settle(&mut limiter, 40, 2_000);
    let mut lowest = before;
    for _ in 0..5 {
        lowest = settle(&mut limiter, 4, 400).min(lowest);
    }
    assert!(lowest * 3 < before, "{before}, then {lowest}");
}

#[test]
fn limit_that_nobody_reaches_does_not_grow() {
    for algorithm in [AIMD, Algorithm::GRADIENT] {
        let mut limiter = limiter(20, algorithm);
        for _ in 0..1_000 {
            limiter.try_start().unwrap();
            limiter.ended(Sample::Done(MS));
        }
        assert_eq!(limiter.limit(), 20, "{algorithm:?}");
    }
}

#[test]
fn loss_of_everything_ends_at_the_lowest_limit_and_recovers() {
    for algorithm in [AIMD, Algorithm::GRADIENT] {
        let mut limiter = limiter(20, algorithm);
        for _ in 0..100 {
            limiter.try_start().unwrap();
            limiter.ended(Sample::Overloaded);
        }
        assert_eq!(limiter.limit(), 1);
        settle(&mut limiter, 50, 2_000);
        assert!(limiter.limit() > 10, "{algorithm:?}: {}", limiter.limit());
    }
}

proptest! {
    /// Would break: a limit out of its bounds or not a number, more under way than the limit that let them start, counts
    /// that don't add up.
    #[test]
    fn limit_stays_in_bounds_whatever_is_sampled(
        gradient: bool,
        bounds in (1..5_u32, 0..20_u32, 0..50_u32),
        steps in prop::collection::vec((0..4_u8, any::<u64>()), 0..300),
    ) {
        let (min, initial, max) = (bounds.0, bounds.0 + bounds.1, bounds.0 + bounds.1 + bounds.2);
        let algorithm = if gradient { Algorithm::GRADIENT } else { AIMD };
        let mut limiter = Limiter::new(LimiterConfig { initial, min, max, algorithm });
        let mut under_way = 0;
        for (step, nanos) in steps {
            if step < 2 || under_way == 0 {
                let limit = limiter.limit();
                prop_assert_eq!(limiter.try_start().is_ok(), under_way < limit);
                under_way += u32::from(under_way < limit);
            } else {
                // Durations of all magnitudes, zero among them.
                let took = Duration::from_nanos(nanos >> (nanos % 64));
                limiter.ended(if step == 2 { Sample::Done(took) } else { Sample::Overloaded });
                under_way -= 1;
            }
            let snapshot = limiter.snapshot();
            prop_assert!((min..=max).contains(&snapshot.limit), "{snapshot:?}");
            prop_assert_eq!(snapshot.under_way, under_way);
            let ended = snapshot.done + snapshot.overloaded + snapshot.ignored;
            prop_assert_eq!(snapshot.started - ended, u64::from(under_way));
        }
    }
}
