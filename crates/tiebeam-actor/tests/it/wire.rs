//! Golden bytes: a reordered variant or field would be read as something else by a node of the version before.

use bytes::Bytes;
use tiebeam_actor::{CallError, Dest, ExitKind, ExitReason, Pid, Ref, RemoteSignal};
use tiebeam_wire::{Incarnation, NodeId, codec};

fn pid(node: u64, serial: u64) -> Pid {
    Pid { node: NodeId(node), incarnation: Incarnation(3), serial }
}

fn samples() -> Vec<(RemoteSignal, Vec<u8>)> {
    let (from, to) = (pid(1, 7), pid(2, 9));
    let call = Ref { node: NodeId(1), incarnation: Incarnation(3), serial: 5 };
    let body = Bytes::from_static(b"hi");
    let named = Dest::Name("db".into());
    vec![
        (
            RemoteSignal::Message { from, to: Dest::Pid(to), tag: 4, body: body.clone(), reply: None, deadline_ms: 0 },
            vec![1, 0, 1, 3, 7, 0, 2, 3, 9, 4, 2, b'h', b'i', 0, 0],
        ),
        (
            RemoteSignal::Message { from, to: named, tag: 4, body: body.clone(), reply: Some(call), deadline_ms: 250 },
            vec![1, 0, 1, 3, 7, 1, 2, b'd', b'b', 4, 2, b'h', b'i', 1, 1, 3, 5, 250],
        ),
        (
            RemoteSignal::Reply { from, to, call, result: Ok(body) },
            vec![1, 1, 1, 3, 7, 2, 3, 9, 1, 3, 5, 0, 2, b'h', b'i'],
        ),
        (RemoteSignal::Link { from, to }, vec![1, 2, 1, 3, 7, 2, 3, 9]),
        (RemoteSignal::Unlink { from, to, id: 6 }, vec![1, 3, 1, 3, 7, 2, 3, 9, 6]),
        (RemoteSignal::UnlinkAck { from, to, id: 6 }, vec![1, 4, 1, 3, 7, 2, 3, 9, 6]),
        (
            RemoteSignal::Exit { from, to, reason: ExitReason::Shutdown, kind: ExitKind::Sent },
            vec![1, 5, 1, 3, 7, 2, 3, 9, 1, 2],
        ),
        (RemoteSignal::Monitor { from, to, monitor: call }, vec![1, 6, 1, 3, 7, 2, 3, 9, 1, 3, 5]),
        (RemoteSignal::Demonitor { from, to, monitor: call }, vec![1, 7, 1, 3, 7, 2, 3, 9, 1, 3, 5]),
        (
            RemoteSignal::Down { from, to, monitor: call, reason: ExitReason::NoProc },
            vec![1, 8, 1, 3, 7, 2, 3, 9, 1, 3, 5, 4],
        ),
        (RemoteSignal::Full { from, to }, vec![1, 9, 1, 3, 7, 2, 3, 9]),
        (RemoteSignal::Room { from, to }, vec![1, 10, 1, 3, 7, 2, 3, 9]),
    ]
}

#[test]
fn signals_have_golden_bytes() {
    for (signal, bytes) in samples() {
        assert_eq!(codec::encode(1, &signal), bytes, "{signal:?}");
        assert_eq!(codec::decode::<RemoteSignal>(1, &bytes).unwrap(), signal);
    }
}

#[test]
fn reasons_and_errors_have_golden_bytes() {
    let reasons = [
        ExitReason::Normal,
        ExitReason::Shutdown,
        ExitReason::Kill,
        ExitReason::Killed,
        ExitReason::NoProc,
        ExitReason::NoConnection,
        ExitReason::Panic("p".into()),
        ExitReason::Other("o".into()),
        ExitReason::Ignore,
    ];
    let bytes: Vec<_> = reasons.iter().flat_map(|reason| codec::encode(1, reason)).collect();
    assert_eq!(bytes, [1, 0, 1, 1, 1, 2, 1, 3, 1, 4, 1, 5, 1, 6, 1, b'p', 1, 7, 1, b'o', 1, 8]);
    let errors = [
        CallError::Timeout,
        CallError::NoProc,
        CallError::NoConnection,
        CallError::Exit(ExitReason::Killed),
        CallError::Overloaded,
        CallError::Incompatible,
        CallError::Unanswered,
    ];
    let bytes: Vec<_> = errors.iter().flat_map(|error| codec::encode(1, error)).collect();
    assert_eq!(bytes, [1, 0, 1, 1, 1, 2, 1, 3, 3, 1, 4, 1, 5, 1, 6]);
    assert_eq!(codec::encode(1, &[ExitKind::Link, ExitKind::Broken, ExitKind::Sent]), [1, 0, 1, 2]);
}
