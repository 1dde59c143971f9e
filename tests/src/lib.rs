//! What the tests and the tools share: a table and queues of one's own on the local stack, a stand-in for Lambda's
//! poller, steps that do what a test tells them to, and a meter on every AWS call.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: where something is wrong with the set-up, a panic with a message is what is wanted"
)]

pub mod api;
pub mod cost;
pub mod cpu;
pub mod emulator;
pub mod events;
pub mod faults;
pub mod graph;
pub mod items;
pub mod meter;
pub mod poller;
pub mod shop;
pub mod stack;
pub mod steps;

/// Asks again and again until there is an answer; a minute at most, and then the test fails with `what` it waited for.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited a minute for {what}"))
}
