//! The `main` of a step's function, of the timer feeder, of the watchdog and of the function `dead_letters`.

use crate::{
    config::{aws_config, mappings_from_env, ports_from_env},
    error::ServeError,
};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use stepwell::{
    Runtime, Step, System, Timestamp,
    core::{message::StepQueue, pause::Pauses},
    ports::Received,
    runtime::{
        breaker::ServiceBreaker,
        bulk::{BULK_REPORT, BulkReport, BulkRunner},
        dead_letters::DeadLetters,
        pauses::PauseKeeper,
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
};
use telemetry::Traces;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
};

/// Serves a step: handles batches of messages from its queue until Lambda ends the process. `workflow` and `name` are
/// the names in the workflow file. The environment variable `STEPWELL_WAITS_ON` has the service that the step waits on, if the
/// workflow file names one.
///
/// # Errors
/// An environment variable is not set, or the runtime API does not answer.
pub async fn serve(workflow: &str, name: &str, step: impl Step) -> Result<(), ServeError> {
    init_logging();
    let (table, queue) = ports_from_env(&aws_config().await)?;
    let waits_on = std::env::var("STEPWELL_WAITS_ON").ok().filter(|service| !service.is_empty());
    let breaker = waits_on.map(|service| Arc::new(ServiceBreaker::new(service)));
    let worker = Worker::new(StepQueue::new(workflow, name), step, table, queue, System).guarded_by(breaker);
    let worker = &worker;
    run(async |event: LambdaEvent<SqsEvent>| {
        let (batch, context) = event.into_parts();
        Ok::<_, ServeError>(keep(worker.handle(&received(batch), &invocation(&context)).await))
    })
    .await
}

/// The time at the end of an invocation in which a scheduled function finishes what it has begun. The watchdog's page that it is at has three
/// rounds of ten inspections, so this is enough for a table that takes half a second a call.
pub const WATCHDOG_RESERVE: Duration = Duration::from_secs(10);

/// The time in which a run tells the queues whether their steps are paused. The next run tells those that are left.
const TELLING_TIME: Duration = Duration::from_secs(10);

/// Serves the watchdog. Every event, whatever it holds, starts one run, bounded only by the invocation's deadline. What the inspections
/// leave of the time is for the count of tasks that need a person. Beside them the run holds the queues to the pauses of steps, and carries on the bulk actions. The answer is the
/// [`WatchdogReport`](stepwell::runtime::watchdog::WatchdogReport) as JSON.
///
/// # Errors
/// An environment variable is not set, or the runtime API does not answer.
pub async fn serve_watchdog() -> Result<(), ServeError> {
    init_logging();
    let config = aws_config().await;
    let (table, queue) = ports_from_env(&config)?;
    let bulks = BulkRunner::new(table.clone(), queue.clone(), System);
    let keeper = PauseKeeper::new(table.clone(), queue.clone(), mappings_from_env(&config)?, System);
    let watchdog = Watchdog::new(table, queue, System);
    let (watchdog, bulks, keeper) = (&watchdog, &bulks, &keeper);
    run(async |event: LambdaEvent<Value>| {
        let time = invocation(&event.context).time_left(&System).saturating_sub(WATCHDOG_RESERVE);
        let budget = RunBudget { until: System.now() + time, tasks: usize::MAX };
        let pauses =
            keeper.read().await.inspect_err(|error| tracing::error!(%error, "the pauses of steps cannot be read"));
        let pauses = pauses.ok();
        let tells = async {
            let Some(pauses) = &pauses else { return };
            if tokio::time::timeout(TELLING_TIME, keeper.tell(pauses)).await.is_err() {
                tracing::error!("not all queues could be told in time whether their steps are paused");
            }
        };
        let inspections = async {
            let held = pauses.as_ref().map(Pauses::held);
            let watchdog = held.map_or_else(|| watchdog.clone(), |held| watchdog.clone().sparing(held));
            let report = watchdog.run(budget).await?;
            watchdog.count_needs_person(budget.until).await;
            Ok::<_, ServeError>(report)
        };
        // Boxed, because the layout of the whole would be too deep for the compiler.
        let (report, carried_on, ()) =
            tokio::join!(Box::pin(inspections), Box::pin(bulks.run(budget.until)), Box::pin(tells));
        match carried_on {
            Ok(BulkReport { open: 0, .. }) => {}
            Ok(BulkReport { open, pages, tasks, failed }) => {
                tracing::info!(open, pages, tasks, failed, "{BULK_REPORT}");
            }
            // The inspections do not depend on it, and the next run tries again.
            Err(error) => tracing::error!(%error, "the bulk actions cannot be listed"),
        }
        report
    })
    .await
}

