//! A node that can't start says why in one line and leaves nothing behind.

use std::net::TcpListener;

use expect_test::{Expect, expect};
use tiebeam_node::wire::Role;

use crate::site::{NodeFile, Site};

/// Starts core 1 on its configuration after `change`; expects the one line and an untouched data directory.
fn refused(change: impl FnOnce(&Site, &mut NodeFile) -> Option<String>, expected: &Expect) {
    let site = Site::new();
    let mut node = site.node(1, Role::Core);
    let text = change(&site, &mut node).unwrap_or_else(|| node.text());
    let had = std::fs::exists(&node.dir).unwrap_or(false);
    let error = site.refused(&text);
    expected.assert_eq(&error.replace(&node.quic.to_string(), "QUIC").replace(&node.http.to_string(), "HTTP"));
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(std::fs::exists(&node.dir).unwrap_or(false), had, "the node left something behind");
}

fn replaced(from: &str, to: &str) -> impl FnOnce(&Site, &mut NodeFile) -> Option<String> {
    move |_, node| {
        let text = node.text();
        assert!(text.contains(from), "{text}");
        Some(text.replacen(from, to, 1))
    }
}

#[test]
fn unknown_key_is_refused_and_the_nearest_is_named() {
    refused(
        replaced("cookie =", "cokie ="),
        &expect![[r#"
            error: configuration DIR/node.toml has unknown key "cluster.cokie"; did you mean "cluster.cookie"?
        "#]],
    );
}

#[test]
fn wrong_value_is_refused() {
    refused(
        replaced("id = 1", "id = \"one\""),
        &expect![[r#"
            error: configuration DIR/node.toml is not valid: node.id: invalid type: string "one", expected u64
        "#]],
    );
}

#[test]
fn missing_key_is_refused() {
    refused(
        replaced("id = 1", ""),
        &expect![[r#"
            error: configuration DIR/node.toml is not valid: node: missing field `id`
        "#]],
    );
}

#[test]
fn section_of_an_unknown_application_is_refused() {
    refused(
        replaced("[tls]", "[apps.nope]\n[tls]"),
        &expect![[r#"
            error: configuration has section [apps.nope], but this program has no application "nope"
        "#]],
    );
}

#[test]
fn certificate_of_another_node_is_refused() {
    let change = |site: &Site, node: &mut NodeFile| {
        let other = site.node(2, Role::Core);
        (node.cert, node.key) = (other.cert, other.key);
        None
    };
    refused(
        change,
        &expect![[r#"
            error: certificate is for n2 (core core-2, cluster tests), the configuration for n1 (core core-1, cluster tests); hint: give the node the certificate that was issued for it, or correct its section [node]
        "#]],
    );
}

/// An operator's way to the same: an edge's certificate would give its bearer a vote.
#[test]
fn core_with_the_certificate_of_an_edge_is_refused() {
    let change = |site: &Site, node: &mut NodeFile| {
        let edge = site.node(1, Role::Edge);
        (node.cert, node.key) = (edge.cert, edge.key);
        None
    };
    refused(
        change,
        &expect![[r#"
            error: certificate is for n1 (edge edge-1, cluster tests), the configuration for n1 (core core-1, cluster tests); hint: give the node the certificate that was issued for it, or correct its section [node]
        "#]],
    );
}

#[test]
fn key_of_another_certificate_is_refused() {
    let change = |site: &Site, node: &mut NodeFile| {
        node.key = site.node(2, Role::Core).key;
        None
    };
    refused(
        change,
        &expect![[r#"
            error: certificate, key and authority can't be used together: keys may not be consistent: KeyMismatch; hint: tls.key is the key that was issued together with tls.cert, both by tls.ca
        "#]],
    );
}

#[test]
fn http_port_in_use_is_refused() {
    let mut other = None;
    let change = |_: &Site, node: &mut NodeFile| {
        other = Some(TcpListener::bind(node.http).unwrap());
        None
    };
    refused(
        change,
        &expect![[r#"
            error: http address HTTP can't be used: Address already in use (os error 98); hint: stop what uses the address, or set listen.http
        "#]],
    );
}

/// The data directory is this node's own by then, but nothing runs and a second try succeeds.
#[test]
fn quic_port_in_use_is_refused() {
    let site = Site::new();
    let node = site.node(1, Role::Core);
    // Taken by another process: a socket of this one would live on in whatever other tests are starting just then.
    let other = Site::new();
    let holder = other.start(&NodeFile { quic: node.quic, ..other.node(1, Role::Core) }.text());
    let error = site.refused(&node.text()).replace(&node.quic.to_string(), "QUIC");
    expect![[r#"
        error: node can't listen: udp address QUIC can't be bound: Address already in use (os error 98); hint: stop what uses the address, or set listen.quic
    "#]]
    .assert_eq(&error);
    assert!(holder.stop().success());
    assert!(site.start(&node.text()).stop().success());
}

/// A directory below a file: what nobody can write, root included.
#[test]
fn unwritable_directory_is_refused() {
    let change = |site: &Site, node: &mut NodeFile| {
        node.dir = site.path("ca/ca.pem/data");
        None
    };
    refused(
        change,
        &expect![[r#"
            error: data directory DIR/ca/ca.pem/data can't be written: Not a directory (os error 20); hint: let the node's user write there, or set node.dir
        "#]],
    );
}

#[test]
fn directory_of_another_node_is_refused() {
    let site = Site::new();
    let (one, mut two) = (site.node(1, Role::Core), site.node(2, Role::Core));
    assert!(site.start(&one.text()).stop().success());
    two.dir = one.dir;
    let before = files(&two.dir);
    expect![[r#"
        error: data directory DIR/core-1 belongs to node 1 of cluster "tests", not to node 2 of cluster "tests"; hint: set node.dir to this node's own directory; numbers are never reused
    "#]]
    .assert_eq(&site.refused(&two.text()));
    assert_eq!(files(&two.dir), before, "a refused node wrote into the directory");
}

#[test]
fn directory_in_use_is_refused_and_its_node_goes_on() {
    let site = Site::new();
    let (node, other) = (site.node(1, Role::Core), site.node(1, Role::Core));
    let running = site.start(&node.text());
    expect![[r#"
        error: data directory DIR/core-1 is in use by another process; hint: stop the node that runs on it, or set node.dir
    "#]]
    .assert_eq(&site.refused(&NodeFile { dir: node.dir.clone(), ..other }.text()));
    assert!(running.stop().success());
}

/// All files below `dir`, with their bytes.
fn files(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}
