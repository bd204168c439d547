//! Certificates and cookies are replaced while connections are in use.

use std::sync::Arc;
use std::time::Duration;

use tiebeam_net::ca::{Authority, valid_for};
use tiebeam_net::{Cookie, Credentials, Endpoint, Peer, Reason, RotateError, Service, testkit};
use tiebeam_wire::{NodeId, Role};

use crate::pair::{Echo, authority, config, config_valid, credentials, endpoint, meet};
use crate::victim::{soon, until};

/// Two nodes that serve each other, each with a certificate of its own making.
async fn served(one: &Endpoint, two: &Endpoint) -> (Peer, Peer) {
    let (dialler, acceptor) = meet(one, two, None).await;
    let (dialler, acceptor) = (dialler.unwrap(), acceptor.unwrap());
    for peer in [&dialler, &acceptor] {
        peer.serve(Arc::new(Echo::default()));
    }
    (dialler, acceptor)
}

/// A moment, after which a certificate is over. Long enough to shake hands in.
const MOMENT: Duration = Duration::from_secs(3);

fn brief(authority: &Authority, node: u64) -> Endpoint {
    Endpoint::bind(config_valid(authority, node, Role::Core, valid_for(MOMENT))).unwrap()
}

/// Both certificates are about to end; one pair renews them and goes on, the other doesn't and ends. All began together,
/// so the one that ends says that the other's time was over, too.
#[tokio::test(flavor = "multi_thread")]
async fn connection_outlives_a_certificate_only_by_renewal() {
    let authority = authority();
    let [one, two, three] = [1, 2, 3].map(|node| brief(&authority, node));
    let (renewed, renewed_too) = served(&one, &two).await;
    let (left, left_too) = served(&three, &two).await;
    let before = (renewed.certificate(), renewed_too.certificate());
    one.rotate(credentials(&authority, 1, Role::Core)).unwrap();
    two.rotate(credentials(&authority, 2, Role::Core)).unwrap();
    until("both to know", || renewed.certificate() != before.0 && renewed_too.certificate() != before.1).await;
    let ends = (soon("the end", left.closed()).await, soon("the end", left_too.closed()).await);
    assert_eq!((ends.0.reason, ends.1.reason), (Reason::Expired, Reason::Expired), "{ends:?}");
    assert_eq!(renewed.request(Service::GROUP, "still".into()).await.unwrap(), "still");
    assert_eq!(renewed_too.request(Service::GROUP, "here".into()).await.unwrap(), "here");
    assert_eq!((renewed.close_reason(), renewed_too.close_reason()), (None, None));
}

