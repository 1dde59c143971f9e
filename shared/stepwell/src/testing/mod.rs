//! What tests of a workflow run on: the backend `memory`, virtual time, and a [`Harness`] that runs the shipped engine over
//! them. And the sample events of a workflow's functions.

mod clock;
mod codes;
#[cfg(test)]
pub(crate) mod fixtures;
mod harness;
mod leaves;
mod memory;
mod memory_queue;
mod memory_store;
mod mortal;
#[cfg(feature = "testing")]
pub mod sample;
#[cfg(test)]
mod tests;

pub use clock::VirtualClock;
pub use codes::render_codes;
pub use harness::{Harness, HarnessError, StepFault};
pub use leaves::Leaves;
pub use memory::Memory;
pub use memory_queue::{MAX_RECEIVES, MemoryQueue, Undeliverable};
pub use memory_store::{MemoryStore, Records, Written};
pub use mortal::{Death, Mortal};
