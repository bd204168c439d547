//! A house without walls: what it says is written down, and a naive model plays its part.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tiebeam_actor::{ExitReason, Pid};
use tiebeam_wire::{Incarnation, Instant, NodeId};

use super::house::{House, Life, Output, Parcel, Refused, Rules};
use crate::leases::Fence;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

const RULES: Rules = Rules { idle: Duration::from_secs(10), activations_max: 2, waiting_max: 2, is_singleton: false };

/// Numbers below 100 are always waited for.
impl Parcel for u32 {
    fn is_awaited(&self, _: Instant) -> bool {
        *self < 100
    }
}

fn at(ms: u64) -> Instant {
    Instant { nanos: ms * 1_000_000 }
}

fn pid(serial: u64) -> Pid {
    Pid { node: ME, incarnation: Incarnation(1), serial }
}

fn life(key: &str) -> Life {
    Life { shard: 3, fence: Fence(7), key: key.into() }
}

/// What the house says, in short.
fn says(house: &mut House<u32>) -> Vec<String> {
    house.check();
    std::iter::from_fn(|| house.take())
        .map(|output| match output {
            Output::Claim(shard) => format!("claim {shard}"),
            Output::Release(shard) => format!("release {shard}"),
            Output::Start { life } => format!("start {}", life.key),
            Output::Hand { pid, parcel, .. } => format!("hand {parcel} to {}", pid.serial),
            Output::Refuse { parcel, why: Refused::Moved(to) } => {
                format!("send {parcel} to {}", to.map_or_else(|| "anyone".to_owned(), |to| to.to_string()))
            }
            Output::Refuse { parcel, why: Refused::Overloaded } => format!("no room for {parcel}"),
            Output::Refuse { parcel, why: Refused::Start(reason) } => format!("no start for {parcel}: {reason}"),
            Output::Stop(pid) => format!("stop {}", pid.serial),
            Output::Kill(pid) => format!("kill {}", pid.serial),
        })
        .collect()
}

/// A house with shard 3, in which `a` runs as process 1.
fn with_a() -> House<u32> {
    let mut house = House::new(at(0), ME, RULES);
    house.deliver(at(0), 3, "a", 1, Some(ME));
    house.held(at(0), 3, Fence(7));
    house.started(at(0), &life("a"), Ok(pid(1)));
    assert_eq!(says(&mut house), ["claim 3", "start a", "hand 1 to 1"]);
    house
}

#[test]
fn messages_wait_for_the_lease_and_for_the_start_in_their_order() {
    let mut house = House::new(at(0), ME, RULES);
    house.deliver(at(0), 3, "a", 1, Some(ME));
    house.deliver(at(0), 3, "b", 2, Some(ME));
    house.deliver(at(0), 3, "a", 3, Some(ME));
    assert_eq!(says(&mut house), ["claim 3", "no room for 3"]);
    house.held(at(9), 3, Fence(7));
    house.deliver(at(9), 3, "a", 4, Some(ME));
    house.deliver(at(9), 3, "c", 5, Some(ME));
    assert_eq!(says(&mut house), ["start a", "start b", "no room for 5"]);
    house.started(at(10), &life("a"), Ok(pid(1)));
    house.started(at(10), &life("b"), Err(ExitReason::Shutdown));
    assert_eq!(says(&mut house), ["hand 1 to 1", "hand 4 to 1", "no start for 2: shutdown"]);
}

#[test]
fn what_is_not_ours_is_sent_to_whoever_has_it() {
    let mut house = House::new(at(0), ME, RULES);
    house.deliver(at(0), 3, "a", 1, Some(OTHER));
    house.deliver(at(0), 4, "a", 2, None);
    house.deliver(at(0), 5, "a", 3, Some(ME));
    assert_eq!(says(&mut house), ["send 1 to n2", "send 2 to anyone", "claim 5"]);
    // Right after a change of hosts its holder is about to give it back.
    house.denied(at(100), 5, Some(OTHER));
    assert_eq!(says(&mut house), [""; 0]);
    house.denied(at(600), 5, None);
    assert_eq!(says(&mut house), [""; 0]);
    house.denied(at(600), 5, Some(OTHER));
    assert_eq!(says(&mut house), ["send 3 to n2", "release 5"]);
}

