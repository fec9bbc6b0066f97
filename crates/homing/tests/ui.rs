//! The items that the macros accept, and their messages about all others.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p homing --test ui`, then read each `.stderr` as the user
//! who will be shown it.

#[test]
fn macros_explain_what_they_reject() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    // In the words of the macros.
    cases.compile_fail("tests/ui/fail/*.rs");
    // In the words of the compiler, which another release may change.
    cases.compile_fail("tests/ui/types/*.rs");
}
