//! Endpoints of a small cluster, and handlers that echo.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_net::ca::{Authority, valid_for};
use tiebeam_net::{
    Candidate, Config, Cookie, Credentials, Declined, Endpoint, Handler, Identity, Lane, Peer, Refusal, Service,
    Validity,
};
use tiebeam_wire::{Incarnation, NodeId, Role};

pub(crate) const COOKIE: &str = "a secret of the tests";

pub(crate) fn authority() -> Authority {
    Authority::ephemeral("skies").unwrap()
}

pub(crate) fn identity(authority: &Authority, node: u64, role: Role) -> Identity {
    Identity { node: NodeId(node), name: format!("node-{node}"), role, cluster: authority.cluster().to_owned() }
}

pub(crate) fn credentials(authority: &Authority, node: u64, role: Role) -> Credentials {
    config(authority, node, role).credentials
}

pub(crate) fn config(authority: &Authority, node: u64, role: Role) -> Config {
    config_valid(authority, node, role, valid_for(Duration::from_secs(3600)))
}

/// With a certificate that is good as `validity` says.
pub(crate) fn config_valid(authority: &Authority, node: u64, role: Role, validity: Validity) -> Config {
    let issued = authority.issue_valid(identity(authority, node, role), validity).unwrap();
    let credentials =
        Credentials::from_pem(authority.pem().as_bytes(), issued.certificate.as_bytes(), issued.key.as_bytes());
    let listen = "127.0.0.1:0".parse().unwrap();
    Config::new(listen, Incarnation(1), credentials.unwrap(), Cookie::new(COOKIE).unwrap())
}

pub(crate) fn endpoint(authority: &Authority, node: u64, role: Role) -> Endpoint {
    Endpoint::bind(config(authority, node, role)).unwrap()
}

/// Dials and accepts at once; what each side got.
pub(crate) async fn meet(
    dialler: &Endpoint,
    acceptor: &Endpoint,
    expected: Option<NodeId>,
) -> (Result<Peer, Refusal>, Result<Peer, Refusal>) {
    async fn settle(candidate: Result<Candidate, Refusal>) -> Result<Peer, Refusal> {
        candidate?.settle().await
    }
    let dial = async { settle(dialler.dial(acceptor.address(), expected).await).await };
    let accept = async { settle(acceptor.accept().await.unwrap().authenticate().await).await };
    tokio::join!(dial, accept)
}

/// Echoes requests; `fail`, `nobody`, `huge` and `forever` do what they say. Keeps frames.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) frames: Mutex<Vec<(Lane, Bytes)>>,
}

impl Handler for Echo {
    fn request(&self, _service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Declined>> {
        async move {
            match &body[..] {
                b"fail" => Err(Declined::Failed("it broke".to_owned())),
                b"nobody" => Err(Declined::NoService),
                b"huge" => Ok(Bytes::from(vec![0; tiebeam_net::FRAME_BYTES_MAX + 1])),
                b"forever" => std::future::pending().await,
                _ => Ok(body),
            }
        }
        .boxed()
    }

    fn frame(&self, lane: Lane, frame: Bytes) {
        self.frames.lock().unwrap().push((lane, frame));
    }
}

/// Two connected nodes: the asker with `role`, and a core node that echoes.
pub(crate) struct Pair {
    pub(crate) asker: Peer,
    pub(crate) echoer: Peer,
    pub(crate) echo: Arc<Echo>,
    pub(crate) ends: (Endpoint, Endpoint),
}

pub(crate) async fn pair(role: Role) -> Pair {
    pair_of(|_| {}, role).await
}

pub(crate) async fn pair_of(change: impl FnOnce(&mut Config), role: Role) -> Pair {
    let authority = authority();
    let mut asking = config(&authority, 2, role);
    change(&mut asking);
    let ends = (Endpoint::bind(asking).unwrap(), endpoint(&authority, 1, Role::Core));
    let (asker, echoer) = meet(&ends.0, &ends.1, Some(NodeId(1))).await;
    let (asker, echoer, echo) = (asker.unwrap(), echoer.unwrap(), Arc::new(Echo::default()));
    echoer.serve(Arc::<Echo>::clone(&echo));
    Pair { asker, echoer, echo, ends }
}
