//! The bytes of what is shared. Who changes one of these changes what nodes of two versions say to each other: a new version
//! byte, not new golden bytes.

use bytes::Bytes;
use tiebeam_actor::Pid;
use tiebeam_crdt::ReplicaId;
use tiebeam_wire::{Incarnation, NodeId, codec};

use super::{FRAME_VERSION, Frame, lane_of};
use crate::groups::Membership;
use crate::presence::Place;
use crate::services::{Condition, Details, Health, InstanceKey};

const PID: Pid = Pid { node: NodeId(2), incarnation: Incarnation(3), serial: 4 };

#[test]
fn messages_to_many_are_golden() {
    let body = Bytes::from_static(b"xy");
    let broadcast = Frame::Broadcast { from: PID, scope: "s".into(), group: "g".into(), tag: 9, body: body.clone() };
    let bytes = codec::encode(FRAME_VERSION, &broadcast);
    assert_eq!(bytes, [1, 0, 2, 3, 4, 1, b's', 1, b'g', 9, 2, b'x', b'y']);
    let publish = codec::encode(FRAME_VERSION, &Frame::Publish { from: PID, topic: "t".into(), body });
    assert_eq!(publish, [1, 1, 2, 3, 4, 1, b't', 2, b'x', b'y']);
    let reach = Frame::VotersReached { from: PID, is_majority: true, reached: vec![NodeId(1), NodeId(9)] };
    assert_eq!(codec::encode(FRAME_VERSION, &reach), [1, 2, 2, 3, 4, 1, 2, 1, 9]);
    assert!(matches!(codec::decode(FRAME_VERSION, &bytes), Ok(Frame::Broadcast { from: PID, tag: 9, .. })));
    assert!(matches!(codec::decode(FRAME_VERSION, &publish), Ok(Frame::Publish { from: PID, .. })));
}

#[test]
fn messages_that_cores_pass_on_are_golden() {
    let (start, message) = (ReplicaId::new(NodeId(2), Incarnation(3)), Bytes::from_static(b"xy"));
    let pass = Frame::Pass { to: vec![start], number: 7, message: message.clone() };
    assert_eq!(codec::encode(FRAME_VERSION, &pass), [1, 3, 1, 2, 3, 7, 2, b'x', b'y']);
    let passed = Frame::Passed { from: start, number: 7, message };
    assert_eq!(codec::encode(FRAME_VERSION, &passed), [1, 4, 2, 3, 7, 2, b'x', b'y']);
}

#[test]
fn keys_are_golden() {
    let membership = Membership { scope: "s".into(), group: "g".into(), member: PID };
    assert_eq!(codec::encode(1, &membership), [1, 1, b's', 1, b'g', 2, 3, 4]);
    let place = Place { topic: "t".into(), key: "k".into(), pid: PID };
    assert_eq!(codec::encode(1, &place), [1, 1, b't', 1, b'k', 2, 3, 4]);
    let instance = InstanceKey { service: "s".into(), id: "i".into(), holder: PID };
    assert_eq!(codec::encode(1, &instance), [1, 1, b's', 1, b'i', 2, 3, 4]);
}

#[test]
fn details_of_an_instance_are_golden() {
    let health = Health { condition: Condition::Warning, reason: "r".into(), since_ms: 3 };
    let (address, metadata) = ("1.2.3.4:5".parse().ok(), [("m".to_owned(), "x".to_owned())].into());
    let details = Details { version: "v".into(), address, zone: "z".into(), weight: 7, metadata, health };
    let bytes = codec::encode(1, &details);
    let expected = [1, 1, b'v', 1, 0, 1, 2, 3, 4, 5, 1, b'z', 7, 1, 1, b'm', 1, b'x', 1, 1, b'r', 6];
    assert_eq!(bytes, expected);
    assert_eq!(codec::decode(1, &bytes).ok(), Some(details));
}

/// Two lanes for one sender would lose its order; the lanes of replicators must stay free of long messages.
#[test]
fn lane_is_chosen_by_the_sender_alone() {
    let lanes = (0..10).map(|serial| lane_of(Pid { serial, ..PID }));
    assert_eq!(lanes.collect::<Vec<_>>(), [5, 6, 7, 5, 6, 7, 5, 6, 7, 5]);
}
