//! A node that has nothing but a token and an address becomes a member, and keeps its certificate good by itself.

use std::net::SocketAddr;
use std::process::{Command, Output};

use tiebeam_net::ca::valid_for;
use tiebeam_node::wire::Role;

use crate::site::{CLUSTER, EXE, NodeFile, Process, Site};

/// A core node that lets newcomers in.
fn host(site: &Site) -> (Process, NodeFile, SocketAddr) {
    let core = site.node(1, Role::Core);
    let desk = SocketAddr::new(core.quic.ip(), 4401);
    let join = format!("[join]\nlisten = \"{desk}\"\nauthority = {:?}\ncertificate_hours = 24\n", site.path("ca"));
    let process = site.start(&(core.text() + &join));
    (process, core, desk)
}

fn run(args: &[&str]) -> Output {
    Command::new(EXE).args(args).output().unwrap()
}

fn token(site: &Site, more: &[&str]) -> Output {
    let ca = site.path("ca").display().to_string();
    let args = ["ca", "token", "--dir", &ca, "--cluster", CLUSTER, "--name", "edge-7", "--id", "7"];
    run(&[&args[..], more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn token_and_address_are_enough_to_become_a_member() {
    let site = Site::new();
    let (host, core, desk) = host(&site);
    let made = token(&site, &["--role", "edge", "--ttl", "15m"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let token = text(&made.stdout);
    let (dir, desk) = (site.path("edge-7"), desk.to_string());
    let (quic, http) = (SocketAddr::new(core.quic.ip(), 4407), SocketAddr::new(core.quic.ip(), 4007));
    let join = |dir: &str| {
        let (quic, http) = (quic.to_string(), http.to_string());
        let args = ["node", "join", "--token", token.trim(), "--address", &desk, "--dir", dir];
        run(&[&args[..], &["--quic", &quic, "--http", &http]].concat())
    };
    let joined = join(&dir.display().to_string());
    assert!(joined.status.success(), "{}", text(&joined.stderr));
    assert_eq!(text(&joined.stdout), format!("tiebeam node run --config {}/node.toml\n", dir.display()));
    assert!(host.until("let a newcomer in").contains("n7 (edge edge-7"));
    let node = Process::start(&dir.join("node.toml"));
    assert!(host.until("node up").contains("n7 (edge edge-7"));
    node.until("node started");

    // Neither is the directory written over, nor does the token work again.
    assert!(text(&join(&dir.display().to_string()).stderr).contains("has a node already"));
    let again = join(&site.path("other").display().to_string());
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("refused the token"), "{}", text(&again.stderr));
    let line = host.until("token refused");
    assert!(line.contains("WARN") && line.contains("unknown, used or expired"), "{line}");
}

/// The certificate's life is almost over when the node starts, so it has another one issued.
#[test]
fn certificate_is_issued_again_before_it_ends() {
    let site = Site::new();
    let (host, core, _) = host(&site);
    let edge = NodeFile { cores: core.cores, ..site.node(7, Role::Edge) };
    let identity = tiebeam_net::Identity {
        node: tiebeam_node::wire::NodeId(7),
        name: edge.name.clone(),
        role: Role::Edge,
        cluster: CLUSTER.to_owned(),
    };
    let issued = site.authority.issue_valid(identity, valid_for(std::time::Duration::from_secs(900))).unwrap();
    issued.write(&site.path("certs")).unwrap();
    let before = std::fs::read(&edge.cert).unwrap();
    let node = site.start(&edge.text());
    node.until("certificate was issued again and is in use");
    assert!(host.until("issued a node's certificate again").contains("n7 (edge"));
    // Over the connection in use, which lives on.
    assert!(host.until("peer has a new certificate").contains("n7 (edge"));
    assert_ne!(std::fs::read(&edge.cert).unwrap(), before);
}

#[test]
fn token_that_makes_no_sense_is_refused() {
    let site = Site::new();
    let refused = |more: &[&str], code: i32, reason: &str| {
        let output = token(&site, more);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(reason), "{error}");
    };
    refused(&["--role", "admin"], 1, "an administrator is no node");
    refused(&["--role", "edge", "--ttl", "25h"], 1, "at most 86400s");
    refused(&["--role", "edge", "--ttl", "0s"], 1, "more than nothing");
    refused(&["--role", "edge", "--ttl", "soon"], 2, "is no length of time");
    let joined = run(&["node", "join", "--token", "tiebeam1-00", "--address", "127.0.0.1:1", "--dir", "x"]);
    let error = text(&joined.stderr);
    assert!(joined.status.code() == Some(2) && error.contains("token is not of the form"), "{error}");
}