/// A shard that is given back while somebody lives there could have two actors of one key.
#[test]
fn shard_is_given_back_when_the_last_of_its_actors_has_ended() {
    let mut house = with_a();
    house.deliver(at(0), 3, "b", 2, Some(ME));
    house.placed(at(100), |_| Some(OTHER));
    house.expire(at(1000));
    assert_eq!(says(&mut house), ["start b"], "hosts come back");
    house.expire(at(1100));
    house.deliver(at(1100), 3, "a", 3, Some(OTHER));
    assert_eq!(says(&mut house), ["stop 1", "send 3 to n2"]);
    house.ended(at(1200), &life("a"), pid(1));
    assert_eq!(says(&mut house), [""; 0]);
    // What it has taken it hands over, then it ends.
    house.started(at(1300), &life("b"), Ok(pid(2)));
    assert_eq!(says(&mut house), ["hand 2 to 2", "stop 2"]);
    house.expire(at(6100));
    assert_eq!(says(&mut house), ["kill 2"]);
    house.ended(at(6200), &life("b"), pid(2));
    assert_eq!(says(&mut house), ["release 3"]);
    assert!(house.is_empty());
}

#[test]
fn host_that_comes_back_in_time_moves_nothing() {
    let mut house = with_a();
    house.placed(at(100), |_| Some(OTHER));
    house.placed(at(900), |_| Some(ME));
    house.expire(at(5000));
    assert_eq!(says(&mut house), [""; 0]);
}

#[test]
fn idle_actor_is_asked_to_end_and_what_comes_meanwhile_is_for_its_next_life() {
    let mut house = with_a();
    house.expire(at(9_000));
    assert_eq!(says(&mut house), [""; 0]);
    house.expire(at(12_500));
    house.deliver(at(12_501), 3, "a", 2, Some(ME));
    assert_eq!(says(&mut house), ["stop 1"]);
    house.ended(at(12_600), &life("a"), pid(1));
    house.started(at(12_700), &life("a"), Ok(pid(2)));
    assert_eq!(says(&mut house), ["start a", "hand 2 to 2"]);
    house.ended(at(13_000), &life("a"), pid(2));
    house.expire(at(43_000));
    assert_eq!(says(&mut house), ["release 3"], "nobody lived there for long");
}

/// A message that finds its actor gone was not handled, and its caller need not hear of it.
#[test]
fn message_that_comes_back_waits_for_the_next_life() {
    let mut house = with_a();
    house.returned(&life("a"), pid(1), 2);
    house.deliver(at(1), 3, "a", 3, Some(ME));
    house.ended(at(2), &life("a"), pid(1));
    house.started(at(3), &life("a"), Ok(pid(2)));
    assert_eq!(says(&mut house), ["start a", "hand 2 to 2", "hand 3 to 2"]);
}

#[test]
fn lost_lease_ends_all_and_a_late_start_too() {
    let mut house = with_a();
    house.deliver(at(0), 3, "b", 2, Some(ME));
    house.lost(3);
    assert_eq!(says(&mut house), ["start b", "kill 1", "send 2 to anyone"]);
    house.started(at(9), &life("b"), Ok(pid(2)));
    house.ended(at(9), &life("a"), pid(1));
    assert_eq!(says(&mut house), ["kill 2"]);
    assert_eq!(house.activations(), 0);
}

#[test]
fn messages_that_nobody_waits_for_make_room() {
    let mut house = House::new(at(0), ME, RULES);
    for parcel in [100, 101, 1] {
        house.deliver(at(0), 3, "a", parcel, Some(ME));
    }
    house.deliver(at(0), 4, "a", 102, Some(ME));
    assert_eq!(says(&mut house), ["claim 3", "claim 4"]);
    house.expire(at(5000));
    assert_eq!(says(&mut house), ["release 4"], "nobody waits for it");
}

