//! What runs: the worker of a step, the client of who starts and repairs tasks, the watchdog, the reader of dead letters. All
//! of it works over the [`ports`](crate::ports), by the rules of [`core`](crate::core).

pub mod client;
// For its own test in every test build: with the feature all crates would be compiled once more for it.
#[cfg(any(test, feature = "crash-points"))]
#[cfg_attr(not(feature = "crash-points"), expect(dead_code, reason = "nothing but the test uses it"))]
pub mod crash;
pub mod dead_letters;
mod engine;
pub mod error;
mod recovery;
pub mod step;
pub mod system;
pub mod watchdog;
pub mod worker;
