//! Stepwell on AWS: the engine's ports on DynamoDB and SQS, and the entry points of Lambda functions.
//!
//! | module | contents |
//! |---|---|
//! | `dynamo` | [`DynamoTable`], the engine's [`Store`](stepwell::ports::Store): compiles transitions into expressions |
//! | `mappings` | [`Mappings`], the engine's [`Deliveries`](stepwell::ports::Deliveries): the event source mappings of the queues |
//! | `sqs` | [`SqsQueue`], the engine's [`Queue`](stepwell::ports::Queue) |
//! | `serve` | a function's `main`: [`serve()`], [`serve_timer_feeder`], [`serve_watchdog`], [`serve_dead_letters`] |
//! | [`http`] | an HTTP API behind API Gateway (feature `http`) |
//! | `config` | the AWS clients, and the environment variables |
//! | `error` | start-up errors; the SDK's errors as [`CallError`](stepwell::CallError)s |

mod config;
#[cfg(feature = "crash-points")]
mod crash;
mod dynamo;
mod error;
#[cfg(feature = "http")]
pub mod http;
mod mappings;
mod serve;
mod sqs;

pub use config::{
    FIRST_BACKOFF, MAX_ATTEMPTS, SdkConfig, aws_config, client_from_env, mappings_from_env, required_env,
};
pub use dynamo::{DynamoTable, was_busy};
pub use error::{ServeError, failure_kind};
pub use mappings::Mappings;
pub use serve::{
    WATCHDOG_RESERVE, init_logging, serve, serve_dead_letters, serve_requests, serve_timer_feeder, serve_watchdog,
};
pub use sqs::{REASON_ATTRIBUTE, SqsQueue};

/// The engine's client on DynamoDB and SQS.
pub type Client = stepwell::Client<DynamoTable, SqsQueue, stepwell::System>;
