//! Replicators that find together whatever the network does.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tiebeam_crdt::replicator::{Config, Event, Expulsion, Output, Reject, ShardId, UpdateError};
use tiebeam_crdt::{AwSet, ReplicaId, Replicator};
use tiebeam_wire::{Incarnation, NodeId};

use crate::network::{Network, SHARDS, Weather, at, config};
use crate::subjects::replica;

/// Long enough for every pair to have compared: a few rounds of digests.
const SETTLE: Duration = Duration::from_secs(30);

fn assert_converged(network: &Network) {
    let alive = network.alive();
    let first = &network.nodes[&alive[0]].replicator;
    for node in &alive {
        let running = &network.nodes[node];
        for shard in (0..SHARDS).map(ShardId) {
            assert_eq!(running.replicator.shard(shard), first.shard(shard), "{node} and {} in {shard}", alive[0]);
        }
        assert_eq!(running.watched, network.seen(*node), "what {node} was told is what {node} sees");
        assert_eq!(network.seen(*node), network.seen(alive[0]), "what {node} sees");
    }
}

#[test]
fn change_reaches_all_peers_in_one_batch_interval() {
    let mut network = Network::new(3, 1, config());
    network.run(SETTLE);
    network.add(NodeId(0), "tie");
    network.add(NodeId(0), "beam");
    let before = network.sent;
    network.run(Duration::from_millis(60));
    assert_eq!(network.sent - before, 2, "one message for each of two peers");
    assert_converged(&network);
    assert_eq!(network.seen(NodeId(2)).len(), 2);
}

/// Two hubs and four leaves: a change of a leaf is one message to each hub, and one from the first hub to each other node.
/// Without it leaves would hear of each other by digests alone, seconds later.
#[test]
fn change_of_a_leaf_is_passed_on_at_once_and_by_one_hub_alone() {
    let hour = Duration::from_secs(3600);
    let quiet = Config { digest_interval_min: hour, digest_interval_max: hour, ..config() };
    let mut network = Network::star(2, 4, 1, quiet);
    network.run(SETTLE);
    network.add(NodeId(3), "tie");
    let before = network.sent;
    network.run(Duration::from_millis(70));
    assert_eq!(network.sent - before, 2 + 4);
    assert_converged(&network);
    assert_eq!(network.seen(NodeId(5)).len(), 1);
}

/// Nobody connects two leaves, so only comparing whole states with hubs can bring what was lost on the way.
#[test]
fn leaves_agree_by_way_of_hubs_whatever_is_lost() {
    for seed in 0..10 {
        let mut network = Network::star(2, 3, seed, config());
        network.weather = Weather { lost: 40, doubled: 10, delay_ms_max: 50 };
        for step in 0..30 {
            let node = NodeId(step % 5);
            network.add(node, &format!("key {}", step % 7));
            network.run(Duration::from_millis(40));
            network.remove(node, &format!("key {}", step % 3));
        }
        network.weather = Weather { lost: 0, doubled: 0, delay_ms_max: 1 };
        network.run(SETTLE);
        assert_converged(&network);
    }
}

/// That a connection is given up is no loss: what its node wrote stays seen until the node is down. And one who comes to be
/// seen is so at once, with what others brought of it before.
#[test]
fn who_is_seen_without_being_a_peer_is_hidden_only_when_it_is_down() {
    let mut network = Network::star(1, 2, 1, config());
    network.add(NodeId(2), "there");
    network.run(SETTLE);
    let (leaf, other) = (NodeId(1), network.replica(NodeId(2)));
    let told = |network: &Network| network.nodes[&leaf].told.clone();
    let seen = vec![("there".to_owned(), true)];
    assert_eq!(told(&network), seen);
    network.event(leaf, Event::Up(other));
    network.event(leaf, Event::Seen(other));
    assert_eq!((told(&network), network.nodes[&leaf].replicator.stats().peers), (seen, 1));
    network.event(leaf, Event::Down(other));
    assert_eq!(network.seen(leaf).len(), 0);
    network.event(leaf, Event::Seen(other));
    assert_eq!(network.seen(leaf).len(), 1);
    let later = ReplicaId::new(other.node, Incarnation(other.incarnation.0 + 1));
    network.event(leaf, Event::Seen(later));
    assert_eq!(network.seen(leaf).len(), 0, "the earlier start is over");
    let stale = network.nodes.get_mut(&leaf).unwrap().replicator.handle(at(60_000), Event::Seen(other));
    assert!(matches!(stale, Err(Reject::Stale { .. })), "{stale:?}");
}

