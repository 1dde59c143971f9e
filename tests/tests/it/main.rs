//! The tests that need a running stack.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows it in tests, but not in what the tests call"
)]

mod budget;
mod crash_points;
mod golden;
mod graphs;
mod transitions;
