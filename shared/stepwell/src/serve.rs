//! The `main` of a step's function, of the watchdog's, and of the one that works dead letters.

use crate::{
    Step, System, Timestamp, aws,
    dead_letters::DeadLetters,
    watchdog::{Bounds, Report, Watchdog},
    worker::{Invocation, Worker},
};
use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use std::time::Duration;
use tracing_subscriber::{
    Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

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
        let invocation = invocation(&context);
        Ok::<_, ServeError>(worker.handle(batch, &invocation).await)
    }))
    .await
}

/// The most tasks that one run of the watchdog looks at.
const TASKS_A_RUN: usize = 2_000;

/// What the watchdog keeps back from the end of its invocation, to bring the looks that it has begun to their ends.
const WATCHDOG_RESERVE: Duration = Duration::from_secs(5);

/// Serves the watchdog: whatever the event says, a run for as long as the invocation lasts. It answers with what it has
/// done, as JSON.
///
/// # Errors
/// An environment variable that is missing, or a runtime API that does not answer.
pub async fn serve_watchdog() -> Result<(), ServeError> {
    init_logging();
    let watchdog = Watchdog::from_env(&aws::aws_config().await)?;
    let watchdog = &watchdog;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let time = invocation(&event.context).time_left(&System).saturating_sub(WATCHDOG_RESERVE);
        let bounds = Bounds { until: crate::Ambient::now(&System) + time, tasks: TASKS_A_RUN };
        let report = watchdog.run(bounds).await?;
        let Report { looked_at, sent, unwound, failed, unfinished } = report;
        tracing::info!(looked_at, sent, unwound, failed, unfinished, "watchdog");
        Ok::<_, ServeError>(report)
    }))
    .await
}

/// Serves the queue of messages that SQS gave up on.
///
/// # Errors
/// An environment variable that is missing, or a runtime API that does not answer.
pub async fn serve_dead_letters() -> Result<(), ServeError> {
    init_logging();
    let letters = DeadLetters::from_env(&aws::aws_config().await)?;
    let letters = &letters;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<SqsEvent>| {
        Ok::<_, ServeError>(letters.handle(event.payload).await)
    }))
    .await
}

fn invocation(context: &lambda_runtime::Context) -> Invocation {
    let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
    Invocation::new(context.request_id.clone(), deadline, crate::Ambient::now(&System))
}

/// Writes the log as JSON lines to standard output, which is where CloudWatch picks it up. Each line carries the span of
/// its invocation, and so Lambda's request id, by which the audit trail names an attempt. `RUST_LOG` sets the level,
/// for all (`info`) or by module (`warn,stepwell=debug`); the default is `info`.
pub fn init_logging() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let targets = wanted.parse().unwrap_or_else(|_| Targets::new());
    let targets = if wanted.is_empty() { targets.with_default(tracing::Level::INFO) } else { targets };
    // Fails only where a subscriber is there already, and then that one is wanted.
    let _ = tracing_subscriber::registry().with(targets).with(log_lines(std::io::stdout)).try_init();
}

/// The lines of [`init_logging`]: one JSON object each, with the event's fields, `message` among them, at its top.
pub fn log_lines<S, W>(writer: W) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(writer)
}
