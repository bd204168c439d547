//! A newcomer that has nothing but a token.

use std::net::SocketAddr;
use std::time::Duration;

use tiebeam_net::ca::Authority;
use tiebeam_net::join::{JoinError, Office, Token, Tokens, join};
use tiebeam_net::{Config, Cookie, Credentials, Endpoint, Identity, Reason};
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::pair::{COOKIE, config, endpoint, identity, meet};
use crate::victim::soon;

/// An authority in a directory, and a core node that keeps a desk.
struct Scene {
    authority: Authority,
    dir: tempfile::TempDir,
    core: Endpoint,
    desk: SocketAddr,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path(), "skies").unwrap();
    let core = endpoint(&authority, 1, Role::Core);
    let desk = open(&core, &dir);
    Scene { authority, dir, core, desk }
}

fn open(core: &Endpoint, dir: &tempfile::TempDir) -> SocketAddr {
    let (authority, tokens) = (Authority::load(dir.path()).unwrap(), Tokens::of(dir.path()));
    let lifetime = Duration::from_secs(24 * 3600);
    let office = Office { authority, tokens, lifetime, settings: Box::new(|| "cookie and so on".to_owned()) };
    let desk = core.open_desk("127.0.0.1:0".parse().unwrap(), office).unwrap();
    let address = desk.local_addr().unwrap();
    drop(tiebeam_world::spawn("test.desk", desk.run()));
    address
}

impl Scene {
    fn token(&self, node: u64) -> Token {
        let identity: Identity = identity(&self.authority, node, Role::Edge);
        Tokens::of(self.dir.path()).create(&self.authority, identity, Duration::from_secs(900)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_becomes_a_certificate_once() {
    let scene = scene();
    let token = scene.token(7);
    let joined = join(scene.desk, &token).await.unwrap();
    assert_eq!(joined.identity, identity(&scene.authority, 7, Role::Edge));
    assert_eq!((&joined.authority[..], &joined.settings[..]), (scene.authority.pem(), "cookie and so on"));
    let (certificate, key) = (joined.certificate.as_bytes(), joined.key.as_bytes());
    let credentials = Credentials::from_pem(joined.authority.as_bytes(), certificate, key).unwrap();
    assert_eq!(credentials.validity().span().as_secs(), 25 * 3600, "a day, from an hour ago");
    let listen = "127.0.0.1:0".parse().unwrap();
    let newcomer = Config::new(listen, Incarnation(1), credentials, Cookie::new(COOKIE).unwrap());
    let (dialler, acceptor) = meet(&Endpoint::bind(newcomer).unwrap(), &scene.core, Some(NodeId(1))).await;
    assert_eq!((dialler.unwrap().node(), acceptor.unwrap().node()), (NodeId(1), NodeId(7)));
    let again = join(scene.desk, &token).await.unwrap_err();
    assert!(matches!(&again, JoinError::Refused { source, .. } if source.reason == Reason::BadToken), "{again:?}");
}

/// The secret is said to the authority that the token names and to nobody else: neither to another one's core node, nor
/// to an edge of the right one.
#[tokio::test(flavor = "multi_thread")]
async fn secret_is_not_said_to_an_impostor() {
    let (ours, theirs) = (scene(), scene());
    let token = ours.token(7);
    let error = join(theirs.desk, &token).await.unwrap_err();
    assert!(matches!(error, JoinError::Impostor { .. }), "{error:?}");
    let edge = endpoint(&ours.authority, 9, Role::Edge);
    let error = join(open(&edge, &ours.dir), &token).await.unwrap_err();
    assert!(matches!(error, JoinError::Impostor { .. }), "{error:?}");
    join(ours.desk, &token).await.unwrap();
}

/// Five guesses, and the token is of no use to anybody.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_spends_the_token() {
    let scene = scene();
    let token = scene.token(7);
    let text = token.to_string();
    let mut parts: Vec<&str> = text.split('-').collect();
    parts[2] = "00000000000000000000000000000000";
    let guess: Token = parts.join("-").parse().unwrap();
    for token in [&guess, &guess, &guess, &guess, &guess, &token] {
        let error = join(scene.desk, token).await.unwrap_err();
        // All of them hear the same.
        let JoinError::Refused { source, .. } = error else { panic!("{error:?}") };
        assert_eq!((source.reason, &source.detail[..]), (Reason::BadToken, "token refused"));
    }
}

/// The desk speaks with newcomers alone, and the node's own socket with nodes alone.
#[tokio::test(flavor = "multi_thread")]
async fn desk_and_door_are_apart() {
    let scene = scene();
    let node = Endpoint::bind(config(&scene.authority, 2, Role::Core)).unwrap();
    let refusal = soon("a refusal", node.dial(scene.desk, None)).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::VersionMismatch, "{refusal}");
    let token = scene.token(7);
    let accept = async {
        // With and without a retry: the newcomer has no certificate and speaks another protocol.
        scene.core.accept().await.unwrap().authenticate().await.map(drop)
    };
    let (joined, accepted) = tokio::join!(join(scene.core.address(), &token), accept);
    assert!(matches!(joined, Err(JoinError::Unreachable { .. })), "{joined:?}");
    assert_eq!(accepted.unwrap_err().reason, Reason::VersionMismatch);
    join(scene.desk, &token).await.unwrap();
}

/// A desk shows the certificate that its node shows now.
#[tokio::test(flavor = "multi_thread")]
async fn desk_goes_with_the_node_s_rotation() {
    let scene = scene();
    scene.core.rotate(crate::pair::credentials(&scene.authority, 1, Role::Core)).unwrap();
    join(scene.desk, &scene.token(7)).await.unwrap();
}
