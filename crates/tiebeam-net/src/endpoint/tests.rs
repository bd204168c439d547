use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_wire::{Incarnation, Role};

use super::*;
use crate::ca::Authority;
use crate::version::{Agreed, Features, Versions};
use crate::{Declined, Handler, Lane, Peer, Service};

fn endpoint_as(authority: &Authority, node: u64, speech: Speech, disguise: impl FnOnce(&mut Hello)) -> Endpoint {
    let identity = Identity {
        node: NodeId(node),
        name: format!("node-{node}"),
        role: Role::Edge,
        cluster: authority.cluster().to_owned(),
    };
    let issued = authority.issue(identity).unwrap();
    let credentials =
        Credentials::from_pem(authority.pem().as_bytes(), issued.certificate.as_bytes(), issued.key.as_bytes());
    let cookie = Cookie::new("a secret of the tests").unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    Endpoint::bind_as(Config::new(listen, Incarnation(1), credentials.unwrap(), cookie), speech, disguise).unwrap()
}

fn endpoint(authority: &Authority, node: u64, disguise: impl FnOnce(&mut Hello)) -> Endpoint {
    endpoint_as(authority, node, Speech::OURS, disguise)
}

fn speaking(authority: &Authority, node: u64, min: u8, max: u8, features: u64) -> Endpoint {
    let versions = Versions::new(min, max).unwrap();
    endpoint_as(authority, node, Speech { versions, features: Features(features) }, |_| {})
}

/// Dials and accepts at once; what each side got.
async fn meet(dialler: &Endpoint, acceptor: &Endpoint) -> (Result<Peer, Refusal>, Result<Peer, Refusal>) {
    let settle = async |candidate: Result<Candidate, Refusal>| candidate?.settle().await;
    let dial = async { settle(dialler.dial(acceptor.address(), None).await).await };
    let accept = async { settle(acceptor.accept().await.unwrap().authenticate().await).await };
    tokio::join!(dial, accept)
}

/// Two nodes' ends of one connection.
async fn connected() -> (Peer, Peer) {
    let authority = Authority::ephemeral("skies").unwrap();
    let (dialled, accepted) = meet(&endpoint(&authority, 1, |_| {}), &endpoint(&authority, 2, |_| {})).await;
    (dialled.unwrap(), accepted.unwrap())
}

/// Nodes speak the best that both can, whichever dials, and both know what that is.
async fn agree(ours: &Endpoint, theirs: &Endpoint, version: u8, features: u64) {
    for (dialler, acceptor) in [(ours, theirs), (theirs, ours)] {
        let (dialled, accepted) = meet(dialler, acceptor).await;
        let agreed = Agreed { version, features: Features(features) };
        assert_eq!((dialled.unwrap().agreed(), accepted.unwrap().agreed()), (agreed, agreed));
    }
}

struct Nothing;

