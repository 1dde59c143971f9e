//! Whole checkouts through HTTP.
//!
//! A scenario is written once, over the port [`Backend`], and runs as two tests: `aws::NAME` on the stack that `infra/local.sh` has
//! deployed, and `local::NAME` on `checkout_local serve`, in a process and a folder of its own. What is about AWS itself is in
//! [`aws_only`], and runs on the stack alone.
//!
//! Each scenario buys products of its own, so they run concurrently and on a stack that is in use. The environment names the stack:
//! `eval "$(infra/local.sh env)"`. The tests `local::` need none. None asserts how long something took.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows it in tests, but not in what the tests call"
)]

/// Makes two tests of each scenario, one on each backend. The compiler finds a scenario that is not listed: nothing uses it.
macro_rules! on_both_backends {
    ($($scenario:ident),+ $(,)?) => {
        on_both_backends!(@aws Aws $($scenario)+);
        on_both_backends!(@local Local $($scenario)+);
    };
    (@$backend:ident $type:ident $($scenario:ident)+) => {
        mod $backend {
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::$scenario::<crate::backend::$type>().await;
                }
            )+
        }
    };
}

mod aws_only;
mod backend;
mod events;
mod idempotency;
mod operators;
mod payments;
mod request_validation;
mod resuming;
mod secrets;
mod stock;
mod success;
