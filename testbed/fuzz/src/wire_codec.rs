//! The codec itself, for a value with a bit of everything; what was decoded must be written as it was read.
#![no_main]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tiebeam_wire::{GroupId, Incarnation, NodeId, Role, codec};

type Value =
    (NodeId, Option<Incarnation>, Vec<(GroupId, String)>, BTreeMap<String, Vec<u8>>, Result<Role, i64>, SocketAddr);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = codec::decode::<Value>(1, bytes) {
        let again = codec::encode(1, &value);
        assert_eq!(codec::decode::<Value>(1, &again).ok(), Some(value), "a value changes on its way");
    }
});
