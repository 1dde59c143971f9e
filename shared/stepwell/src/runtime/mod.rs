//! What runs: the worker of a step, the client of who starts and repairs tasks, the watchdog, the reader of dead letters. All
//! of it works over the [`ports`](crate::ports), by the rules of [`core`](crate::core).

pub mod client;
#[cfg(feature = "crash-points")]
pub mod crash;
pub mod dead_letters;
mod engine;
pub mod error;
pub mod step;
pub mod system;
mod unwind;
pub mod watchdog;
pub mod worker;