#[test]
fn singleton_runs_uncalled_stays_and_is_started_again() {
    let mut house = House::new(at(0), ME, Rules { is_singleton: true, ..RULES });
    let clerk = |fence| Life { shard: 0, fence: Fence(fence), key: String::new() };
    house.placed(at(0), |_| Some(OTHER));
    assert_eq!(says(&mut house), [""; 0]);
    house.placed(at(0), |_| Some(ME));
    house.denied(at(900), 0, Some(OTHER));
    house.held(at(1000), 0, Fence(7));
    house.started(at(1000), &clerk(7), Ok(pid(1)));
    house.deliver(at(1000), 0, "", 1, Some(ME));
    house.placed(at(1000), |_| Some(OTHER));
    house.expire(at(60_000));
    assert_eq!(says(&mut house), ["claim 0", "start ", "hand 1 to 1"]);
    house.ended(at(60_000), &clerk(7), pid(1));
    house.deliver(at(60_100), 0, "", 2, Some(ME));
    house.expire(at(60_500));
    assert_eq!(says(&mut house), ["send 2 to anyone", "start "]);
    house.started(at(60_600), &clerk(7), Ok(pid(2)));
    house.close(at(60_700));
    house.ended(at(60_800), &clerk(7), pid(2));
    house.placed(at(60_900), |_| Some(ME));
    assert_eq!(says(&mut house), ["stop 2", "release 0"]);
}

/// What can happen to a house.
#[derive(Clone, Debug)]
enum Event {
    Deliver(u16, usize, bool),
    Held(u16),
    Denied(u16),
    Lost(u16),
    /// The oldest start comes to something.
    Started(bool),
    /// An actor ends, asked or not.
    Ended(usize),
    Placed(bool),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..3_u16, 0..3_usize, any::<bool>()).prop_map(|(shard, key, mine)| Event::Deliver(shard, key, mine)),
        4 => (0..3_u16).prop_map(Event::Held),
        1 => (0..3_u16).prop_map(Event::Denied),
        1 => (0..3_u16).prop_map(Event::Lost),
        5 => any::<bool>().prop_map(Event::Started),
        4 => (0..4_usize).prop_map(Event::Ended),
        1 => any::<bool>().prop_map(Event::Placed),
        3 => (1..4_000_u64).prop_map(Event::Pass),
    ]
}

/// The world around a house.
#[derive(Default)]
struct World {
    now: u64,
    fence: u64,
    /// The leases that are held.
    fences: BTreeMap<u16, Fence>,
    claimed: BTreeMap<u16, bool>,
    starting: Vec<Life>,
    living: Vec<(Life, Pid)>,
    serial: u64,
    sent: u32,
    /// What became of each message.
    settled: BTreeMap<u32, usize>,
    /// The last message that each key was handed.
    last: BTreeMap<(u16, String), u32>,
}

