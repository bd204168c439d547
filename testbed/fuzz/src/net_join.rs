//! All that a newcomer and its desk read: questions, requests to sign, answers, tokens, their files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_net::testkit::decode_join(bytes));
