use std::time::Duration;

use tiebeam_wire::Incarnation;

use super::*;

const NONE: &BTreeSet<Name> = &BTreeSet::new();

/// An instance `id` on node `node`.
fn at(id: &str, node: u64, ring: Ring) -> Candidate {
    let pid = Pid { node: NodeId(node), incarnation: Incarnation(1), serial: 7 };
    Candidate { name: (id.to_owned(), pid), ring, weight: 1, is_well: true }
}

fn far(id: &str) -> Candidate {
    at(id, u64::from(id.as_bytes()[0]), Ring::Cluster)
}

fn weighing(weight: u32, candidate: Candidate) -> Candidate {
    Candidate { weight, ..candidate }
}

fn unwell(candidate: Candidate) -> Candidate {
    Candidate { is_well: false, ..candidate }
}

fn picker(balance: Balance) -> Picker {
    Picker::new(Policy { balance, ..Policy::default() })
}

fn wish(now_ms: u64, key: &[u8], random: u64) -> Wish<'_> {
    let now = Instant { nanos: now_ms * 1_000_000 };
    Wish { now, key, tried: NONE, load: &|_| 0, random }
}

/// Picks one after the other without any of them ending, and returns their ids.
fn ids(picker: &mut Picker, candidates: &[Candidate], count: usize, balance_key: impl Fn(usize) -> Vec<u8>) -> String {
    let pick = |number| {
        let key = balance_key(number);
        let random = finish(number as u64 + 1);
        let (index, _permit) = picker.pick(candidates, &wish(0, &key, random)).unwrap();
        candidates[index].name.0.clone()
    };
    (0..count).map(pick).collect()
}

fn fail(picker: &mut Picker, candidates: &[Candidate], times: u32) {
    for _ in 0..times {
        let (index, permit) = picker.pick(candidates, &wish(0, b"", 0)).unwrap();
        picker.ended(Instant { nanos: 0 }, &candidates[index].name, permit, Outcome::Failure);
    }
}

#[test]
fn turns_go_round_by_weight_and_spread() {
    let mut even = picker(Balance::RoundRobin);
    assert_eq!(ids(&mut even, &[far("a"), far("b"), far("c")], 7, |_| vec![]), "abcabca");
    let mut uneven = picker(Balance::RoundRobin);
    let heavy = [weighing(3, far("a")), far("b"), weighing(0, far("z"))];
    assert_eq!(ids(&mut uneven, &heavy, 8, |_| vec![]), "aabaaaba", "a heavy one's turns are not all in a row");
}

#[test]
fn fewest_calls_under_way_come_first() {
    let mut picker = picker(Balance::LeastInFlight);
    let candidates = [far("a"), weighing(2, far("b"))];
    let picked = ids(&mut picker, &candidates, 6, |_| vec![]);
    assert_eq!(picked.matches('b').count(), 4, "{picked}: twice the weight, twice the calls");
    let in_flight = candidates.each_ref().map(|candidate| picker.in_flight(&candidate.name));
    assert_eq!(in_flight, [2, 4]);
}

/// With chance alone a node that says that it is full would get as much as the others.
#[test]
fn of_two_the_less_loaded_is_chosen() {
    let mut picker = picker(Balance::TwoByLoad);
    let candidates = [far("a"), far("b"), far("c")];
    let load: &dyn Fn(NodeId) -> u32 = &|node| if node.0 == u64::from(b'a') { 100 } else { 0 };
    let mut counts = [0; 3];
    for number in 0..300 {
        let wish = Wish { load, ..wish(0, b"", finish(number)) };
        let (index, permit) = picker.pick(&candidates, &wish).unwrap();
        counts[index] += 1;
        picker.ended(wish.now, &candidates[index].name, permit, Outcome::Success);
    }
    assert_eq!(counts[0], 0, "{counts:?}: one that is full loses against each other one");
    assert!(counts[1] > 100 && counts[2] > 100, "{counts:?}");
    let alone = picker.pick(&candidates[..1], &Wish { load, ..wish(0, b"", 5) });
    assert_eq!(alone.map(|(index, _)| index), Ok(0));
}

#[test]
fn key_stays_where_it_is_when_others_come_and_go() {
    let all = ["a", "b", "c", "d"].map(far);
    let key = |number: usize| number.to_be_bytes().to_vec();
    let mut picker = picker(Balance::ByKey);
    let before = ids(&mut picker, &all, 400, key);
    assert_eq!(before, ids(&mut picker, &all, 400, key), "the same for the same key");
    let without_d = ids(&mut picker, &all[..3], 400, key);
    let moved: Vec<_> = before.chars().zip(without_d.chars()).filter(|(a, b)| a != b).collect();
    assert!(moved.iter().all(|(before, _)| *before == 'd'), "{moved:?}");
    assert!((60..140).contains(&moved.len()), "{}: a fourth of all keys", moved.len());
    let heavy = [weighing(3, far("a")), far("b")];
    let of_a = ids(&mut picker, &heavy, 400, key).matches('a').count();
    assert!((260..340).contains(&of_a), "{of_a} of 400: three fourths");
}

