//! Test support: the backend `memory`, virtual time, a [`Harness`] that runs the shipped engine with them, and the sample
//! events of a workflow's functions.

mod attempt;
mod clock;
mod codes;
mod crashable;
#[cfg(test)]
pub(crate) mod fixtures;
mod harness;
mod memory;
mod memory_queue;
mod memory_store;
mod meter;
mod returns;
#[cfg(feature = "testing")]
pub mod sample;
#[cfg(test)]
mod tests;

pub use attempt::Attempt;
pub use clock::VirtualClock;
pub use codes::render_codes;
pub use crashable::{CrashAt, CrashablePorts};
pub use harness::{Harness, HarnessError, StepFault};
pub use memory::Memory;
pub use memory_queue::{MAX_RECEIVES, MemoryQueue, Undeliverable};
pub use memory_store::{MemoryStore, Records, Written};
pub use meter::{Meter, Metered, MeteredDelivery, Units, WriteSize, item_bytes, read_units, stored_bytes};
pub use returns::Returns;
