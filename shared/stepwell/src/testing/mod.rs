//! What tests of a workflow run on: a store in memory that obeys the same rules as every other.

#[cfg(test)]
pub(crate) mod fixtures;
mod memory_store;

pub use memory_store::{MemoryStore, Records, Written};
