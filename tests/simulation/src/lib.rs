//! The engine in simulation, and the protocol's model. Nothing of AWS is in here, and it is built optimised: a test run makes
//! a hundred thousand simulated runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: where something is wrong with the set-up, a panic with a message is what is wanted"
)]

pub mod far;
pub mod graph;
pub mod locked;
pub mod model;
pub mod sim;
pub mod steps;
