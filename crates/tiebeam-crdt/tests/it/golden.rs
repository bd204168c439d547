//! The bytes of every format. Who changes one of these changes what nodes of two versions say to each other: a new version
//! byte, not new golden bytes.

use bytes::Bytes;
use proptest::prelude::*;
use tiebeam_crdt::replicator::{Config, Event, Output, ShardId};
use tiebeam_crdt::{AwSet, DotStore, EwFlag, GCounter, LwwMap, PnCounter, Replicator, Stamp};

use crate::network::at;
use crate::subjects::replica;

// A state: the version; how many replicas, each with node, incarnation and ranges; how many nodes of which incarnations are
// forgotten; how many entries, each with dot, key and value.
#[test]
fn states_are_golden() {
    let mut set = AwSet::new();
    set.update(|set| set.add(replica(1), "a".to_owned())).unwrap();
    set.update(|set| set.add(replica(1), "b".to_owned())).unwrap();
    set.merge(&set.remove(&"a".to_owned()));
    set.merge(&set.forget(replica(9)));
    assert_eq!(set.encode(), [1, 1, 1, 1, 1, 1, 2, 1, 9, 1, 1, 1, 1, 2, 1, b'b']);
    assert_eq!(DotStore::decode(&set.encode()).unwrap(), set);
    let mut map = LwwMap::new();
    map.update(|map| map.put(replica(1), Stamp { wall_ms: 300, logical: 2 }, 7_u8, true)).unwrap();
    assert_eq!(map.encode(), [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 7, 251, 44, 1, 2, 1]);
    assert_eq!(DotStore::decode(&map.encode()).unwrap(), map);
    let mut grows = GCounter::new();
    grows.update(|counter| counter.count(replica(1), 5)).unwrap();
    assert_eq!(grows.encode(), [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 5]);
    assert_eq!(DotStore::decode(&grows.encode()).unwrap(), grows);
    let mut counts = PnCounter::new();
    counts.update(|counter| counter.count(replica(1), 5)).unwrap();
    counts.update(|counter| counter.count(replica(1), -3)).unwrap();
    assert_eq!(counts.encode(), [1, 1, 1, 1, 1, 1, 2, 0, 1, 1, 1, 2, 1, 1, 5, 3]);
    assert_eq!(DotStore::decode(&counts.encode()).unwrap(), counts);
    let mut flag = EwFlag::new();
    flag.update(|flag| flag.enable(replica(1))).unwrap();
    assert_eq!(flag.encode(), [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1]);
    assert_eq!(DotStore::decode(&flag.encode()).unwrap(), flag);
}

/// Returns the messages that wait.
fn sent(replicator: &mut Replicator<u8, ()>) -> Vec<Bytes> {
    let outputs = std::iter::from_fn(|| replicator.take());
    outputs.filter_map(|output| if let Output::Send { bytes, .. } = output { Some(bytes) } else { None }).collect()
}

#[test]
fn messages_are_golden() {
    let config = Config { shards: 2, piece_dots_max: 1, ..Config::default() };
    let [mut one, mut two] = [1, 2].map(|node| Replicator::<u8, ()>::new(at(0), replica(node), config, 0));
    one.handle(at(0), Event::Up(replica(2))).unwrap();
    two.handle(at(0), Event::Up(replica(1))).unwrap();
    let empty = b"\x01\x01\x02\xfdo~\x19M/\xdd\x06\xa7\xfdo~\x19M/\xdd\x06\xa7";
    assert_eq!((sent(&mut one), sent(&mut two)), (bytes(&[empty]), bytes(&[empty])));
    for element in [7, 8] {
        one.update(at(0), ShardId(1), |set, me| set.add(me, element)).unwrap();
    }
    one.expire(at(50));
    assert_eq!(sent(&mut one), bytes(&[&[1, 0, 1, 1, 1, 1, 1, 1, 1, 2, 0, 2, 1, 1, 1, 7, 1, 1, 2, 8]]));
    one.expire(at(2_000));
    let digest = sent(&mut one);
    assert_eq!(digest, bytes(&[b"\x01\x01\x02\xfdo~\x19M/\xdd\x06\xa7\xfd\x97ZH\xc6\xaa\xc6\x1d\xe8"]));
    let answer = |to: &mut Replicator<_, _>, from, message: &[Bytes]| {
        to.handle(at(2_000), Event::Received { from: replica(from), bytes: message[0].clone() }).unwrap();
        sent(to)
    };
    let ask = answer(&mut two, 1, &digest);
    assert_eq!(ask, bytes(&[&[1, 2, 1, 0, 0, 0]]));
    let fill = answer(&mut one, 2, &ask);
    assert_eq!(fill, bytes(&[&[1, 3, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 7, 0, 1, 1, 1, 1]]));
    let ask = answer(&mut two, 1, &fill);
    assert_eq!(ask, bytes(&[&[1, 2, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1]]));
    let fill = answer(&mut one, 2, &ask);
    assert_eq!(fill, bytes(&[&[1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 0, 1, 1, 1, 2, 8, 0, 0]]));
    assert_eq!(answer(&mut two, 1, &fill), bytes(&[]));
    assert_eq!(two.shard(ShardId(1)), one.shard(ShardId(1)));
    one.handle(at(2_000), Event::PassedOnBy(Some(replica(2)))).unwrap();
    one.update(at(2_000), ShardId(0), |set, me| set.add(me, 9)).unwrap();
    one.expire(at(2_050));
    assert_eq!(sent(&mut one), bytes(&[&[1, 4, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 9]]));
}

fn bytes(messages: &[&'static [u8]]) -> Vec<Bytes> {
    messages.iter().map(|message| Bytes::from_static(message)).collect()
}

#[test]
fn bytes_that_are_no_state_are_refused() {
    let wrong: [(&str, &[u8]); 6] = [
        ("ranges that touch", &[1, 1, 1, 1, 2, 1, 1, 2, 2, 0, 0]),
        ("the dot 0", &[1, 1, 1, 1, 1, 0, 2, 0, 0]),
        ("a replica twice", &[1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 0, 0]),
        ("a replica without dots", &[1, 1, 1, 1, 0, 0, 0]),
        ("dots of a forgotten replica", &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
        ("an entry that wasn't seen", &[1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 2, 7]),
    ];
    for (what, bytes) in wrong {
        assert!(AwSet::<u8>::decode(bytes).is_err(), "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Would break: a panic, or a broken state, by what a peer sends. Small numbers, so that many of them decode.
    #[test]
    fn any_bytes_are_a_state_or_refused(bytes in prop::collection::vec(0..4_u8, 0..24)) {
        let bytes: Vec<u8> = std::iter::once(1).chain(bytes).collect();
        if let Ok(set) = AwSet::<u8>::decode(&bytes) {
            set.check();
            prop_assert_eq!(AwSet::decode(&set.encode()).unwrap(), set);
        }
    }

    #[test]
    fn any_message_is_taken_in_or_refused(kind in 0..5_u8, bytes in prop::collection::vec(0..4_u8, 0..24)) {
        let config = Config { shards: 2, ..Config::default() };
        let mut one = Replicator::<u8, ()>::new(at(0), replica(1), config, 0);
        one.handle(at(0), Event::Up(replica(2))).unwrap();
        one.update(at(0), ShardId(1), |set, me| set.add(me, 7)).unwrap();
        let bytes: Vec<u8> = [1, kind].into_iter().chain(bytes).collect();
        let _ = one.handle(at(0), Event::Received { from: replica(2), bytes: bytes.into() });
        one.check();
    }
}