/// Serves the timer feeder. Every event, whatever it holds, starts one run, bounded only by the invocation's deadline. The answer
/// is the [`FeederReport`](stepwell::runtime::timer_feeder::FeederReport) as JSON.
///
/// # Errors
/// An environment variable is not set, or the runtime API does not answer.
pub async fn serve_timer_feeder() -> Result<(), ServeError> {
    init_logging();
    let (table, queue) = ports_from_env(&aws_config().await)?;
    let feeder = TimerFeeder::new(table, queue, System);
    let feeder = &feeder;
    run(async |event: LambdaEvent<Value>| {
        let time = invocation(&event.context).time_left(&System).saturating_sub(WATCHDOG_RESERVE);
        let report = feeder.run(RunBudget { until: System.now() + time, tasks: usize::MAX }).await?;
        Ok::<_, ServeError>(report)
    })
    .await
}

/// Serves the dead-letter queue: the messages that SQS gave up on.
///
/// # Errors
/// An environment variable is not set, or the runtime API does not answer.
pub async fn serve_dead_letters() -> Result<(), ServeError> {
    init_logging();
    let (table, queue) = ports_from_env(&aws_config().await)?;
    let dead_letters = DeadLetters::new(table, queue, System);
    let dead_letters = &dead_letters;
    run(async |event: LambdaEvent<SqsEvent>| {
        Ok::<_, ServeError>(keep(dead_letters.handle(&received(event.payload)).await))
    })
    .await
}

/// Serves requests in JSON, until Lambda ends the process. The handler gets the time by which it has to be done: the
/// invocation's deadline without a reserve for what it has begun.
///
/// # Errors
/// The runtime API does not answer. An error of the handler is the answer to its request.
pub async fn serve_requests<I, O>(handle: impl AsyncFn(I, Timestamp) -> Result<O, ServeError>) -> Result<(), ServeError>
where
    I: DeserializeOwned,
    O: Serialize,
{
    init_logging();
    let handle = &handle;
    run(async |event: LambdaEvent<I>| {
        let time = invocation(&event.context).time_left(&System).saturating_sub(WATCHDOG_RESERVE);
        handle(event.payload, System.now() + time).await
    })
    .await
}

/// Runs a function until Lambda ends the process. Its spans are exported before each answer, because after it Lambda may stop the process for
/// hours.
async fn run<E, O>(handle: impl AsyncFn(LambdaEvent<E>) -> Result<O, ServeError>) -> Result<(), ServeError>
where
    E: DeserializeOwned,
    O: Serialize,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<E>| {
        let invocation = invocation(&event.context);
        // Boxed, because the layout of the whole would be too deep for the compiler.
        let answer = Box::pin(handle(event)).await;
        export_spans(&invocation).await;
        answer
    }))
    .await
}

/// The time before an invocation's deadline in which nothing is exported: the answer leaves then.
const NO_EXPORT: Duration = Duration::from_millis(200);

/// Exports the spans that were made so far, if there is a receiver and the invocation has time until its deadline.
pub(crate) async fn export_spans(invocation: &Invocation) {
    if let Some(traces) = TRACES.get() {
        traces.export(invocation.time_left(&System).saturating_sub(NO_EXPORT)).await;
    }
}