impl World {
    fn hear(&mut self, house: &mut House<u32>) {
        house.check();
        while let Some(output) = house.take() {
            match output {
                Output::Claim(shard) => assert!(self.claimed.insert(shard, false).is_none(), "claimed twice"),
                Output::Release(shard) => {
                    assert!(self.claimed.remove(&shard).is_some(), "released what it hasn't");
                    self.fences.remove(&shard);
                    let lives = self.living.iter().any(|(life, _)| life.shard == shard);
                    assert!(!lives, "shard {shard} is released while somebody lives there");
                }
                Output::Start { life } => {
                    assert_eq!(self.claimed.get(&life.shard), Some(&true), "started without a lease");
                    let is_same = |other: &Life| {
                        (other.shard, &other.key) == (life.shard, &life.key) && other.fence == life.fence
                    };
                    assert!(!self.living.iter().any(|(other, _)| is_same(other)), "{life:?} lives already");
                    assert!(!self.starting.iter().any(is_same), "{life:?} starts already");
                    self.starting.push(life);
                }
                Output::Hand { life, pid, parcel } => {
                    if !self.living.iter().any(|(_, known)| *known == pid) {
                        house.returned(&life, pid, parcel);
                        continue;
                    }
                    *self.settled.entry(parcel).or_default() += 1;
                    let last = self.last.insert((life.shard, life.key), parcel);
                    assert!(last.is_none_or(|last| last < parcel), "{parcel} is handed after {last:?}");
                }
                Output::Refuse { parcel, .. } => *self.settled.entry(parcel).or_default() += 1,
                Output::Stop(_) => {}
                // Under a lease that is over it can't run; else its end is told.
                Output::Kill(pid) => self
                    .living
                    .retain(|(life, known)| *known != pid || self.fences.get(&life.shard) == Some(&life.fence)),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// One life for each key, none without a lease, no shard given back under its actors; every message ends once, and those
    /// of one key are handed in their order.
    #[test]
    fn house_keeps_its_word_whatever_happens(events in prop::collection::vec(event(), 1..120)) {
        let rules = Rules { activations_max: 4, waiting_max: 3, ..RULES };
        let (mut house, mut world) = (House::new(at(0), ME, rules), World::default());
        for event in events {
            let now = at(world.now);
            match event {
                Event::Deliver(shard, key, mine) if world.sent < 99 => {
                    world.sent += 1;
                    let key = ["a", "b", "c"][key];
                    house.deliver(now, shard, key, world.sent, Some(if mine { ME } else { OTHER }));
                }
                Event::Deliver(..) => {}
                Event::Held(shard) if world.claimed.get(&shard) == Some(&false) => {
                    world.fence += 1;
                    world.claimed.insert(shard, true);
                    world.fences.insert(shard, Fence(world.fence));
                    house.held(now, shard, Fence(world.fence));
                }
                Event::Denied(shard) if world.claimed.get(&shard) == Some(&false) => house.denied(now, shard, Some(OTHER)),
                Event::Lost(shard) if world.claimed.get(&shard) == Some(&true) => {
                    world.claimed.remove(&shard);
                    world.fences.remove(&shard);
                    house.lost(shard);
                }
                Event::Held(_) | Event::Denied(_) | Event::Lost(_) => {}
                Event::Started(is_good) if !world.starting.is_empty() => {
                    let life = world.starting.remove(0);
                    world.serial += 1;
                    let started = if is_good { Ok(pid(world.serial)) } else { Err(ExitReason::Shutdown) };
                    world.living.extend(started.clone().ok().map(|pid| (life.clone(), pid)));
                    house.started(now, &life, started);
                }
                Event::Started(_) => {}
                Event::Ended(index) if index < world.living.len() => {
                    let (life, pid) = world.living.remove(index);
                    house.ended(now, &life, pid);
                }
                Event::Ended(_) => {}
                Event::Placed(mine) => house.placed(now, |_| Some(if mine { ME } else { OTHER })),
                Event::Pass(ms) => {
                    world.now += ms;
                    house.expire(at(world.now));
                }
            }
            world.hear(&mut house);
        }
        // In the end it gives everything back, and has nothing left.
        house.close(at(world.now));
        world.hear(&mut house);
        for _ in 0..200 {
            let now = at(world.now);
            if let Some(life) = world.starting.pop() {
                world.serial += 1;
                let pid = pid(world.serial);
                world.living.push((life.clone(), pid));
                house.started(now, &life, Ok(pid));
            } else if let Some((life, pid)) = world.living.pop() {
                house.ended(now, &life, pid);
            }
            world.hear(&mut house);
        }
        prop_assert!(house.is_empty() && world.claimed.is_empty());
        prop_assert_eq!(world.settled.len(), world.sent as usize, "a message was kept");
        prop_assert!(world.settled.values().all(|times| *times == 1), "a message ended twice");
    }
}
