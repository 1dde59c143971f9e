//! A checkout written in one piece: one request handler that does everything while the customer waits.
//!
//! It is meant to be as good as a competent developer makes it without an engine, and it runs the very code of our
//! steps and compensations, all of them in the workflow's order, so that nothing differs but what holds them together:
//!
//! * each call is made by the same client library as ours, which tries several times, and under an idempotency key that
//!   is made for the request: so a try that is made again within the request charges, takes and orders nothing twice;
//! * where something fails from the charge on, or from another step that can be undone, it cancels the order, puts the stock back and refunds the payment before it
//!   says so, also where it does not know whether they were made: the same keys rule them out. A card that is declined
//!   was not charged, so only what came before it is undone;
//! * a letter that cannot be sent fails no checkout: the order is there, and a log line says so.
//!
//! What it cannot do: go on after its process has died, wait longer than the API's limit of 29 s, or undo anything while
//! the service that would have to is out. And nobody comes back later to what is left behind.

use super::{process::Process, services::Services, world::World};
use crate::each_checkout_step;
use checkout::{ConfigError, testing::steps};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};

/// How long a request may take: API Gateway waits no longer.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(29);

/// The step that fails no checkout.
const LETTER: &str = "send_confirmation";

/// Handles one request in one process.
///
/// # Errors
/// Why the customer was told that there is no order, in a word or a few.
pub async fn handle(world: &Arc<World>, process: &Arc<Process>, request: &Value, now: Timestamp) -> Result<(), String> {
    let order = Order { services: Services::new(world, process), id: TaskId::new(), now };
    match process.live(REQUEST_LIMIT, order.sell(request)).await {
        Some(answer) => answer.map_err(|error| error.code),
        None => Err("the process died or ran out of time".to_owned()),
    }
}

/// What is known of an order while its request is handled.
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
                Err(_) if step == LETTER => {}
                Err(error) => {
                    self.undo(&done, step, &error, &data).await;
                    return Err(error);
                }
            }
            done.push(step);
        }
        Ok(())
    }

    /// Undoes the steps that are done, after this one has failed.
    async fn undo(&self, done: &[&str], failed: &str, error: &StepError, data: &TaskData) {
        let compensations = if error.code == "PAYMENT_DECLINED" {
            steps::compensations_of(done)
        } else if steps::compensations_of(&[done, &[failed]].concat()).is_empty() {
            Vec::new()
        } else {
            steps::compensations()
        };
        // Each of them, whatever becomes of the others. Where one fails too, a line in the log is all that is left.
        for compensation in compensations {
            let _ = self.run(compensation, data).await;
        }
    }

    /// Runs the handler of a step, or of a compensation, and answers with its result.
    async fn run(&self, name: &str, data: &TaskData) -> Result<String, StepError> {
        macro_rules! run_it {
            ($name:literal, $library:ident) => {
                if name == $name {
                    return self.run_handler($name, $library::step(&self.services), data).await;
                }
            };
        }
        each_checkout_step!(run_it);
        panic!("there is no handler for step `{name}`")
    }

    async fn run_handler<S: Step>(
        &self,
        name: &str,
        handler: Result<S, ConfigError>,
        data: &TaskData,
    ) -> Result<String, StepError> {
        let handler = handler.expect("the defaults make sense");
        let context = StepContext::for_test(name, self.id, self.now);
        let result = handler.run(S::Input::from_data(data)?, &context).await?;
        Ok(serde_json::to_string(&result).expect("a result is JSON"))
    }
}
