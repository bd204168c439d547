//! A message of gossip from another member.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_cluster::testkit::decode_gossip(bytes));
