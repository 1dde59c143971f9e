//! The rules of the engine, as pure functions and values: no clock, no randomness, no network.
//!
//! * [`transition`] defines a conditional change of some items: all or nothing, except for the writes that are optional.
//! * [`step`] and [`task`] make the transition for each event of a step and of a task.
//! * [`settlement`] adds the consequences of a transition: the messages that become due, the arrivals at joins.
//! * [`item`] defines the form of an item, [`record`] its contents, [`codec`] how it is read, [`format`](mod@format) its
//!   versions, and [`index`] where a task is listed.
//! * [`timer`] says how a message waits, [`breaker`] when a step has to wait because a service is out, [`backlog`]
//!   when a task is better not begun because the queues are long, and [`pause`] when an operator has stopped a step.
//! * [`rerun`] says which task may be started once more, as a new one.
//! * [`filter`] says which tasks a list shows, and [`bulk`] how an action on all of them is kept.
//! * [`timeline`] and [`graph`] show a task: what happened when and why, and its steps as a picture.
//! * [`analytics`] makes figures of many tasks: how they end, and how long their steps run and wait.
//! * [`usage`] is what a task has used of AWS.
//! * [`search`] is how tasks are found by values such as an order number.
//! * [`codes`] lists the error codes.
//!
//! A store only interprets these values. So each rule is written once and holds for every store: DynamoDB, SQLite, and the
//! store in memory of the tests.

pub mod analytics;
pub mod backlog;
pub mod backoff;
pub mod breaker;
pub mod bulk;
pub mod codec;
pub mod codes;
pub mod filter;
pub mod format;
pub mod graph;
pub mod hex;
pub mod id;
pub mod index;
pub mod inspection;
pub mod item;
pub mod limits;
pub mod message;
pub mod names;
mod parts;
pub mod pause;
pub mod plan;
pub mod record;
pub mod recovery;
pub mod rerun;
mod schema;
pub mod search;
pub mod settlement;
mod shown;
pub mod snapshot;
pub mod spelling;
pub mod state;
pub mod step;
pub mod task;
#[cfg(test)]
mod tests;
pub mod timeline;
pub mod timer;
pub mod timestamp;
pub mod trace_parent;
pub mod trail;
pub mod transition;
pub mod usage;
pub mod workflow;
