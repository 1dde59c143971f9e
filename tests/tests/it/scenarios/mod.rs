//! Whole checkouts through HTTP, on the stack that `infra/local.sh` has deployed.
//!
//! Each test buys a product of its own, so they run concurrently and on a stack that is in use. The environment names
//! the stack: `eval "$(infra/local.sh env)"`. None waits for longer than a minute at a time, and none asserts how long
//! something took.

mod events;
mod idempotency;
mod messages;
mod operators;
mod payments;
mod reconciliation;
mod recovery;
mod request_validation;
mod resuming;
mod secrets;
mod stock;
mod success;
