//! A signal between actors of two nodes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_cluster::testkit::decode_signal(bytes));
