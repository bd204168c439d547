//! Clocks and entropy of a simulated thread are functions of its seed, whoever asks in whichever way.

use std::hash::{BuildHasher, RandomState};
use std::time::{Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use tiebeam_sim::{interpose, on_thread};

/// Draws in all the ways in which the nodes' dependencies do. What counts within the process, as tokio's seeds do, is the same
/// in another process alone: see `seeds`.
fn draws(seed: u64) -> Vec<u64> {
    on_thread(seed, || {
        let ring = || {
            let mut bytes = [0; 8];
            // `getrandom` 0.2, which names the system call by its number.
            SystemRandom::new().fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        let rand = || {
            let mut bytes = [0; 8];
            // `getrandom` 0.4, which finds the symbol while the program runs.
            getrandom::fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        // The keys of std's hash maps; it knows the symbol, if it is there.
        let std = || RandomState::new().hash_one(1_u8);
        vec![ring(), rand(), std(), tiebeam_world::random(), ring(), rand(), std()]
    })
}

#[test]
fn entropy_follows_from_the_seed() {
    let (first, again, other) = (draws(7), draws(7), draws(8));
    assert_eq!(first, again);
    for (index, (one, two)) in first.iter().zip(&other).enumerate() {
        assert_ne!(one, two, "draw {index} does not depend on the seed");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what the ways that are banned would return")]
fn clocks_stand_still_until_they_are_set() {
    let (before, after, wall) = on_thread(1, || {
        let before = Instant::now();
        std::thread::yield_now();
        assert_eq!(before, Instant::now());
        interpose::set_clocks(10_000_000_000_000, 1_000_000_000);
        let after = Instant::now();
        assert_eq!(tokio::time::Instant::now().into_std(), after);
        (before, after, SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    });
    // The simulation begins an hour after its clocks' zero.
    assert_eq!(after.duration_since(before).as_secs(), 10_000 - 3600);
    assert_eq!(wall, 1);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what the ways that are banned would return")]
fn other_threads_have_the_real_ones() {
    let real = SystemTime::now();
    let beside = on_thread(1, || std::thread::spawn(|| (SystemTime::now(), RandomState::new().hash_one(1_u8))).join());
    let (wall, hash) = beside.unwrap();
    assert!(wall.duration_since(real).unwrap().as_secs() < 3600);
    assert_ne!(hash, RandomState::new().hash_one(1_u8));
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    assert_ne!(bytes, [0; 32]);
}