/// A registry that answers before it has heard anybody misses what others hold (horde, issue 247): here it can wait.
#[test]
fn new_peer_is_told_everything_at_once_and_says_when() {
    let mut network = Network::new(2, 1, config());
    for key in 0..20 {
        network.add(NodeId(0), &format!("key {key}"));
    }
    network.run(SETTLE);
    network.start(NodeId(2));
    let joined = network.now;
    assert!(!network.nodes[&NodeId(2)].replicator.is_synced(replica(0)));
    network.run(Duration::from_millis(100));
    assert!(network.now.since(joined) < config().digest_interval_min, "no round of digests was needed");
    assert_eq!(network.seen(NodeId(2)).len(), 20);
    assert!(network.nodes[&NodeId(2)].synced.contains(&replica(0)), "{:?}", network.nodes[&NodeId(2)].synced);
}

#[test]
fn nodes_that_agree_send_nothing_but_digests() {
    let mut network = Network::new(3, 1, config());
    network.add(NodeId(0), "tie");
    network.run(SETTLE);
    let before: Vec<_> = network.nodes.values().map(|node| node.replicator.stats()).collect();
    network.run(SETTLE);
    for (node, before) in network.nodes.values().zip(before) {
        let after = node.replicator.stats();
        assert_eq!((after.asks, after.fills), (before.asks, before.fills));
        assert_eq!(after.digests_different, before.digests_different);
        assert!((30..=60).contains(&(after.sent - before.sent)), "{} in 30 s to 2 peers", after.sent - before.sent);
    }
}

#[test]
fn split_off_replica_is_hidden_at_once_and_comes_back_unharmed() {
    let mut network = Network::new(3, 1, config());
    network.add(NodeId(2), "there");
    network.add(NodeId(0), "here");
    network.run(SETTLE);
    network.cut(NodeId(2));
    assert_eq!(network.seen(NodeId(0)).len(), 1, "at once");
    assert_eq!(network.nodes[&NodeId(0)].told.last(), Some(&("there".to_owned(), false)));
    network.add(NodeId(2), "meanwhile");
    network.run(SETTLE);
    network.heal();
    assert_eq!(network.seen(NodeId(0)).len(), 2, "what was known of it is seen at once");
    network.run(Duration::from_millis(100));
    assert_eq!(network.seen(NodeId(0)).len(), 3);
    assert_converged(&network);
}

#[test]
fn next_incarnation_takes_the_place_of_the_last() {
    let mut network = Network::new(2, 1, config());
    network.add(NodeId(1), "old");
    network.run(SETTLE);
    let now = network.now;
    let next = ReplicaId::new(NodeId(1), Incarnation(2));
    // The node is back before anybody noticed that it was gone.
    let replicator = &mut network.nodes.get_mut(&NodeId(0)).unwrap().replicator;
    replicator.handle(now, Event::Up(next)).unwrap();
    assert!(!replicator.live().contains(replica(1)) && replicator.live().contains(next));
    let stale = replicator.handle(now, Event::Up(replica(1)));
    assert!(matches!(stale, Err(Reject::Stale { .. })), "{stale:?}");
    assert_eq!(network.seen(NodeId(0)).len(), 0);
}

#[test]
fn lost_delta_is_asked_for_when_the_next_one_shows_the_gap() {
    let mut network = Network::new(2, 1, config());
    network.run(SETTLE);
    network.weather.lost = 100;
    network.add(NodeId(0), "a");
    network.run(Duration::from_millis(60));
    network.weather.lost = 0;
    // The same shard, so that the gap can be seen.
    let shard = ShardId::of(b"a", SHARDS);
    let key = (0..).map(|n| format!("b{n}")).find(|key| ShardId::of(key.as_bytes(), SHARDS) == shard).unwrap();
    network.add(NodeId(0), &key);
    network.run(Duration::from_millis(60));
    assert_eq!(network.seen(NodeId(1)).len(), 2);
}

