//! What went wrong for others, each once: delta_crdt and horde (Elixir), and what every replicated set is tempted to do.

use std::collections::BTreeSet;
use std::time::Duration;

use tiebeam_crdt::replicator::{Event, Expulsion, UpdateError};
use tiebeam_crdt::{AwSet, Dot, KeptError, Live, LwwMap, MintError};
use tiebeam_wire::NodeId;

use crate::network::{Network, config};
use crate::subjects::{dot, replica, stamp};

const SETTLE: Duration = Duration::from_secs(30);

fn set(parts: &[&AwSet<&'static str>]) -> AwSet<&'static str> {
    let mut set = AwSet::new();
    parts.iter().for_each(|part| drop(set.merge(part)));
    set
}

/// delta_crdt issue 90: a delta that was collected before it was delivered was lost for ever. Here none is kept at all, and
/// comparing finds what is missing: adds and removals alike.
#[test]
fn delta_crdt_90_delta_that_never_arrived_comes_again() {
    let mut network = Network::new(3, 1, config());
    network.add(NodeId(0), "stays");
    network.add(NodeId(0), "goes");
    network.run(SETTLE);
    network.weather.lost = 100;
    network.add(NodeId(0), "lost");
    network.run(Duration::from_millis(100));
    network.remove(NodeId(1), "goes");
    network.run(Duration::from_millis(100));
    network.weather.lost = 0;
    network.run(SETTLE);
    for node in network.alive() {
        let seen: Vec<String> = network.seen(node).into_iter().map(|(_, key)| key).collect();
        assert_eq!(BTreeSet::from_iter(seen), BTreeSet::from(["lost".to_owned(), "stays".to_owned()]), "{node}");
    }
}

/// delta_crdt issue 65: a partial answer said "all of yours up to here was seen, and this key is not among it", so the key
/// was removed. Here a piece speaks of the dots it names and of no others.
#[test]
fn delta_crdt_65_partial_answer_removes_nothing_that_it_does_not_name() {
    let mut giver = AwSet::new();
    for element in ["a", "b", "c", "d"] {
        giver.update(|set| set.add(replica(1), element)).unwrap();
    }
    let taker = giver.clone();
    giver.merge(&giver.remove(&"c"));
    for dots_max in 1..4 {
        let mut taker = taker.clone();
        let first = giver.piece(taker.context(), None, dots_max);
        taker.merge_piece(&first, &Live::Everyone).unwrap();
        assert!(taker.contains(&"d") && taker.contains(&"a"), "{dots_max} dots a piece");
    }
}

/// The same, with the answer made for somebody who has seen more: counting its dots as seen would lose them for ever.
#[test]
fn answer_for_who_has_seen_more_is_refused() {
    let mut giver = AwSet::new();
    let (seen, _) = giver.update(|set| set.add(replica(1), "a")).unwrap();
    giver.update(|set| set.add(replica(1), "b")).unwrap();
    let piece = giver.piece(seen.context(), None, 10);
    let mut forgetful = AwSet::new();
    assert_eq!(forgetful.merge_piece(&piece, &Live::Everyone), Err(KeptError));
    assert!(forgetful.is_bottom());
    forgetful.merge_piece(&giver.piece(forgetful.context(), None, 10), &Live::Everyone).unwrap();
    assert_eq!(forgetful, giver);
}

/// horde issue 207: removing a node made several processes out of one, because survivors saw its entries go and come
/// again, each at another time. Here each survivor is told once, when the node is down, and never hears of it again,
/// whenever it learns that the node was removed.
#[test]
fn horde_207_removal_of_a_node_is_told_once_and_alike_to_all() {
    let mut network = Network::new(4, 1, config());
    let (gone, keys) = (NodeId(3), ["foo1", "foo2", "foo3"]);
    keys.iter().for_each(|key| network.add(gone, key));
    network.add(NodeId(0), "other");
    network.run(SETTLE);
    let told_before: Vec<usize> = network.nodes.values().map(|node| node.told.len()).collect();
    // Its last words are still under way when it dies, doubled, and each survivor learns of the removal at another time.
    network.weather.doubled = 100;
    network.weather.delay_ms_max = 300;
    network.add(gone, "last words");
    network.run(Duration::from_millis(55));
    let replica = network.replica(gone);
    network.crash(gone);
    for node in [NodeId(1), NodeId(0), NodeId(2)] {
        network.run(Duration::from_secs(2));
        network.event(node, Event::Forget(replica));
    }
    network.start(gone);
    network.run(SETTLE);
    for (node, before) in network.nodes.iter().zip(told_before).map(|((_, node), before)| (node, before)).take(3) {
        let told: Vec<_> = node.told[before..].iter().filter(|(key, _)| keys.contains(&key.as_str())).collect();
        let expected: Vec<_> = told.iter().map(|(key, _)| (key.clone(), false)).collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>(), "nothing comes again");
        assert_eq!(told.len(), keys.len(), "each goes once");
        assert_eq!(node.watched.len(), 1, "{:?}", node.watched);
    }
}

/// A node that was away when consensus removed another still holds its entries, and brings them along.
#[test]
fn dead_replica_is_not_resurrected_by_who_was_away() {
    let mut network = Network::new(3, 1, config());
    network.add(NodeId(2), "dead");
    network.run(SETTLE);
    network.cut(NodeId(1));
    let dead = network.replica(NodeId(2));
    network.crash(NodeId(2));
    network.event(NodeId(0), Event::Forget(dead));
    network.run(SETTLE);
    network.heal();
    network.run(SETTLE);
    for node in network.alive() {
        let replicator = &network.nodes[&node].replicator;
        assert_eq!(replicator.stats().held, 0, "{node} holds nothing of it, hidden or not");
    }
    assert!(network.nodes[&NodeId(0)].replicator.stats().forgotten_refused <= 1);
}

#[test]
fn late_delta_of_a_forgotten_replica_is_refused() {
    let mut dead = AwSet::new();
    let (early, _) = dead.update(|set| set.add(replica(2), "early")).unwrap();
    let (late, _) = dead.update(|set| set.add(replica(2), "late")).unwrap();
    let mut set = set(&[&early]);
    assert_eq!(set.merge(&set.forget(replica(2))).len(), 1);
    for again in [&late, &early, &dead] {
        assert_eq!(set.merge(again), []);
        assert!(set.is_empty());
    }
    let refused = set.add(replica(2), "again");
    assert_eq!(refused.unwrap_err(), MintError::Forgotten { replica: replica(2) });
}

/// What a forgotten replica removed came to some in time and to others too late; its dots no longer tell them apart.
/// Digests of contexts alone would call them equal, and they would differ for ever.
#[test]
fn removal_by_a_forgotten_replica_that_only_one_heard_of_is_found() {
    let mut first = AwSet::new();
    first.update(|set| set.add(replica(1), "tie")).unwrap();
    let mut second = first.clone();
    first.merge(&first.remove(&"tie"));
    for set in [&mut first, &mut second] {
        set.merge(&set.forget(replica(2)));
    }
    assert_eq!(first.context(), second.context());
    assert_ne!(first.digest(), second.digest());
    second.merge_piece(&first.piece(second.context(), None, 10), &Live::Everyone).unwrap();
    assert_eq!(first, second);
}

/// A replica that lost its memory and goes on under its name would name new writes as it named old ones, and nobody who
/// saw the old would ever take the new.
#[test]
fn replica_that_lost_its_memory_is_expelled() {
    let mut network = Network::new(2, 1, config());
    network.add(NodeId(1), "before");
    network.run(SETTLE);
    let same = network.replica(NodeId(1));
    network.crash(NodeId(1));
    network.start_as(same);
    network.run(SETTLE);
    assert_eq!(network.nodes[&NodeId(1)].expelled, Some(Expulsion::Doubled));
    assert_eq!(network.nodes[&NodeId(0)].expelled, None);
    network.crash(NodeId(1));
    network.start(NodeId(1));
    network.add(NodeId(1), "after");
    network.run(SETTLE);
    assert_eq!(network.seen(NodeId(0)).into_iter().map(|(_, key)| key).collect::<Vec<_>>(), ["after"]);
}

/// A node that consensus removed while it was only split off learns of it from whoever it meets, and stops.
#[test]
fn replica_that_was_forgotten_while_it_ran_is_expelled() {
    let mut network = Network::new(2, 1, config());
    network.add(NodeId(1), "split off");
    network.run(SETTLE);
    let forgotten = network.replica(NodeId(1));
    network.cut(NodeId(1));
    network.event(NodeId(0), Event::Forget(forgotten));
    network.run(SETTLE);
    assert_eq!(network.nodes[&NodeId(1)].expelled, None, "it can't know yet");
    network.heal();
    network.run(SETTLE);
    assert_eq!(network.nodes[&NodeId(1)].expelled, Some(Expulsion::Forgotten));
    let now = network.now;
    let replicator = &mut network.nodes.get_mut(&NodeId(1)).unwrap().replicator;
    let refused =
        replicator.update(now, tiebeam_crdt::replicator::ShardId(0), |set, me| set.add(me, "more".to_owned()));
    assert!(matches!(refused, Err(UpdateError::Expelled)), "{refused:?}");
    assert_eq!(replicator.deadline(), None);
}

/// A clock that runs ahead must not win against somebody who saw its value and wrote after.
#[test]
fn stamp_from_the_future_loses_to_a_put_that_saw_it() {
    let mut map = LwwMap::new();
    map.update(|map| map.put(replica(1), stamp(4_102_444_800_000), "key", "year 2100")).unwrap();
    map.update(|map| map.put(replica(2), stamp(1), "key", "now")).unwrap();
    assert_eq!(map.get(&"key").unwrap().value, "now");
}

#[test]
fn equal_stamps_are_decided_by_the_replica_everywhere() {
    let (mut one, mut two) = (LwwMap::new(), LwwMap::new());
    let (first, _) = one.update(|map| map.put(replica(1), stamp(5), "key", "first")).unwrap();
    let (second, _) = two.update(|map| map.put(replica(2), stamp(5), "key", "second")).unwrap();
    one.merge(&second);
    two.merge(&first);
    assert_eq!((one.get(&"key").unwrap().value, two.get(&"key").unwrap().value), ("second", "second"));
    assert_eq!(one.get_seen(&"key", &Live::only([replica(1)])).unwrap().value, "first", "while the second is hidden");
}

#[test]
fn element_of_two_replicas_stays_when_one_is_hidden_or_withdraws() {
    let mut set = AwSet::new();
    for node in [1, 2] {
        set.update(|set| set.add(replica(node), "member")).unwrap();
    }
    assert_eq!(set.dots_of(&"member"), [dot(1, 1), dot(2, 1)]);
    let live = Live::only([replica(1), replica(2)]);
    assert_eq!(set.changes_when_down(replica(2), &live), []);
    assert_eq!(set.changes_when_down(replica(1), &live.without(replica(2))).len(), 1);
    set.merge(&set.withdraw(replica(1), &"member"));
    assert!(set.contains(&"member"));
    // Adding again takes one's own dot and leaves nothing behind.
    set.update(|set| set.add(replica(2), "member")).unwrap();
    assert_eq!(set.dots_of(&"member"), [Dot::new(replica(2), 2)]);
}
