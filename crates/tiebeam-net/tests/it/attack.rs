//! Whoever means harm: strangers, and nodes of the cluster that went bad. The victim serves another node all along, its
//! memory stays within a bound, and it says once who it was, or of strangers so much and no more.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use quinn::{Connection, VarInt};
use tiebeam_net::ca::{Authority, valid_for};
use tiebeam_net::{Cookie, Endpoint, FRAME_BYTES_MAX, Peer, Reason, Refusal, Side, Validity, testkit};
use tiebeam_wire::{NodeId, Role};
use tokio::net::UdpSocket;

use crate::pair::{authority, config, config_valid, credentials, endpoint};
use crate::victim::{Honest, Victim, patient, soon, until};

/// The victim, its authority, a node that calls it, and how much memory that took.
struct Scene {
    authority: Authority,
    victim: Victim,
    honest: Honest,
    memory_mib: u64,
    answered: u64,
}

/// Keeps to the handshake, and to nothing else if it likes; speaks QUIC by itself.
struct Insider {
    connection: Connection,
    _endpoint: quinn::Endpoint,
    _stream: (quinn::SendStream, quinn::RecvStream),
}

impl Scene {
    async fn set() -> Self {
        let authority = authority();
        let victim = Victim::start(&authority).await;
        let honest = Honest::start(&authority, &victim).await;
        until("the first answers", || honest.answered() > 10).await;
        let (memory_mib, answered) = (victim.memory_max_mib(), honest.answered());
        Self { authority, victim, honest, memory_mib, answered }
    }

    /// Another honest node of the cluster.
    async fn member(&self, node: u64) -> (Endpoint, Peer) {
        let endpoint = Endpoint::bind(patient(config(&self.authority, node, Role::Core))).unwrap();
        let peer = endpoint.dial(self.victim.address, Some(NodeId(1))).await.unwrap().settle().await.unwrap();
        (endpoint, peer)
    }

    /// A node of the cluster, let in by the victim; what it does from now on is up to the test.
    async fn insider(&self, node: u64) -> Insider {
        let own = credentials(&self.authority, node, Role::Core);
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let dialled = endpoint.connect_with(testkit::client(&own), self.victim.address, "x").unwrap();
        let connection = dialled.await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let cookie = Cookie::new(crate::pair::COOKIE).unwrap();
        send.write_all(&testkit::hello(&connection, &own, &cookie, NodeId(1))).await.unwrap();
        read_hello(&mut recv).await;
        // The victim has the smaller number: it offers, and the insider keeps.
        recv.read_exact(&mut [0]).await.unwrap();
        send.write_all(&[2]).await.unwrap();
        Insider { connection, _endpoint: endpoint, _stream: (send, recv) }
    }

    /// The other node was served, and the attack took at most `limit_mib` at its worst.
    async fn is_unharmed(&self, limit_mib: u64) {
        self.honest.is_served(self.answered).await;
        assert_eq!(self.honest.peer.close_reason(), None);
        let grown = self.victim.memory_max_mib().saturating_sub(self.memory_mib);
        assert!(grown <= limit_mib, "memory grew by {grown} MiB, the bound is {limit_mib}");
    }

