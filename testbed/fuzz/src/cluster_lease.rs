//! A request about leases to a voter.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_cluster::testkit::decode_lease(bytes));
