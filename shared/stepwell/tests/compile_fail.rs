//! What the compiler refuses, and that it says what to do.

#[test]
fn step_that_cannot_work_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