    /// The victim said exactly one warning with all `texts`.
    async fn is_said_once(&self, texts: &[&str]) {
        let texts = [&["WARN"], texts].concat();
        self.victim.says(&texts).await;
        let said = self.victim.said(&texts);
        assert_eq!(said.len(), 1, "{said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_neither_answered_nor_said() {
    let scene = Scene::set().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..20_000_u32 {
        let mut garbage: Vec<u8> =
            (0..n % 1400).map(|i| (i ^ n).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        // Every other one looks like the first packet of a connection of QUIC version 1.
        if let (0, Some(head)) = (n % 2, garbage.first_chunk_mut::<6>()) {
            *head = [0xc0 | head[0], 0, 0, 0, 1, 8];
        }
        socket.send_to(&garbage, scene.victim.address).await.unwrap();
    }
    scene.is_unharmed(32).await;
    let said = scene.victim.said(&["WARN"]);
    assert!(said.len() <= 1, "{said:#?}");
}

/// Ten thousand first packets of handshakes that nobody goes on with: what the victim answers is never delivered, as if
/// the addresses were made up.
#[tokio::test(flavor = "multi_thread")]
async fn half_handshakes_leave_room_for_whole_ones() {
    const HALVES: usize = 10_000;
    let scene = Scene::set().await;
    let pit = Pit::dig(scene.victim.address).await;
    let dialler = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = testkit::client(&credentials(&scene.authority, 3, Role::Core));
    let mut newcomers = 0;
    while pit.count() < HALVES {
        let goal = HALVES.min(pit.count() + 250);
        let dials = (pit.count()..goal).map(|_| dialler.connect_with(client.clone(), pit.address, "x").unwrap());
        let dials: Vec<_> = dials.collect();
        until("their packets to pass", || pit.count() >= goal).await;
        drop(dials);
        // In the midst of it somebody joins who was never seen before.
        if goal.is_multiple_of(2500) {
            newcomers += 1;
            soon("a newcomer to be let in", scene.member(10 + newcomers)).await;
        }
    }
    assert_eq!(newcomers, 4);
    scene.is_unharmed(64).await;
    let said = scene.victim.said(&["WARN", "refused a peer"]);
    assert!(said.len() <= 20, "{} lines: {:#?}", said.len(), said.first());
}

/// Forwards the first packet of each connection from an address of its own, and swallows what comes back.
struct Pit {
    address: SocketAddr,
    seen: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Pit {
    async fn dig(to: SocketAddr) -> Self {
        let inner = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outer = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).await.unwrap();
        let (address, seen) = (inner.local_addr().unwrap(), Arc::<Mutex<BTreeSet<Vec<u8>>>>::default());
        let passed = Arc::clone(&seen);
        drop(tiebeam_world::spawn("test.pit", async move {
            let mut packet = [0; 2000];
            while let Ok(size) = inner.recv(&mut packet).await {
                // A long header: its form, the version, the length of the connection's id, the id.
                let Some(id) = packet.get(6..6 + usize::from(packet[5])) else { continue };
                let new = packet[0] & 0xf0 == 0xc0 && passed.lock().unwrap().insert(id.to_vec());
                if new {
                    outer.send_to(&packet[..size], to).await.unwrap();
                }
            }
        }));
        Self { address, seen }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// Each ends its own connection at once, by its first bytes, and is named.
#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_end_their_connection() {
    let scene = Scene::set().await;
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    let lanes: [(&str, Vec<u8>); 4] = [
        ("more than the limit", [&[0, 7, 0], &too_long[..]].concat()),
        ("more than the limit", vec![0, 7, 0, 0xff, 0xff, 0xff, 0xff]),
        ("lane ended within a frame", vec![0, 7, 0, 0, 0, 1, 0, 42]),
        ("lane is out of range", vec![0, 7, 16]),
    ];
    for (n, (text, bytes)) in (20..).zip(lanes) {
        let insider = scene.insider(n).await;
        let mut lane = insider.connection.open_uni().await.unwrap();
        lane.write_all(&bytes).await.unwrap();
        lane.finish().unwrap();
        let end = soon("the end of the connection", insider.connection.closed()).await;
        assert!(code(&end).is_some() && end.to_string().contains(text), "{end}");
        scene.is_said_once(&[&format!("peer=n{n} "), text]).await;
    }
    scene.is_unharmed(32).await;
}

/// Half a request is one that was given up, and harms nobody; one that is too large is refused by its length.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_break_the_rules_are_refused_alone() {
    let scene = Scene::set().await;
    let insider = scene.insider(20).await;
    let connection = &insider.connection;
    for bytes in [&[][..], &[0], &[0, 3, 0, 0], &[0, 3, 0, 0, 0, 9, 1, 2, 3]] {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        assert_eq!(soon("no answer", recv.read_to_end(100)).await.unwrap(), []);
    }
    for _ in 0..100 {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&[0, 3, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
        assert_eq!(soon("a refusal", recv.read_to_end(100)).await.unwrap(), [4, 0xff, 0xff, 0xff, 0xff]);
    }
    scene.is_said_once(&["peer=n20 ", "request is too large"]).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"\0\x03\0\0\0\x04fine").await.unwrap();
    assert_eq!(soon("an answer", recv.read_to_end(100)).await.unwrap(), b"\0\0\0\0\x04fine");
    scene.is_unharmed(32).await;
}

/// All lanes full of empty frames, all streams open, and each request announcing the largest body and stopping halfway.
#[tokio::test(flavor = "multi_thread")]
async fn frame_bomb_bursts_within_its_own_connection() {
    let scene = Scene::set().await;
    let insider = scene.insider(20).await;
    let connection = &insider.connection;
    let lanes = join_all((0..16).map(|index| {
        let connection = connection.clone();
        async move {
            let mut lane = connection.open_uni().await.unwrap();
            lane.write_all(&[0, 7, index]).await.unwrap();
            // A quarter of a million frames each.
            for _ in 0..16 {
                lane.write_all(&[0; 64 * 1024]).await.unwrap();
            }
            lane
        }
    }));
    let lanes = soon("the frames to be taken", lanes).await;
    // As many as a node may have open beside the stream of the handshake, which stays.
    let mut requests = Vec::new();
    for _ in 0..256 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        let [a, b, c, d] = u32::try_from(FRAME_BYTES_MAX).unwrap().to_be_bytes();
        send.write_all(&[0, 3, a, b, c, d]).await.unwrap();
        // Goes on until flow control says that nobody reads.
        let write = async move {
            let written = send.write_all(&vec![7; FRAME_BYTES_MAX - 1]).await;
            std::future::pending::<()>().await;
            drop((written, recv));
        };
        requests.push(tiebeam_world::spawn("test.bomb", write).into_guard());
    }
    let now = scene.honest.answered();
    until("many answers in the midst of it", || scene.honest.answered() > now + 300).await;
    scene.is_unharmed(192).await;
    assert_eq!(connection.close_reason(), None);
    drop((lanes, requests));
}

/// Asks for the largest answers and reads none. Those beyond the limit are refused, and it is said once.
#[tokio::test(flavor = "multi_thread")]
async fn peer_that_never_reads_fills_no_memory() {
    let scene = Scene::set().await;
    let insider = scene.insider(20).await;
    let connection = &insider.connection;
    let mut streams = Vec::new();
    for _ in 0..200 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[0, 3, 0, 0, 0, 3, b'b', b'i', b'g']).await.unwrap();
        send.finish().unwrap();
        streams.push((send, recv));
    }
    scene.is_said_once(&["peer=n20 ", "peer doesn't read its answers"]).await;
    // Each handler makes its answer before anybody can refuse it, so some are there at once.
    scene.is_unharmed(320).await;
}

