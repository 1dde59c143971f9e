//! What a task costs: the engine's AWS calls, counted as they are made.

mod shop;

use crate::{
    emulator::{Sandbox, in_sandbox},
    meter::{Call, Units, longest_sequence},
    poller::{Pace, Poller},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepwell::{
    IdempotencyKey, Workflow,
    core::{history::History, message::StepQueue, state::TaskStatus},
};
use stepwell_simulation::{graph::Graph, steps::Script};

/// What the checkout may cost.
pub const BUDGET: Budget = Budget { table_writes: 13.0, index_writes: 3.0, reads: 13.0, sends: 5, in_sequence: 3 };

/// The most that the five steps of a checkout may cost, nothing failing.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Write units on the table.
    pub table_writes: f64,
    /// Write units on the index.
    pub index_writes: f64,
    /// Read units.
    pub reads: f64,
    /// Messages sent.
    pub sends: usize,
    /// AWS calls one after the other for one step, from its message to the next one's.
    pub in_sequence: usize,
}

/// A task to be measured.
#[derive(Clone, Debug)]
pub enum Shape {
    /// The checkout of a request in `events/requests`, with its own steps over a shop that costs nothing.
    Checkout(&'static str),
    /// The same, started with an idempotency key.
    KeyedCheckout(&'static str),
    /// As many steps, one after the other.
    Chain(usize),
    /// A step, as many beside each other, and one that waits for them.
    Fan(usize),
}

/// What one task has cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What was measured.
    pub name: String,
    /// How many steps it had.
    pub steps: usize,
    /// How many edges lead into steps with several.
    pub joining_edges: usize,
    /// DynamoDB's units, the start's included.
    pub units: Units,
    /// SQS requests by operation, the start's included.
    pub sqs: BTreeMap<String, usize>,
    /// DynamoDB requests by operation, the start's included.
    pub dynamodb: BTreeMap<String, usize>,
    /// Calls one after the other, by step.
    pub in_sequence: BTreeMap<String, usize>,
}

impl Cost {
    /// How many messages were sent.
    pub fn sends(&self) -> usize {
        self.sqs.get("SendMessage").copied().unwrap_or_default()
    }

    /// The most calls one after the other for any step.
    pub fn longest_sequence(&self) -> usize {
        self.in_sequence.values().copied().max().unwrap_or_default()
    }
}

/// Runs a task of this shape, nothing failing, and counts.
pub async fn measure(shape: Shape) -> Cost {
    match shape {
        Shape::Checkout(request) => checkout(format!("checkout, {request}.json"), request, None).await,
        Shape::KeyedCheckout(request) => {
            let key = "018f4e4e-7c1a-7000-8000-0123456789ab".parse().expect("a key");
            checkout("the same, with a key".to_owned(), request, Some(&key)).await
        }
        Shape::Chain(steps) => numbered(format!("chain of {steps}"), &Graph::chain(steps)).await,
        Shape::Fan(width) => numbered(format!("fan of {width}"), &Graph::fan(width)).await,
    }
}

async fn checkout(name: String, request: &str, key: Option<&IdempotencyKey>) -> Cost {
    let workflow = checkout::workflow().expect("the checkout's workflow");
    count(name, &workflow, &crate::checkout::request(request), key, |poller| shop::with_checkout(poller, &workflow))
        .await
}

/// A context and results of a few hundred bytes, as most are.
async fn numbered(name: String, graph: &Graph) -> Cost {
    let result = json!({ "id": "0123456789abcdef0123456789abcdef", "status": "done", "note": "n".repeat(200) });
    let script = Script::new(move |_| Ok(result.clone()));
    let context = json!({ "customer": "c".repeat(100), "items": [1, 2, 3] });
    let workflow = graph.clone().default_backoff().workflow();
    count(name, &workflow, &context, None, |poller| poller.with_steps_of(graph, &script)).await
}

async fn count(
    name: String,
    workflow: &Workflow,
    context: &Value,
    key: Option<&IdempotencyKey>,
    workers: impl for<'a> FnOnce(Poller<'a>) -> Poller<'a>,
) -> Cost {
    let steps = workflow.plan().steps().iter();
    let steps: Vec<_> = steps.map(|step| StepQueue::new(&workflow.id().name, &step.name)).collect();
    in_sandbox(&steps, async |sandbox: &Sandbox| {
        let started = sandbox.client().start(workflow, context, key).await.expect("the task starts");
        // One message at a time, so that every call belongs to one delivery.
        let poller = workers(Poller::new(sandbox).pace(Pace::Backlog));
        poller.drain().await;
        let calls = sandbox.meter.since(0);
        let history = poller.run(started.task_id).await;
        assert_nothing_failed(&history);

        let mut in_sequence: BTreeMap<String, usize> = BTreeMap::new();
        for (queue, delivery) in poller.deliveries() {
            let longest = in_sequence.entry(queue.step).or_default();
            *longest = longest_sequence(&calls[delivery]).max(*longest);
        }
        let mut units = Units::default();
        calls.iter().for_each(|call| units += call.units);
        let joins = workflow.plan().steps().iter().map(|step| step.depends_on.len()).filter(|edges| *edges > 1);
        Cost {
            name,
            steps: steps.len(),
            joining_edges: joins.sum(),
            units,
            sqs: requests(&calls, "SQS"),
            dynamodb: requests(&calls, "DynamoDB"),
            in_sequence,
        }
    })
    .await
}

fn assert_nothing_failed(history: &History) {
    let attempts = history.steps.iter().map(|step| step.attempt);
    assert_eq!(history.status(), TaskStatus::Complete, "the task has to complete to be measured: {history:?}");
    assert!(attempts.into_iter().all(|attempt| attempt == 1), "every step at the first attempt: {history:?}");
}

fn requests(calls: &[Call], service: &str) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for call in calls.iter().filter(|call| call.service == service) {
        *requests.entry(call.operation.clone()).or_default() += 1;
    }
    requests
}
