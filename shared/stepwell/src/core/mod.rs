//! The rules, as pure functions and values: no clock, no chance, no network.
//!
//! [`transition`] defines what a store can be asked for: a conditional change of some items, all or nothing but for what is
//! marked as optional. [`step`] and [`task`] say for each event of a step and of a task which change that is. [`item`] defines what
//! an item looks like, [`record`] what it holds, [`codec`] how that is read, [`format`](mod@format) what becomes of it in other
//! versions, [`index`] where a task is listed. [`codes`] lists the error codes. [`settlement`] says what follows from a transition: which messages become due,
//! which joins hear of it.
//!
//! A store only interprets these values. So each rule is written once, and every store obeys it: DynamoDB, the memory store
//! of the tests, whatever comes.

pub mod backoff;
pub mod codec;
pub mod codes;
pub mod format;
pub mod id;
pub mod index;
pub mod inspection;
pub mod item;
pub mod limits;
pub mod message;
pub mod names;
mod parts;
pub mod plan;
pub mod record;
pub mod recovery;
pub mod settlement;
pub mod snapshot;
pub mod spelling;
pub mod state;
pub mod step;
pub mod task;
#[cfg(test)]
mod tests;
pub mod timestamp;
pub mod transition;
pub mod workflow;
