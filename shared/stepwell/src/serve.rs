//! The `main` of a step's function.

use crate::{
    Step, System, Timestamp, aws,
    worker::{Invocation, Worker},
};
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Why a function cannot start. It ends the process, with the reason in the log.
pub type ServeError = Box<dyn std::error::Error + Send + Sync>;

/// Serves one step: answers Lambda's invocations with batches of its queue until Lambda ends the process.
///
/// # Errors
/// An environment variable that is missing, or a runtime API that does not answer.
pub async fn serve<S: Step>(step: S) -> Result<(), ServeError> {
    init_logging();
    let config = aws::aws_config().await;
    let worker = Worker::new(step, aws::table_from_env(&config)?, aws::queue_from_env(&config)?, System);
    let worker = &worker;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<SqsEvent>| {
        let (batch, context) = event.into_parts();
        let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
        let invocation = Invocation::new(context.request_id, deadline, crate::Ambient::now(&System));
        Ok::<_, ServeError>(worker.handle(batch, &invocation).await)
    }))
    .await
}

/// Writes the log as JSON lines to standard output, which is where CloudWatch picks it up. Each line carries the span of
/// its invocation, and so Lambda's request id, by which the audit trail names an attempt. `RUST_LOG` sets the level,
/// for all (`info`) or by module (`warn,stepwell=debug`); the default is `info`.
pub fn init_logging() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let targets = wanted.parse().unwrap_or_else(|_| Targets::new());
    let targets = if wanted.is_empty() { targets.with_default(tracing::Level::INFO) } else { targets };
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
    // Fails only where a subscriber is there already, and then that one is wanted.
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
}