/// From one authority to another: first all trust both, then all show the new, then all forget the old.
#[tokio::test(flavor = "multi_thread")]
async fn authority_is_replaced_in_three_rounds() {
    let (old, new) = (authority(), authority());
    let (one, two) = (endpoint(&old, 1, Role::Core), endpoint(&old, 2, Role::Core));
    let (peer, _peer) = served(&one, &two).await;
    let both = old.pem().to_owned() + new.pem();
    let of = |trusted: &str, issuer: &Authority, node| {
        let issued = issuer.issue(crate::pair::identity(issuer, node, Role::Core)).unwrap();
        Credentials::from_pem(trusted.as_bytes(), issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap()
    };
    for (trusted, issuer) in [(&both[..], &old), (&both, &new), (new.pem(), &new)] {
        for (node, endpoint) in [(1, &one), (2, &two)] {
            endpoint.rotate(of(trusted, issuer, node)).unwrap();
        }
        let serial = peer.certificate();
        let (dialler, acceptor) = meet(&one, &two, Some(NodeId(2))).await;
        assert!(dialler.is_ok() && acceptor.is_ok(), "{dialler:?} {acceptor:?}");
        until("the renewal of the connection in use", || {
            peer.certificate() != serial || peer.certificate() == acceptor_serial(&dialler)
        })
        .await;
    }
    assert_eq!(peer.close_reason(), None);
    let late = endpoint(&old, 3, Role::Core);
    assert_eq!(meet(&late, &one, None).await.1.unwrap_err().reason, Reason::WrongAuthority);
}

fn acceptor_serial(dialled: &Result<Peer, tiebeam_net::Refusal>) -> tiebeam_net::Serial {
    dialled.as_ref().unwrap().certificate()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_cookie_is_used_by_the_next_handshake_and_breaks_no_connection() {
    let authority = authority();
    let [one, two, three] = [1, 2, 3].map(|node| endpoint(&authority, node, Role::Core));
    let (peer, _peer) = served(&one, &two).await;
    let cookie = |text: &str| Cookie::new(text).unwrap();
    let (old, new) = (cookie(crate::pair::COOKIE), cookie("a later secret of the tests"));
    one.set_cookies(new.clone(), Some(old)).unwrap();
    assert!(meet(&one, &three, None).await.0.is_ok(), "who has changed meets who has not");
    two.set_cookies(new.clone(), None).unwrap();
    one.set_cookies(new, None).unwrap();
    assert!(meet(&one, &two, None).await.0.is_ok());
    assert_eq!(meet(&one, &three, None).await.1.unwrap_err().reason, Reason::WrongCookie);
    assert_eq!(peer.request(Service::GROUP, "still".into()).await.unwrap(), "still");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_do_not_fit_change_nothing() {
    let authority = authority();
    let (one, two) = (endpoint(&authority, 1, Role::Core), endpoint(&authority, 2, Role::Core));
    let other = one.rotate(credentials(&authority, 3, Role::Core));
    assert!(matches!(other, Err(RotateError::Identity { .. })), "{other:?}");
    let past = config_valid(&authority, 1, Role::Core, valid_for(Duration::ZERO));
    let expired = one.rotate(past.credentials);
    assert!(matches!(expired, Err(RotateError::Expired { .. })), "{expired:?}");
    let (dialler, acceptor) = meet(&one, &two, None).await;
    assert!(dialler.is_ok() && acceptor.is_ok());
}

/// The peer of a connection is denied by the number of the certificate that it shows now, not by the one it showed first.
#[tokio::test(flavor = "multi_thread")]
async fn certificate_that_was_replaced_can_be_revoked_without_harm() {
    let authority = authority();
    let one = endpoint(&authority, 1, Role::Core);
    let copied = config(&authority, 2, Role::Core);
    let (serial, two) = (copied.credentials.serial().clone(), Endpoint::bind(copied.clone()).unwrap());
    let (_peer, peer) = served(&one, &two).await;
    let at_one = _peer;
    two.rotate(credentials(&authority, 2, Role::Core)).unwrap();
    until("the renewal", || at_one.certificate() != serial).await;
    one.revoke(tiebeam_net::Denied::Serial(serial)).unwrap();
    assert_eq!(peer.request(Service::GROUP, "still".into()).await.unwrap(), "still");
    let thief = Endpoint::bind(copied).unwrap();
    assert_eq!(meet(&thief, &one, None).await.0.unwrap_err().reason, Reason::Revoked);
    // And the one that is in use now.
    one.revoke(tiebeam_net::Denied::Serial(at_one.certificate())).unwrap();
    assert_eq!(soon("the end", peer.closed()).await.reason, Reason::Revoked);
}

/// A peer that reads nothing more on the handshake's stream would keep its guard waiting, and so could not be revoked.
#[tokio::test(flavor = "multi_thread")]
async fn peer_that_does_not_take_a_new_certificate_is_closed() {
    let authority = authority();
    let mut host = config(&authority, 1, Role::Core);
    host.handshake_timeout = Duration::from_secs(2);
    let one = Endpoint::bind(host).unwrap();
    let door = one.clone();
    drop(tiebeam_world::spawn("test.accept", async move {
        let candidate = door.accept().await.unwrap().authenticate().await.unwrap();
        let peer = candidate.settle().await.unwrap();
        peer.serve(Arc::new(Echo::default()));
        peer.closed().await;
    }));

    let bad = credentials(&authority, 2, Role::Core);
    let mut client = testkit::client(&bad);
    let mut transport = quinn::TransportConfig::default();
    // A hello has room, a certificate has not.
    transport.stream_receive_window(150_u32.into()).keep_alive_interval(Some(Duration::from_millis(500)));
    client.transport_config(Arc::new(transport));
    let dialler = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connection = dialler.connect_with(client, one.address(), "x").unwrap().await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let cookie = Cookie::new(crate::pair::COOKIE).unwrap();
    send.write_all(&testkit::hello(&connection, &bad, &cookie, NodeId(1))).await.unwrap();
    let mut length = [0; 2];
    recv.read_exact(&mut length).await.unwrap();
    // The rest of the hello, and the offer; the node with the greater number keeps it.
    recv.read_exact(&mut vec![0; usize::from(u16::from_be_bytes(length)) + 1]).await.unwrap();
    send.write_all(&[2]).await.unwrap();

    one.rotate(credentials(&authority, 1, Role::Core)).unwrap();
    let end = soon("the end", connection.closed()).await;
    assert!(end.to_string().contains("doesn't take a new certificate"), "{end}");
}