#[test]
fn near_ones_are_used_alone_while_enough_of_them_can_be_called() {
    let used = |candidates: &[Candidate]| {
        let mut picker = picker(Balance::RoundRobin);
        let mut used: Vec<char> = ids(&mut picker, candidates, 12, |_| vec![]).chars().collect();
        used.sort_unstable();
        used.dedup();
        used.into_iter().collect::<String>()
    };
    let (here, zone, zone_too, far) =
        (at("h", 1, Ring::Node), at("y", 2, Ring::Zone), at("z", 3, Ring::Zone), far("f"));
    assert_eq!(used(&[here.clone(), zone.clone(), far.clone()]), "h");
    assert_eq!(used(&[unwell(here.clone()), zone.clone(), zone_too.clone(), far.clone()]), "yz");
    assert_eq!(used(&[zone.clone(), unwell(zone_too.clone()), far.clone()]), "y", "half of them is enough");
    let third = at("x", 4, Ring::Zone);
    assert_eq!(
        used(&[zone.clone(), unwell(zone_too), unwell(third), far.clone()]),
        "fy",
        "a third isn't: others join in"
    );
    let mut anywhere = Picker::new(Policy { near_percent_min: None, ..Policy::default() });
    let picked = ids(&mut anywhere, &[here, zone, far], 60, |_| vec![]);
    assert!(["h", "y", "f"].iter().all(|id| picked.contains(id)), "{picked}");
}

/// Who fails is left alone, and found again by one probe at a time; when nobody is left it is said how long to wait.
#[test]
fn instance_that_fails_is_left_alone_for_a_while() {
    let mut picker = picker(Balance::RoundRobin);
    let (a, b) = ([far("a")], [far("b")]);
    let both = [far("a"), far("b")];
    fail(&mut picker, &a, 5);
    assert_eq!(ids(&mut picker, &both, 3, |_| vec![]), "bbb");
    fail(&mut picker, &b, 5);
    let nobody = picker.pick(&both, &wish(1_000, b"", 0)).unwrap_err();
    assert_eq!(nobody, Nobody { retry_in: Some(Duration::from_secs(4)) });
    let (first, permit) = picker.pick(&both, &wish(5_000, b"", 0)).unwrap();
    let (second, _) = picker.pick(&both, &wish(5_000, b"", 0)).unwrap();
    assert_ne!(first, second, "one probe each");
    assert!(picker.pick(&both, &wish(5_000, b"", 0)).is_err());
    picker.ended(Instant { nanos: 5_000_000_000 }, &both[first].name, permit, Outcome::Success);
    assert_eq!(picker.pick(&both, &wish(5_000, b"", 0)).unwrap().0, first);
}

#[test]
fn who_was_tried_is_left_out_and_nobody_is_said_to_be_left() {
    let mut picker = picker(Balance::RoundRobin);
    let candidates = [far("a"), unwell(far("b")), far("c")];
    let tried = BTreeSet::from([candidates[0].name.clone()]);
    let (index, _) = picker.pick(&candidates, &Wish { tried: &tried, ..wish(0, b"", 0) }).unwrap();
    assert_eq!(candidates[index].name.0, "c");
    let tried = BTreeSet::from([candidates[0].name.clone(), candidates[2].name.clone()]);
    let nobody = picker.pick(&candidates, &Wish { tried: &tried, ..wish(0, b"", 0) });
    assert_eq!(nobody.unwrap_err(), Nobody { retry_in: None });
    assert_eq!(picker.pick(&[], &wish(0, b"", 0)).unwrap_err(), Nobody { retry_in: None });
}

/// Actors that are restarted have ever new pids; what is known of the dead must not pile up.
#[test]
fn what_is_known_of_those_who_are_gone_is_bounded() {
    let mut picker = picker(Balance::RoundRobin);
    for serial in 0..1_000 {
        let mut candidate = far("a");
        candidate.name.1.serial = serial;
        let (_, permit) = picker.pick(&[candidate.clone()], &wish(0, b"", 0)).unwrap();
        picker.ended(Instant { nanos: 0 }, &candidate.name, permit, Outcome::Success);
    }
    assert!(picker.known.len() <= 20, "{}", picker.known.len());
}
