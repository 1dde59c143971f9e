//! The processes of the engine: the worker of a step, the client, the timer feeder, the watchdog, the bulk
//! actions, the dead-letter handler. They use the
//! [`ports`](crate::ports) and follow the rules of [`core`](crate::core).

pub mod backlog;
pub mod breaker;
pub mod bulk;
mod cached;
pub mod client;
// Its own test is in every test build. With the feature alone, all crates would be compiled once more for it.
#[cfg(any(test, feature = "crash-points"))]
#[cfg_attr(not(feature = "crash-points"), expect(dead_code, reason = "nothing but the test uses it"))]
pub mod crash;
pub mod dead_letters;
mod engine;
pub mod error;
mod pages;
pub mod pauses;
mod recovery;
pub mod result_types;
mod spans;
pub mod step;
pub mod system;
pub mod timer_feeder;
pub mod watchdog;
pub mod worker;
