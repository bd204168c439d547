//! How the compiler shows mistakes: that they point at the user's code, and that no other error follows from them.
//!
//! What is said of each mistake is held by the unit tests, which need no compiler; here are only a few.

#[test]
fn mistakes_are_shown_where_they_were_made() {
    trybuild::TestCases::new().compile_fail("tests/it/mistakes/*.rs");
}
