//! Frames of a lane, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tiebeam_net::testkit::read_frames(bytes));
