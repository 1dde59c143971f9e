//! The support of tests and tools: a table and queues for one test on the local stack, a stand-in for Lambda's poller,
//! and a meter of AWS calls.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: where something is wrong with the set-up, a panic with a message is what is wanted"
)]

#[cfg(test)]
mod alarm;
pub mod api;
pub mod capacity;
pub mod checkout;
#[cfg(test)]
mod cloudwatch;
pub mod comparison;
pub mod cost;
pub mod cpu;
pub mod crash;
pub mod emulator;
pub mod events;
pub mod floor;
pub mod golden;
mod http;
pub mod items;
pub mod meter;
pub mod operators;
pub mod outage;
pub mod poller;
pub mod proxy;
pub mod queues;
pub mod requests;
pub mod rights;
pub mod shop;
pub mod stack;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Locks a value. A panic ends the run, so nobody reads a value that is half changed.
pub(crate) fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls until there is an answer. After a minute the test fails, naming `what` it waited for.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    until_within(Duration::from_secs(60), what, ask).await
}

/// The same with another limit.
pub async fn until_within<T>(patience: Duration, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(100);
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    let answer = tokio::time::timeout(patience, asking).await;
    answer.unwrap_or_else(|_| panic!("waited {} s for {what}", patience.as_secs()))
}
