//! A message for a virtual actor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_cluster::testkit::decode_virtual(bytes));
