//! Nodes that lose the majority say so, and go on when it is back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tiebeam_node::wire::Role;

use crate::site::Site;

/// The status and the body of an answer.
fn ask(http: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(http).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

/// The edge is connected to a core all the time: that it is cut off only that core can tell it.
#[test]
fn nodes_that_lose_the_majority_are_not_ready_until_it_is_back() {
    let site = Site::new();
    let mut files = [site.node(1, Role::Core), site.node(2, Role::Core), site.node(3, Role::Edge)];
    let seats = files[..2].iter().map(|file| (file.id, file.quic)).collect::<std::collections::BTreeMap<_, _>>();
    files.iter_mut().for_each(|file| file.cores.clone_from(&seats));
    let [core, other, edge] = files.each_ref().map(|file| site.start(&file.text()));
    for node in [&core, &other, &edge] {
        node.until("a majority of the voters is reached");
    }
    drop(other);
    for (node, file) in [(&core, &files[0]), (&edge, &files[2])] {
        node.until("cut off: no majority of the voters is reached");
        let (status, body) = ask(file.http, "/api/health");
        assert_eq!(status, "503", "{body}");
        assert!(body.contains("\"standing\":\"cut off\"") && body.contains("cut off: 1 of 2 core nodes"), "{body}");
    }
    let _other = site.start(&files[1].text());
    for (node, file) in [(&core, &files[0]), (&edge, &files[2])] {
        node.until("a majority of the voters is reached");
        let (_, body) = ask(file.http, "/api/health");
        assert!(body.contains("\"standing\":\"majority\""), "{body}");
    }
}