#[test]
fn outputs_that_nobody_takes_are_bounded() {
    let config = Config { outputs_max: 8, ..config() };
    let mut replicator: Replicator<String, ()> = Replicator::new(at(0), replica(0), config, 1);
    for node in 1..5 {
        replicator.handle(at(0), Event::Up(replica(node))).unwrap();
    }
    while replicator.take().is_some() {}
    let mut refused = 0;
    for n in 0..100 {
        let shard = ShardId(n % SHARDS);
        match replicator.update(at(0), shard, |set, me| set.add(me, n.to_string())) {
            Err(UpdateError::Undrained { waiting: 8, outputs_max: 8 }) => refused += 1,
            other => other.unwrap(),
        }
    }
    // Each change tells one output; four peers get a message each time four changes wait, as far as there is room.
    assert_eq!(refused, 96);
    let event = replicator.handle(at(0), Event::Down(replica(1)));
    assert!(matches!(event, Err(Reject::Undrained { .. })), "{event:?}");
    replicator.expire(at(10_000));
    let mut waiting = 0;
    while replicator.take().is_some() {
        waiting += 1;
    }
    assert_eq!(waiting, 8);
    assert!(replicator.stats().dropped > 0);
}

#[test]
fn limits_of_a_shard_and_of_a_delta_refuse_and_change_nothing() {
    let config = Config { shard_entries_max: 2, delta_bytes_max: 64, ..config() };
    let mut replicator: Replicator<String, ()> = Replicator::new(at(0), replica(0), config, 1);
    let shard = ShardId(0);
    let large = replicator.update(at(0), shard, |set, me| set.add(me, "x".repeat(64)));
    assert!(matches!(large, Err(UpdateError::TooLarge { size: 77, delta_bytes_max: 64 })), "{large:?}");
    assert!(replicator.shard(shard).unwrap().is_bottom());
    for key in ["a", "b"] {
        replicator.update(at(0), shard, |set, me| set.add(me, key.to_owned())).unwrap();
    }
    let third = replicator.update(at(0), shard, |set, me| set.add(me, "c".to_owned()));
    assert!(matches!(third, Err(UpdateError::Full { shard_entries_max: 2, .. })), "{third:?}");
    replicator.update(at(0), shard, |set, _| Ok(set.remove(&"a".to_owned()))).expect("removing makes room");
    replicator.update(at(0), shard, |set, me| set.add(me, "c".to_owned())).unwrap();
    let none = replicator.update(at(0), ShardId(SHARDS), |set, _| Ok(set.clone()));
    assert!(matches!(none, Err(UpdateError::Shard { .. })), "{none:?}");
}

#[test]
fn answer_is_cut_so_that_each_message_fits() {
    let config = Config { piece_dots_max: 1_000, message_bytes_max: 400, delta_bytes_max: 200, ..config() };
    let mut network = Network::new(1, 1, config);
    for n in 0..50 {
        network.add(NodeId(0), &format!("{n:0>50}"));
    }
    network.start(NodeId(1));
    network.run(Duration::from_millis(500));
    assert_eq!(network.seen(NodeId(1)).len(), 50);
    let stats = network.nodes[&NodeId(0)].replicator.stats();
    assert!(stats.fills >= 50 * 50 / 400, "{} pieces", stats.fills);
    assert!(stats.sent_bytes / stats.sent <= 400);
}

#[test]
fn strangers_and_nonsense_are_refused_and_counted() {
    let mut replicator: Replicator<String, ()> = Replicator::new(at(0), replica(0), config(), 1);
    let bytes = Bytes::from_static(&[1, 1, 1, 7]);
    let receive = |replicator: &mut Replicator<_, _>, bytes: &Bytes| {
        replicator.handle(at(0), Event::Received { from: replica(1), bytes: bytes.clone() })
    };
    assert!(matches!(receive(&mut replicator, &bytes), Err(Reject::Unknown { .. })));
    replicator.handle(at(0), Event::Up(replica(1))).unwrap();
    let shards = receive(&mut replicator, &bytes);
    assert!(matches!(shards, Err(Reject::Shards { found: 1, shards: 3, .. })), "{shards:?}");
    for nonsense in [&[][..], &[9], &[1, 9], &[1, 0, 1, 0, 1, 1, 1]] {
        let refused = receive(&mut replicator, &Bytes::copy_from_slice(nonsense));
        assert!(matches!(refused, Err(Reject::Decode { .. })), "{nonsense:?}: {refused:?}");
    }
    assert_eq!(replicator.stats().refused, 6);
    let own = replicator.handle(at(0), Event::Up(replica(0)));
    assert!(matches!(own, Err(Reject::NoPeer { .. })), "{own:?}");
}

