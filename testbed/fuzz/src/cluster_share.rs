//! A message to many, a core's word, or an instance of a service.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_cluster::testkit::decode_share(bytes));
