//! The name, the number and the times in a certificate.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_net::testkit::parse_certificate(bytes));