#[test]
fn equal_inputs_give_equal_outputs() {
    let play = || {
        let mut network = Network::new(4, 7, config());
        network.weather = Weather { lost: 20, doubled: 20, delay_ms_max: 80 };
        for n in 0..40 {
            network.add(NodeId(n % 4), &n.to_string());
            network.run(Duration::from_millis(20));
        }
        network.run(SETTLE);
        let told: Vec<_> = network.nodes.values().map(|node| node.told.clone()).collect();
        (told, network.sent)
    };
    assert_eq!(play(), play());
}

/// What chaos does next.
fn disturb(network: &mut Network, gone: &mut Vec<ReplicaId>) {
    let nodes = 5;
    let node = NodeId(network.random() % nodes);
    match network.random() % 100 {
        0..50 => {
            let key = network.random() % 12;
            network.add(node, &key.to_string());
        }
        50..75 => {
            let key = network.random() % 12;
            network.remove(node, &key.to_string());
        }
        75..80 => network.cut(node),
        // Consensus takes a node for gone that is only split off.
        80..82 if node != NodeId(0) && network.nodes.contains_key(&node) => {
            network.cut(node);
            gone.push(network.replica(node));
        }
        80..88 => network.heal(),
        // Node 0 stays, so that somebody always remembers.
        88..92 if node != NodeId(0) && network.nodes.contains_key(&node) => {
            gone.push(network.replica(node));
            network.crash(node);
        }
        92..96 if !network.nodes.contains_key(&node) => network.start(node),
        96..100 if !gone.is_empty() => {
            // Consensus tells this node; the others hear it at another time, or from this one. Who is gone hears nothing.
            let replica = gone[network.random() as usize % gone.len()];
            if network.nodes.contains_key(&node) && !gone.contains(&network.replica(node)) {
                network.event(node, Event::Forget(replica));
            }
        }
        _ => {}
    }
    let pause = network.random() % 300;
    network.run(Duration::from_millis(pause));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Would break: a delta that is lost for good, a removal that is undone by whoever was away, a change that a watcher
    /// isn't told, an entry of a forgotten replica that comes back, a bound that doesn't hold (`check` after each event).
    #[test]
    fn replicas_converge_after_any_weather(seed: u64, lost in 0..60_u64, doubled in 0..40_u64, delay_ms_max in 1..400_u64) {
        let mut network = Network::new(5, seed, config());
        network.weather = Weather { lost, doubled, delay_ms_max };
        let mut gone = Vec::new();
        for _ in 0..60 {
            disturb(&mut network, &mut gone);
        }
        network.weather = Weather { lost: 0, doubled: 0, delay_ms_max: 5 };
        network.heal();
        // One node alone is told of all that are gone; it passes that on.
        for replica in &gone {
            network.event(NodeId(0), Event::Forget(*replica));
        }
        network.run(SETTLE);
        for node in network.alive() {
            let replica = network.replica(node);
            let expected = gone.contains(&replica).then_some(Expulsion::Forgotten);
            prop_assert_eq!(network.nodes[&node].expelled, expected, "{}", replica);
            if gone.contains(&replica) {
                network.crash(node);
            }
        }
        assert_converged(&network);
        for (node, running) in &network.nodes {
            for shard in (0..SHARDS).map(ShardId) {
                let shard = running.replicator.shard(shard).unwrap();
                prop_assert!(shard.entries().all(|(dot, _, _)| !gone.contains(&dot.replica)), "{node} resurrected");
                prop_assert!(gone.iter().all(|replica| shard.context().is_forgotten(*replica)));
            }
        }
    }
}

