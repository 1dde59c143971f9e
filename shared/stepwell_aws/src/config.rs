//! Configuration: environment variables, and AWS clients with timeouts that suit a function that runs for seconds.

use crate::{Client, DynamoTable, Mappings, ServeError, SqsQueue, dynamo::transaction_conflicts};
pub use aws_config::SdkConfig;
use aws_config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};
use std::time::Duration;
use stepwell::System;
use tokio::sync::OnceCell;

/// How often a client makes a call at most, the first time included.
pub const MAX_ATTEMPTS: u32 = 5;

/// The longest pause before a client repeats a call for the first time. It doubles with each repetition, and is drawn at random below that.
pub const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// Loads the AWS configuration from the environment, once for the process, so that all clients share one connection
/// pool. A call times out after 3 s; the SDK makes [`MAX_ATTEMPTS`] attempts in all.
///
/// The SDK's own variables, such as `AWS_ENDPOINT_URL` and `AWS_REGION`, select the stack.
pub async fn aws_config() -> SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    let load = || async {
        let retries = RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_initial_backoff(FIRST_BACKOFF);
        let loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(1))
                .operation_attempt_timeout(Duration::from_secs(3))
                .build(),
        );
        #[cfg(feature = "crash-points")]
        let loader = loader.http_client(crate::crash::http_client());
        loader.load().await
    };
    CONFIG.get_or_init(load).await.clone()
}

/// Reads an environment variable that has to be set.
///
/// # Errors
/// The variable is not set; the error names it.
pub fn required_env(name: &str) -> Result<String, ServeError> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(format!("the environment variable {name} is not set; the template in infra/ sets it").into()),
    }
}

/// Makes the store and the queues from the environment: `STEPWELL_TABLE`, `STEPWELL_START_SHARDS`, `STEPWELL_QUEUE_URL_PREFIX`.
///
/// # Errors
/// A variable is not set, or is no number.
pub(crate) fn ports_from_env(config: &SdkConfig) -> Result<(DynamoTable, SqsQueue), ServeError> {
    let dynamo = aws_sdk_dynamodb::config::Builder::from(config).retry_classifier(transaction_conflicts()).build();
    let table = DynamoTable::new(aws_sdk_dynamodb::Client::from_conf(dynamo), required_env("STEPWELL_TABLE")?);
    let shards = required_env("STEPWELL_START_SHARDS")?;
    let shards =
        shards.parse().map_err(|_| format!("STEPWELL_START_SHARDS is `{shards}`, and has to be from 1 to 255"))?;
    let table = table.with_start_shards(shards);
    let queue = SqsQueue::new(aws_sdk_sqs::Client::new(config), required_env("STEPWELL_QUEUE_URL_PREFIX")?);
    Ok((table, queue))
}

/// Makes the deliveries of the stack's queues from the environment: `STEPWELL_QUEUE_URL_PREFIX`.
///
/// # Errors
/// The variable is not set.
pub fn mappings_from_env(config: &SdkConfig) -> Result<Mappings, ServeError> {
    let prefix = required_env("STEPWELL_QUEUE_URL_PREFIX")?;
    Ok(Mappings::new(config, &prefix))
}

/// Makes the engine's client from the environment: `STEPWELL_TABLE`, `STEPWELL_START_SHARDS`, `STEPWELL_QUEUE_URL_PREFIX`.
///
/// # Errors
/// A variable is not set.
pub fn client_from_env(config: &SdkConfig) -> Result<Client, ServeError> {
    let (table, queue) = ports_from_env(config)?;
    Ok(Client::new(table, queue, System))
}
