//! What each side of a connection says first, in both layouts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_net::testkit::decode_hello(bytes));