/// A node that knows no cookie lets another one dial it, and says the proof that it heard to others.
#[tokio::test(flavor = "multi_thread")]
async fn proof_that_was_overheard_is_worth_nothing() {
    let scene = Scene::set().await;
    let thief = credentials(&scene.authority, 20, Role::Core);
    let trap = quinn::Endpoint::server(testkit::server(&thief), "127.0.0.1:0".parse().unwrap()).unwrap();
    let trapped = scene.honest.endpoint.clone();
    let (address, dial) = (trap.local_addr().unwrap(), Duration::from_secs(20));
    let dial = tiebeam_world::spawn("test.trapped", async move {
        drop(tiebeam_world::timeout(dial, trapped.dial(address, None)).await);
    });
    let caught = trap.accept().await.unwrap().await.unwrap();
    let (_, mut recv) = caught.accept_bi().await.unwrap();
    let hello = read_hello(&mut recv).await;

    let client = testkit::client(&thief);
    for _ in 0..5 {
        let connection = trap.connect_with(client.clone(), scene.victim.address, "x").unwrap().await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&hello).await.unwrap();
        let end = soon("a refusal", connection.closed()).await;
        // It names the honest node, and the thief's certificate doesn't.
        assert_eq!(code(&end), Some(VarInt::from_u32(3)), "{end}");
    }
    scene.is_said_once(&["peer=n20 ", "node id mismatch"]).await;

    // The same with a hello of its own and the proof of the other.
    for _ in 0..5 {
        let connection = trap.connect_with(client.clone(), scene.victim.address, "x").unwrap().await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        let mut own = hello.clone();
        // Length, versions, features and the codec's version stand before the number.
        assert_eq!(own[13], 2, "the honest node's number");
        own[13] = 20;
        send.write_all(&own).await.unwrap();
        let end = soon("a refusal", connection.closed()).await;
        assert_eq!(code(&end), Some(VarInt::from_u32(2)), "{end}");
    }
    scene.is_said_once(&["peer=n20 ", "wrong cookie"]).await;
    dial.abort();
    scene.is_unharmed(32).await;
}

