//! The checkout as a monolith: one request handler does everything while the customer waits.
//!
//! It is as good as a competent developer makes it without an engine. It runs the same steps and compensations as
//! Stepwell, in the workflow's order, so that only their coordination differs:
//!
//! * The same client libraries make its calls and retry them, under an idempotency key that is made for the request. So
//!   a retry within the request charges, reserves and orders nothing twice.
//! * Where a step fails, it compensates every step that it has attempted before it answers, in reverse order. It does so
//!   too where it does not know whether a step had its effect: the same keys void it. A declined card was not charged, so
//!   only the steps before it are compensated.
//! * A confirmation e-mail that cannot be sent fails no checkout: the order exists, and a log line records the failure.
//!
//! It cannot go on after its process has died, wait longer than the API's limit of 29 s, or compensate a step while
//! that step's service is out. And nothing returns later to what it leaves behind.

use super::{process::ServiceCaller, services::Services, world::ShopWorld};
use checkout::{ConfigError, testing::steps};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};

/// The limit of one request: API Gateway waits no longer.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(29);

/// The step whose failure fails no checkout.
const EMAIL_STEP: &str = "send_confirmation";

/// Handles one request in one process.
///
/// # Errors
/// The error code that the customer is told instead of an order.
pub async fn handle(
    world: &Arc<ShopWorld>,
    process: &Arc<ServiceCaller>,
    request: &Value,
    now: Timestamp,
) -> Result<(), String> {
    let order = Order { services: Services::new(world, process), id: TaskId::new(), now };
    match process.live(REQUEST_LIMIT, order.sell(request)).await {
        Some(answer) => answer.map_err(|error| error.code),
        None => Err("the process died or ran out of time".to_owned()),
    }
}

/// An order while its request is handled.
struct Order {
    services: Services,
    id: TaskId,
    now: Timestamp,
}

impl Order {
    async fn sell(&self, request: &Value) -> Result<(), StepError> {
        let mut data = TaskData { context: request.to_string(), ..TaskData::default() };
        let mut done = Vec::new();
        for step in steps::all() {
            match self.run(step, &data).await {
                Ok(result) => drop(data.results.insert(step.to_owned(), result)),
                Err(_) if step == EMAIL_STEP => {}
                Err(error) => {
                    self.compensate(&done, step, &error, &data).await;
                    return Err(error);
                }
            }
            done.push(step);
        }
        Ok(())
    }

    /// Compensates after this step has failed: what was attempted, or only the completed steps if the card was declined.
    async fn compensate(&self, done: &[&str], failed: &str, error: &StepError, data: &TaskData) {
        let failed = if error.code == "PAYMENT_DECLINED" { None } else { Some(failed) };
        let compensations = steps::compensations_of(&done.iter().copied().chain(failed).collect::<Vec<_>>());
        // A compensation that fails stops none of the others. Only a log line would record it.
        for compensation in compensations {
            let _ = self.run(compensation, data).await;
        }
    }

    /// Runs the handler of a step or of a compensation, and answers with its result.
    async fn run(&self, name: &str, data: &TaskData) -> Result<String, StepError> {
        macro_rules! run_it {
            ($name:literal, $($library:tt)+) => {
                if name == $name {
                    return self.run_handler($name, $($library)+::step(&self.services), data).await;
                }
            };
        }
        tasks_api::each_checkout_step!(run_it);
        panic!("there is no handler for step `{name}`")
    }

    async fn run_handler<S: Step>(
        &self,
        name: &str,
        handler: Result<S, ConfigError>,
        data: &TaskData,
    ) -> Result<String, StepError> {
        let handler = handler.expect("the defaults make sense");
        let mut context = StepContext::for_test(name, self.id, self.now);
        let plan = steps::plan();
        context.compensation = plan.compensation_of(name).map(|compensation| compensation.name.clone());
        context.compensates = plan.step(name).and_then(|step| step.compensates.clone());
        let result = handler.run(S::Input::from_data(data)?, &context).await?;
        Ok(serde_json::to_string(&result).expect("a result is JSON"))
    }
}
