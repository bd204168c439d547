//! A running node gets another certificate, another cookie, other revocations, and goes on.

use std::time::Duration;

use tiebeam_net::Identity;
use tiebeam_net::ca::valid_for;
use tiebeam_node::wire::{NodeId, Role};

use crate::site::{CLUSTER, NodeFile, Process, Site};

/// Two cores that are connected.
struct Two {
    site: Site,
    files: [NodeFile; 2],
    nodes: [Process; 2],
}

impl Two {
    fn start() -> Self {
        let site = Site::new();
        let mut files = [1, 2].map(|id| site.node(id, Role::Core));
        let seats = files.iter().map(|file| (file.id, file.quic)).collect::<std::collections::BTreeMap<_, _>>();
        files.iter_mut().for_each(|file| file.cores.clone_from(&seats));
        let nodes = files.each_ref().map(|file| site.start(&file.text()));
        nodes[0].until("node up");
        nodes[1].until("node up");
        Self { site, files, nodes }
    }

    /// Writes a new certificate, good for `span`, over the old one of the first node.
    fn issue(&self, id: u64, span: Duration) {
        let file = &self.files[0];
        let identity =
            Identity { node: NodeId(id), name: file.name.clone(), role: file.role, cluster: CLUSTER.to_owned() };
        self.site.authority.issue_valid(identity, valid_for(span)).unwrap().write(&self.site.path("certs")).unwrap();
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn certificate_is_replaced_without_a_restart_and_its_end_is_warned_of() {
    let two = Two::start();
    two.issue(1, DAY * 7);
    two.nodes[0].hang_up();
    two.nodes[0].until("configuration read again");
    let line = two.nodes[1].until("peer has a new certificate");
    assert!(line.contains("n1 (core core-1"), "{line}");
    // Nobody sends a signal this time.
    two.issue(1, Duration::from_secs(3 * 3600 / 2));
    two.nodes[0].until("certificate files changed and are in use");
    two.nodes[1].until("peer has a new certificate");
}

#[test]
fn certificate_that_ends_soon_is_said_at_the_start() {
    let site = Site::new();
    let file = site.node(1, Role::Core);
    let identity = Identity { node: NodeId(1), name: file.name.clone(), role: file.role, cluster: CLUSTER.to_owned() };
    // A quarter of its life is more than the rest: it began an hour ago.
    let issued = site.authority.issue_valid(identity, valid_for(Duration::from_secs(600))).unwrap();
    issued.write(&site.path("certs")).unwrap();
    let node = Process::start(&site.write(&file.text()));
    let line = node.until("certificate ends soon");
    assert!(line.contains(" WARN ") && line.contains("left=\"0 h\"") || line.contains("left=0 h"), "{line}");
}

/// A certificate of another node, half a file, a wrong key: each is refused with its reason, and peers stay.
#[test]
fn bad_files_are_refused_and_the_good_ones_stay() {
    let two = Two::start();
    let refused = |reason: &str| {
        two.nodes[0].hang_up();
        let line = two.nodes[0].until("configuration can't be used; the one before stays in effect");
        assert!(line.contains(" ERROR ") && line.contains(reason), "{line}");
    };
    let good = std::fs::read(&two.files[0].cert).unwrap();
    std::fs::write(&two.files[0].cert, &good[..good.len() / 2]).unwrap();
    refused("certificate is not in PEM");
    std::fs::write(&two.files[0].cert, std::fs::read(&two.files[1].cert).unwrap()).unwrap();
    refused("can't be used together");
    std::fs::write(&two.files[0].cert, &good).unwrap();
    two.issue(7, DAY);
    refused("certificate is for n7");
    two.issue(1, Duration::ZERO);
    refused("past its end");
    // Whoever comes now still meets the old one.
    let late = NodeFile { cores: two.files[0].cores.clone(), ..two.site.node(4, Role::Edge) };
    let _late = two.site.start(&late.text());
    assert!(two.nodes[0].until("node up").contains("n4 (edge"));
}

#[test]
fn node_is_revoked_by_configuration() {
    let two = Two::start();
    let text = two.files[0].text();
    two.site.write(&text.replace("cores = {", "revoked_nodes = [2]\ncores = {"));
    two.nodes[0].hang_up();
    let line = two.nodes[0].until("closed the connection to a peer");
    assert!(line.contains("n2 (core core-2") && line.contains("revoked"), "{line}");
    two.nodes[0].until("node down");
    let line = two.nodes[1].until("refused by a peer");
    assert!(line.contains("revoked"), "{line}");
    // Mistakes are mended: the node is back as soon as it dials again.
    two.site.write(&text);
    two.nodes[0].hang_up();
    two.nodes[0].until("node up");
}

#[test]
fn cookie_is_changed_node_by_node_without_a_restart() {
    let two = Two::start();
    let new = "another secret than before";
    for i in [0, 1] {
        let text = NodeFile { cookie: new.to_owned(), ..two.files[i].clone() }.text();
        let former = format!("cookie_previous = \"{}\"\ncores = {{", two.files[i].cookie);
        two.site.write(&text.replace("cores = {", &former));
        two.nodes[i].hang_up();
        two.nodes[i].until("configuration read again");
    }
    let cores = two.files[0].cores.clone();
    let late = NodeFile { cookie: new.to_owned(), cores, ..two.site.node(4, Role::Edge) };
    let _late = two.site.start(&late.text());
    two.nodes.iter().for_each(|node| assert!(node.until("node up").contains("n4 (edge")));
}