impl Handler for Nothing {
    fn request(&self, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, Declined>> {
        std::future::ready(Err(Declined::NoService)).boxed()
    }

    fn frame(&self, _: Lane, _: Bytes) {}
}

struct Collected(tokio::sync::mpsc::UnboundedSender<Bytes>);

impl Handler for Collected {
    fn request(&self, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, Declined>> {
        std::future::ready(Err(Declined::NoService)).boxed()
    }

    fn frame(&self, _: Lane, frame: Bytes) {
        let _ = self.0.send(frame);
    }
}

/// If it waited, this would never end; if it left without being noticed, the frame would never arrive.
#[tokio::test]
async fn frame_that_is_sent_while_the_connection_is_taken_waits_for_nobody_and_is_not_forgotten() {
    let (dialled, accepted) = connected().await;
    let (sender, mut frames) = tokio::sync::mpsc::unbounded_channel();
    accepted.serve(Arc::new(Collected(sender)));
    let lane = dialled.lane(Lane { service: Service::ACTOR, index: 0 });
    for n in 0..100_u8 {
        dialled.connection().taken(|| lane.send(Bytes::copy_from_slice(&[n]))).unwrap();
        assert_eq!(frames.recv().await.unwrap()[..], [n]);
    }
}

/// If either side kept to what Ethernet's usual frames hold, large bodies would cost six times as many datagrams.
#[tokio::test]
async fn datagrams_become_as_long_as_jumbo_frames_hold() {
    let (dialled, accepted) = connected().await;
    let (sender, mut frames) = tokio::sync::mpsc::unbounded_channel();
    accepted.serve(Arc::new(Collected(sender)));
    let lane = dialled.lane(Lane { service: Service::ACTOR, index: 0 });
    let body = Bytes::from(vec![7; 64 * 1024]);
    for _ in 0..1000 {
        lane.send(body.clone()).unwrap();
        assert_eq!(frames.recv().await.unwrap(), body);
        if dialled.connection().datagram_bytes_max() > 8900 {
            return;
        }
    }
    panic!("after 1,000 bodies: {} bytes", dialled.connection().datagram_bytes_max());
}

/// quinn alone would keep it behind what waits for the window (seen with quinn-proto 0.11.19).
#[tokio::test]
async fn word_why_a_connection_was_closed_arrives_when_its_window_is_full() {
    let (dialled, accepted) = connected().await;
    accepted.serve(Arc::new(Nothing));
    let lane = dialled.lane(Lane { service: Service::ACTOR, index: 0 });
    // On one thread nothing is acknowledged before the test waits.
    lane.send(Bytes::from(vec![7; 8 * 1024 * 1024])).unwrap();
    dialled.close(Reason::Replaced, "enough");
    let end = accepted.closed().await;
    assert_eq!(end.reason, Reason::Replaced, "{end}");
}

/// It can't be shown a new certificate, and a connection must not outlive the old one.
#[tokio::test]
async fn connection_to_an_older_node_ends_with_the_certificate_that_it_saw() {
    let authority = Authority::ephemeral("skies").unwrap();
    let (ours, old) = (endpoint(&authority, 1, |_| {}), speaking(&authority, 2, 1, 1, 0));
    let later = ours.me.shown().credentials.clone();
    let brief = crate::ca::valid_for(std::time::Duration::from_secs(2));
    let issued = authority.issue_valid(ours.identity().clone(), brief).unwrap();
    let (certificate, key) = (issued.certificate.as_bytes(), issued.key.as_bytes());
    ours.rotate(Credentials::from_pem(authority.pem().as_bytes(), certificate, key).unwrap()).unwrap();
    let (dialled, accepted) = meet(&ours, &old).await;
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    dialled.serve(Arc::new(Nothing));
    accepted.serve(Arc::new(Nothing));
    ours.rotate(later).unwrap();
    let ends = (dialled.closed().await.reason, accepted.closed().await.reason);
    assert_eq!(ends, (Reason::Expired, Reason::Expired));
    // The next one is made with the new certificate.
    assert!(meet(&ours, &old).await.0.is_ok());
}

/// The older one knows nothing but the hello of version 1 and its application protocol.
#[tokio::test]
async fn node_of_the_version_before_is_spoken_to_in_its_own() {
    let authority = Authority::ephemeral("skies").unwrap();
    let old = speaking(&authority, 2, 1, 1, u64::MAX);
    agree(&endpoint(&authority, 1, |_| {}), &old, 1, 0).await;
    agree(&speaking(&authority, 3, 1, 1, 0), &old, 1, 0).await;
}

#[tokio::test]
async fn node_of_a_later_version_is_met_halfway() {
    let authority = Authority::ephemeral("skies").unwrap();
    let later = speaking(&authority, 2, 2, 3, u64::MAX);
    agree(&endpoint(&authority, 1, |_| {}), &later, 2, Features::OURS.0).await;
}

#[tokio::test]
async fn nodes_without_a_common_version_both_know_both_ranges() {
    let authority = Authority::ephemeral("skies").unwrap();
    let (ours, later) = (endpoint(&authority, 1, |_| {}), speaking(&authority, 2, 3, 4, 0));
    for (dialler, acceptor) in [(&ours, &later), (&later, &ours)] {
        let (dialled, accepted) = meet(dialler, acceptor).await;
        for refusal in [dialled.unwrap_err(), accepted.unwrap_err()] {
            assert_eq!(refusal.reason, Reason::VersionMismatch, "{refusal}");
            let text = refusal.to_string();
            assert!(text.contains("3 to 4") && text.contains("1 to 2"), "{text}");
        }
    }
}

/// Nothing is in common, not even the way to say it: TLS ends it, and there are no ranges to tell.
#[tokio::test]
async fn nodes_without_a_common_layout_are_refused_by_tls() {
    let authority = Authority::ephemeral("skies").unwrap();
    let (old, later) = (speaking(&authority, 1, 1, 1, 0), speaking(&authority, 2, 3, 4, 0));
    let (dialled, accepted) = meet(&old, &later).await;
    let reasons = (dialled.unwrap_err().reason, accepted.unwrap_err().reason);
    assert_eq!(reasons, (Reason::VersionMismatch, Reason::VersionMismatch));
}

/// A node with a good certificate that says it is another one is refused, and told why, whichever side dials.
async fn liar_is_refused(disguise: impl Fn(&mut Hello), reason: Reason) {
    let authority = Authority::ephemeral("skies").unwrap();
    let (honest, liar) = (endpoint(&authority, 1, |_| {}), endpoint(&authority, 2, disguise));
    for (dialler, acceptor) in [(&liar, &honest), (&honest, &liar)] {
        let (dialled, accepted) = meet(dialler, acceptor).await;
        let (dialled, accepted) = (dialled.unwrap_err(), accepted.unwrap_err());
        assert_eq!((dialled.reason, accepted.reason), (reason, reason), "{dialled} / {accepted}");
    }
}

#[tokio::test]
async fn claim_that_the_certificate_does_not_cover_is_refused_on_both_sides() {
    liar_is_refused(|hello| hello.node = NodeId(3), Reason::NodeIdMismatch).await;
    liar_is_refused(|hello| hello.role = Role::Core, Reason::RoleForbids).await;
    liar_is_refused(|hello| hello.cluster = "seas".into(), Reason::WrongCluster).await;
}

#[tokio::test]
async fn address_that_nobody_can_dial_is_not_advertised() {
    let authority = Authority::ephemeral("skies").unwrap();
    let mut config = endpoint(&authority, 1, |_| {}).me.config.clone();
    config.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(Endpoint::bind(config), Err(BindError::Advertise(_))));
}