async fn read_hello(recv: &mut quinn::RecvStream) -> Vec<u8> {
    let mut length = [0; 2];
    recv.read_exact(&mut length).await.unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes(length))];
    recv.read_exact(&mut rest).await.unwrap();
    [&length[..], &rest].concat()
}

fn code(end: &quinn::ConnectionError) -> Option<VarInt> {
    match end {
        quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code),
        _ => None,
    }
}

/// Dials `times` and returns how each ended; who is let in at first may be refused a moment later.
async fn dials(endpoint: &Endpoint, to: SocketAddr, times: usize) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for _ in 0..times {
        let settled = async { endpoint.dial(to, None).await?.settle().await };
        refusals.push(soon("a refusal", settled).await.map(drop).unwrap_err());
    }
    refusals
}

/// What isn't good now names nobody: it is told by address, once for both.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_out_of_their_time_are_refused() {
    let scene = Scene::set().await;
    let Validity { from_ms, .. } = valid_for(Duration::ZERO);
    let past = Validity { from_ms, until_ms: from_ms + 60_000 };
    let hour = 3_600_000;
    let future = Validity { from_ms: from_ms + 2 * hour, until_ms: from_ms + 3 * hour };
    for validity in [past, future] {
        let stranger = Endpoint::bind(patient(config_valid(&scene.authority, 20, Role::Core, validity))).unwrap();
        for refusal in dials(&stranger, scene.victim.address, 10).await {
            assert_eq!((refusal.reason, refusal.by), (Reason::Expired, Side::Peer), "{refusal}");
        }
        // It is not dialled either.
        let refused = scene.honest.endpoint.clone();
        let accept = async { stranger.accept().await.unwrap().authenticate().await.map(drop) };
        let (dialled, _) = tokio::join!(refused.dial(stranger.address(), None), accept);
        assert_eq!(dialled.map(drop).unwrap_err().reason, Reason::Expired);
    }
    scene.is_said_once(&["refused a peer", "certificate expired", "127.0.0.1"]).await;
    scene.is_unharmed(32).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_node_is_sent_away_and_stays_out() {
    let mut scene = Scene::set().await;
    let (endpoint, peer) = scene.member(20).await;
    let (_other_endpoint, other) = scene.member(21).await;
    scene.victim.revoke(20);
    let end = soon("the end of the connection", peer.closed()).await;
    assert_eq!((end.reason, end.by), (Reason::Revoked, Side::Peer), "{end}");
    for refusal in dials(&endpoint, scene.victim.address, 20).await {
        assert_eq!((refusal.reason, refusal.by), (Reason::Revoked, Side::Peer), "{refusal}");
    }
    scene.is_said_once(&["peer=n20 ", "closed the connection to a peer", "revoked"]).await;
    scene.is_said_once(&["peer=n20 ", "refused a peer", "revoked"]).await;
    assert_eq!(other.close_reason(), None);
    scene.is_unharmed(32).await;
}

/// The other half of the promise: a node doesn't connect to whom it denies, whoever dials.
#[tokio::test(flavor = "multi_thread")]
async fn revoked_node_is_not_dialled_with_success() {
    let authority = authority();
    let (ours, theirs) = (endpoint(&authority, 1, Role::Core), endpoint(&authority, 2, Role::Core));
    let list = testkit::deny([NodeId(2)]);
    ours.deny(list);
    let met = AtomicUsize::new(0);
    let accept = async {
        if theirs.accept().await.unwrap().authenticate().await.is_ok() {
            met.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (dialled, ()) = tokio::join!(ours.dial(theirs.address(), Some(NodeId(2))), accept);
    let refusal = dialled.map(drop).unwrap_err();
    assert_eq!((refusal.reason, refusal.by), (Reason::Revoked, Side::Local), "{refusal}");
    assert_eq!(met.load(Ordering::Relaxed), 0);
}