#[test]
fn refused_message_changes_nothing_to_say() {
    let mut replicator: Replicator<String, ()> = Replicator::new(at(0), replica(0), config(), 1);
    replicator.handle(at(0), Event::Up(replica(1))).unwrap();
    assert!(matches!(replicator.take(), Some(Output::Send { .. })), "the first digest");
    let _ = replicator.handle(at(0), Event::Received { from: replica(1), bytes: Bytes::new() });
    assert_eq!(replicator.take(), None);
}

/// Hands everything that one has to say to the other.
fn pass(from: &mut Replicator<String, ()>, to: &mut Replicator<String, ()>, sender: ReplicaId) -> usize {
    let outputs: Vec<_> = std::iter::from_fn(|| from.take()).collect();
    let sends = outputs.into_iter().filter_map(|output| match output {
        Output::Send { bytes, .. } => Some(bytes),
        _ => None,
    });
    sends.map(|bytes| to.handle(at(0), Event::Received { from: sender, bytes }).expect("a peer is heard")).count()
}

/// One digest is enough for both directions: who is asked sees what the other has, and asks back.
#[test]
fn who_is_asked_asks_back_for_what_is_missing() {
    let [mut one, mut two] = [1, 2].map(|node| Replicator::new(at(0), replica(node), config(), 0));
    for (replicator, key) in [(&mut one, "one"), (&mut two, "two")] {
        replicator.update(at(0), ShardId(0), |set: &AwSet<String>, me| set.add(me, key.to_owned())).unwrap();
    }
    one.handle(at(0), Event::Up(replica(2))).unwrap();
    two.handle(at(0), Event::Up(replica(1))).unwrap();
    // The digest of the second is lost.
    while two.take().is_some() {}
    let mut passed = 1;
    while passed > 0 {
        passed = pass(&mut one, &mut two, replica(1)) + pass(&mut two, &mut one, replica(2));
    }
    assert_eq!(one.shard(ShardId(0)), two.shard(ShardId(0)));
    assert_eq!(one.shard(ShardId(0)).unwrap().len(), 2);
}

/// A node hears from another that a third was forgotten, while it still has a connection to that one.
#[test]
fn who_was_forgotten_elsewhere_is_no_peer_any_more() {
    let mut network = Network::new(3, 1, config());
    network.add(NodeId(2), "forgotten");
    network.run(SETTLE);
    network.event(NodeId(0), Event::Forget(replica(2)));
    network.run(SETTLE);
    let second = &network.nodes[&NodeId(1)];
    assert!(!second.replicator.live().contains(replica(2)));
    assert_eq!((second.replicator.stats().peers, second.replicator.stats().held), (1, 0));
    let all = (0..SHARDS)
        .map(ShardId)
        .all(|shard| second.replicator.shard(shard).is_some_and(|shard| shard.context().is_forgotten(replica(2))));
    assert!(all, "what one shard learned holds for all");
    assert_eq!(network.nodes[&NodeId(2)].expelled, Some(Expulsion::Forgotten), "and it is told itself");
}

/// Whoever joins a large cluster hears digests of all, and gets its shards from one: it must not wait for the others' turn.
#[test]
fn new_peer_is_synced_with_all_who_hold_the_same() {
    let mut network = Network::new(5, 1, config());
    for key in 0..20 {
        network.add(NodeId(key % 5), &format!("key {key}"));
    }
    network.run(SETTLE);
    network.start(NodeId(5));
    network.run(Duration::from_millis(100));
    let mut synced = network.nodes[&NodeId(5)].synced.clone();
    synced.sort_unstable();
    assert_eq!(synced, [0, 1, 2, 3, 4].map(replica));
}

/// Two nodes that can't reach each other, and a third that reaches both.
#[test]
fn what_a_node_wrote_comes_by_way_of_others_and_is_seen_when_it_is_up() {
    let mut network = Network::new(3, 1, config());
    network.run(SETTLE);
    network.event(NodeId(0), Event::Down(replica(2)));
    network.event(NodeId(2), Event::Down(replica(0)));
    network.add(NodeId(2), "far");
    network.run(SETTLE);
    assert_eq!((network.seen(NodeId(0)).len(), network.seen(NodeId(1)).len()), (0, 1));
    assert_eq!(network.nodes[&NodeId(0)].replicator.stats().held, 1);
    network.event(NodeId(0), Event::Up(replica(2)));
    assert_eq!(network.seen(NodeId(0)).len(), 1, "at once");
}
