//! Strangers stay out, and the trace lines of both sides say why.

use std::io;
use std::sync::{Arc, Mutex};

use tiebeam_api::ClusterView;
use tiebeam_net::{Config, Cookie, Credentials, Endpoint, RequestError, Service};
use tiebeam_node::wire::{Incarnation, NodeId, Role};

use crate::site::{COOKIE, NodeFile, Process, Site};

/// Waits until both sides have said `reason`, one that it refused and one that it was refused; then looks whether the
/// host knows nobody but itself.
fn stays_out(host: (&Process, &NodeFile), stranger: &Process, reason: &str) {
    let lines = [host.0.until(reason), stranger.until(reason)];
    for text in ["refused a peer", "refused by a peer"] {
        assert_eq!(lines.iter().filter(|line| line.contains(text) && line.contains(" WARN ")).count(), 1, "{lines:#?}");
    }
    assert_eq!(members(host.1), [host.1.id]);
}

fn members(node: &NodeFile) -> Vec<u64> {
    let mut answer = ureq::get(format!("http://{}/api/cluster", node.http)).call().unwrap();
    let view: ClusterView = serde_json::from_slice(&answer.body_mut().read_to_vec().unwrap()).unwrap();
    view.members.iter().map(|member| member.id).collect()
}

/// Core 2 of `site`, which takes `host` for a core of its cluster and dials it.
fn core_that_dials(site: &Site, host: &NodeFile) -> NodeFile {
    let mut node = site.node(2, Role::Core);
    node.cores.insert(host.id, host.quic);
    node
}

/// The check on the checks: what follows would pass if nobody could ever join.
#[test]
fn node_of_the_cluster_is_let_in() {
    let site = Site::new();
    let one = site.node(1, Role::Core);
    let host = site.start(&one.text());
    let _member = site.start(&core_that_dials(&site, &one).text());
    host.until("node up");
    assert_eq!(members(&one), [1, 2]);
}

#[test]
fn node_of_another_authority_is_refused() {
    let (ours, theirs) = (Site::new(), Site::new());
    let one = ours.node(1, Role::Core);
    let host = ours.start(&one.text());
    let stranger = theirs.start(&core_that_dials(&theirs, &one).text());
    stays_out((&host, &one), &stranger, "wrong authority");
}

#[test]
fn node_with_another_cookie_is_refused() {
    let site = Site::new();
    let one = site.node(1, Role::Core);
    let host = site.start(&one.text());
    let two = NodeFile { cookie: "another secret than theirs".to_owned(), ..core_that_dials(&site, &one) };
    let stranger = site.start(&two.text());
    stays_out((&host, &one), &stranger, "wrong cookie");
}

/// Core 3 listens where core 2 is expected: its certificate is good, and another's.
#[test]
fn node_whose_certificate_names_another_node_is_refused() {
    let site = Site::new();
    let impostor = site.node(3, Role::Core);
    let stranger = site.start(&impostor.text());
    let mut one = site.node(1, Role::Core);
    one.cores.insert(2, impostor.quic);
    let host = site.start(&one.text());
    stays_out((&host, &one), &stranger, "node id mismatch");
}

/// An edge whose program is not ours and asks for a vote.
#[tokio::test]
async fn edge_that_asks_to_vote_is_refused() {
    let site = Site::new();
    let (one, edge) = (site.node(1, Role::Core), site.node(4, Role::Edge));
    let host = site.start(&one.text());
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _said = tracing::subscriber::set_default(subscriber);

    let credentials = Credentials::load(&edge.ca, &edge.cert, &edge.key).unwrap();
    let config = Config::new(edge.quic, Incarnation(1), credentials, Cookie::new(COOKIE.as_bytes()).unwrap());
    let endpoint = Endpoint::bind(config).unwrap();
    let peer = endpoint.dial(one.quic, Some(NodeId(1))).await.unwrap().settle().await.unwrap();
    let vote = peer.request(Service::RAFT, "a vote for node 4".into()).await;
    assert_eq!(vote, Err(RequestError::Forbidden));

    let text = "role forbids the service";
    let theirs = host.until(text);
    assert!(theirs.contains("refused a peer") && theirs.contains("n4 (edge edge-4"), "{theirs}");
    let ours = said.text();
    assert!(ours.contains("refused by a peer") && ours.contains(text), "{ours}");
    assert!(peer.request(Service::GROUP, "1234567".into()).await.is_err_and(|e| e != RequestError::Forbidden));
}

/// What the test's own process said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
