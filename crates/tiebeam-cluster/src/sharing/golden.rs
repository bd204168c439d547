//! The bytes of what is shared. Who changes one of these changes what nodes of two versions say to each other: a new version
//! byte, not new golden bytes.

use bytes::Bytes;
use tiebeam_actor::Pid;
use tiebeam_crdt::ReplicaId;
use tiebeam_wire::{Incarnation, NodeId, codec};

use super::{FRAME_VERSION, Frame, lane_of};
use crate::groups::Membership;
use crate::presence::Place;

const PID: Pid = Pid { node: NodeId(2), incarnation: Incarnation(3), serial: 4 };

#[test]
fn messages_to_many_are_golden() {
    let body = Bytes::from_static(b"xy");
    let broadcast = Frame::Broadcast { from: PID, scope: "s".into(), group: "g".into(), tag: 9, body: body.clone() };
    let bytes = codec::encode(FRAME_VERSION, &broadcast);
    assert_eq!(bytes, [1, 0, 2, 3, 4, 1, b's', 1, b'g', 9, 2, b'x', b'y']);
    let publish = codec::encode(FRAME_VERSION, &Frame::Publish { from: PID, topic: "t".into(), body });
    assert_eq!(publish, [1, 1, 2, 3, 4, 1, b't', 2, b'x', b'y']);
    assert!(matches!(codec::decode(FRAME_VERSION, &bytes), Ok(Frame::Broadcast { from: PID, tag: 9, .. })));
    assert!(matches!(codec::decode(FRAME_VERSION, &publish), Ok(Frame::Publish { from: PID, .. })));
}

#[test]
fn messages_that_cores_pass_on_are_golden() {
    let (start, message) = (ReplicaId::new(NodeId(2), Incarnation(3)), Bytes::from_static(b"xy"));
    let pass = Frame::Pass { to: vec![start], number: 7, message: message.clone() };
    assert_eq!(codec::encode(FRAME_VERSION, &pass), [1, 2, 1, 2, 3, 7, 2, b'x', b'y']);
    let passed = Frame::Passed { from: start, number: 7, message };
    assert_eq!(codec::encode(FRAME_VERSION, &passed), [1, 3, 2, 3, 7, 2, b'x', b'y']);
}

#[test]
fn keys_are_golden() {
    let membership = Membership { scope: "s".into(), group: "g".into(), member: PID };
    assert_eq!(codec::encode(1, &membership), [1, 1, b's', 1, b'g', 2, 3, 4]);
    let place = Place { topic: "t".into(), key: "k".into(), pid: PID };
    assert_eq!(codec::encode(1, &place), [1, 1, b't', 1, b'k', 2, 3, 4]);
}

/// Two lanes for one sender would lose its order; the lanes of replicators must stay free of long messages.
#[test]
fn lane_is_chosen_by_the_sender_alone() {
    let lanes = (0..10).map(|serial| lane_of(Pid { serial, ..PID }));
    assert_eq!(lanes.collect::<Vec<_>>(), [3, 4, 5, 6, 7, 3, 4, 5, 6, 7]);
}