/// The spans of this process; not set where nobody wants any.
static TRACES: OnceLock<Traces> = OnceLock::new();

/// Converts a batch of SQS messages to the engine's type.
pub(crate) fn received(batch: SqsEvent) -> Vec<Received> {
    batch.records.into_iter().map(message).collect()
}

fn message(message: SqsMessage) -> Received {
    let attribute = |name| message.attributes.get(name).map(String::as_str);
    let sent_at = attribute("SentTimestamp").and_then(|millis| millis.parse().ok()).map(Timestamp::from_millis);
    let dead_letter_source =
        attribute("DeadLetterQueueSourceArn").and_then(|arn| arn.rsplit(':').next()).map(str::to_owned);
    Received {
        receives: attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok()),
        sent_at,
        dead_letter_source,
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        receipt: message.receipt_handle,
    }
}

/// Makes the answer with which SQS keeps the messages of these ids and deletes the others.
fn keep(ids: Vec<String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    let failure = |id| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        failure
    };
    response.batch_item_failures = ids.into_iter().map(failure).collect();
    response
}

pub(crate) fn invocation(context: &lambda_runtime::Context) -> Invocation {
    let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
    Invocation::new(context.request_id.clone(), deadline, System.now())
}

/// Initialises logging: JSON lines on standard output, which CloudWatch collects. [`telemetry`] says what a line
/// has. Lambda's request id, which the audit trail keeps for each attempt, is its `requestId`. `RUST_LOG` sets the level for all
/// modules (`info`) or by module (`warn,stepwell=debug`); the default is `info`. `STEPWELL_METRICS` is the namespace of the metrics that CloudWatch
/// makes of the lines; without it there are none. [`Traces::from_env`] says where spans are sent.
pub fn init_logging() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let targets = wanted.parse().unwrap_or_else(|_| Targets::new());
    let targets = if wanted.is_empty() { targets.with_default(tracing::Level::INFO) } else { targets };
    // It fails only if a subscriber is set already, and that one should stay.
    let namespace = std::env::var("STEPWELL_METRICS").ok().filter(|namespace| !namespace.is_empty());
    let lines = telemetry::log_lines(std::io::stdout, namespace).with_filter(targets);
    let service = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "stepwell".to_owned());
    let traces = Traces::from_env(&service);
    let wanted = traces.as_ref().ok().and_then(Option::as_ref).map(|traces| TRACES.get_or_init(|| traces.clone()));
    let spans = wanted.map(|traces| telemetry::spans(traces.clone()).with_filter(LevelFilter::INFO));
    let _ = telemetry::start(tracing_subscriber::registry().with(lines).with(spans));
    tracing::info!("process started");
    if let Err(error) = traces {
        // Work goes on without spans.
        tracing::error!(%error, "no spans are made");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sqs_event_becomes_messages_of_the_engine() {
        let full = json!({"messageId": "m", "body": "{}", "receiptHandle": "r", "attributes": {
            "ApproximateReceiveCount": "3", "SentTimestamp": "1700000000123",
            "DeadLetterQueueSourceArn": "arn:aws:sqs:eu-central-1:123456789012:stepwell-dev-shop-pay"}});
        let event: SqsEvent = serde_json::from_value(json!({ "Records": [full, {}] })).unwrap();
        let message = Received {
            id: "m".to_owned(),
            body: "{}".to_owned(),
            receipt: Some("r".to_owned()),
            receives: Some(3),
            sent_at: Some(Timestamp::from_millis(1_700_000_000_123)),
            dead_letter_source: Some("stepwell-dev-shop-pay".to_owned()),
        };
        assert_eq!(received(event), [message, Received::default()]);
    }

    #[test]
    fn kept_messages_are_the_failures_of_the_batch() {
        let answer = serde_json::to_value(keep(vec!["m".to_owned()])).unwrap();
        assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": "m" }] }));
    }
}
