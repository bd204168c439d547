//! Who doesn't belong stays out, and both sides know why.

use tiebeam_net::{Cookie, Endpoint, Peer, Reason, Refusal, Side};
use tiebeam_wire::{NodeId, Role};

use crate::pair::{authority, config, endpoint, meet, pair};

/// Both sides end with the same reason, and one of them gave it.
fn both(results: (Result<Peer, Refusal>, Result<Peer, Refusal>), reason: Reason) {
    let (dialler, acceptor) = (results.0.unwrap_err(), results.1.unwrap_err());
    assert_eq!((dialler.reason, acceptor.reason), (reason, reason), "{dialler} / {acceptor}");
    assert!(dialler.by == Side::Local || acceptor.by == Side::Local, "{dialler} / {acceptor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_of_the_cluster_is_let_in() {
    let authority = authority();
    let (one, two) = (endpoint(&authority, 1, Role::Core), endpoint(&authority, 2, Role::Edge));
    let (dialler, acceptor) = meet(&one, &two, Some(NodeId(2))).await;
    let (dialler, acceptor) = (dialler.unwrap(), acceptor.unwrap());
    assert_eq!((dialler.node(), acceptor.node()), (NodeId(2), NodeId(1)));
    assert_eq!(dialler.identity().role, Role::Edge);
    assert_eq!(dialler.address(), two.address());
}

/// Two authorities of one name: the signature decides, not the name.
#[tokio::test(flavor = "multi_thread")]
async fn node_of_another_authority_is_refused() {
    let (ours, theirs) = (endpoint(&authority(), 1, Role::Core), endpoint(&authority(), 2, Role::Core));
    both(meet(&theirs, &ours, None).await, Reason::WrongAuthority);
    both(meet(&ours, &theirs, None).await, Reason::WrongAuthority);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_another_cookie_is_refused() {
    let authority = authority();
    let ours = endpoint(&authority, 1, Role::Core);
    let mut config = config(&authority, 2, Role::Core);
    config.cookie = Cookie::new("a secret of other tests").unwrap();
    let theirs = Endpoint::bind(config).unwrap();
    both(meet(&theirs, &ours, None).await, Reason::WrongCookie);
    both(meet(&ours, &theirs, None).await, Reason::WrongCookie);
}

#[tokio::test(flavor = "multi_thread")]
async fn former_cookie_is_accepted_while_it_is_said_to_be() {
    let authority = authority();
    let ours = endpoint(&authority, 1, Role::Core);
    let mut config = config(&authority, 2, Role::Core);
    config.cookie_previous =
        Some(std::mem::replace(&mut config.cookie, Cookie::new("a later secret of theirs").unwrap()));
    let changed = Endpoint::bind(config).unwrap();
    let (dialler, acceptor) = meet(&changed, &ours, None).await;
    assert!(dialler.is_ok() && acceptor.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_another_node_than_was_dialled_is_refused() {
    let authority = authority();
    let (one, three) = (endpoint(&authority, 1, Role::Core), endpoint(&authority, 3, Role::Core));
    both(meet(&one, &three, Some(NodeId(2))).await, Reason::NodeIdMismatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn second_node_with_the_same_id_is_refused() {
    let authority = authority();
    let (one, twin) = (endpoint(&authority, 1, Role::Core), endpoint(&authority, 1, Role::Core));
    both(meet(&one, &twin, None).await, Reason::Oneself);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_are_not_peers_of_each_other() {
    let authority = authority();
    let (one, two) = (endpoint(&authority, 1, Role::Admin), endpoint(&authority, 2, Role::Admin));
    both(meet(&one, &two, None).await, Reason::RoleForbids);
}

/// What isn't QUIC at all is neither answered nor harmful.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_does_not_disturb_a_connection() {
    let pair = pair(Role::Core).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..2000_u32 {
        let size = usize::try_from(n % 1300).unwrap();
        let garbage: Vec<u8> = (0..size).map(|i| (i as u32).wrapping_mul(n).to_le_bytes()[1]).collect();
        socket.send_to(&garbage, pair.ends.1.address()).await.unwrap();
    }
    let answer = pair.asker.request(tiebeam_net::Service::GROUP, "still here".into()).await;
    assert_eq!(answer.unwrap(), "still here");
    assert_eq!(pair.echoer.close_reason(), None);
}
