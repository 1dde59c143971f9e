//! What a task costs: the engine's AWS calls, counted as they are made.

mod shop;

use crate::{
    emulator::{Sandbox, in_sandbox},
    meter::{Call, Units, longest_sequence},
    poller::{Pace, Poller},
};
use checkout::testing::steps;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stepwell::{
    IdempotencyKey, Workflow,
    core::{message::StepQueue, plan::Plan, snapshot::TaskSnapshot, state::TaskStatus},
};
use stepwell_simulation::{graph::Graph, steps::Script};

/// Write units on the index for any task: it is listed, taken off, and listed among those that are complete.
pub const INDEX_WRITES: f64 = 3.0;

/// AWS calls one after the other for one step, from its message to the next one's: claim and load, complete, send. Before a
/// send to a join comes the arrival there.
pub const IN_SEQUENCE: usize = 3;

/// The bytes of a task's item beside its context and its plan.
const TASK_BYTES: usize = 250;

/// The most that a checkout may cost, nothing failing. It follows from the plan and from what the steps take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How many steps it has.
    pub steps: usize,
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

impl Budget {
    /// What a checkout of a request in `events/requests` may cost.
    pub fn of_checkout(request: &str) -> Self {
        let context = crate::checkout::request(request);
        let plan = steps::workflow().plan_for(&context);
        Self::of(&plan, &shop::taken(), &context)
    }

    fn of(plan: &Plan, taken: &BTreeMap<&str, Vec<&str>>, context: &Value) -> Self {
        let steps = plan.steps();
        let stored = serde_json::to_string(plan).expect("a plan is JSON").len() + context.to_string().len();
        let kilobytes = (stored + TASK_BYTES).div_ceil(1_024);
        let edges = steps.iter().map(|step| step.depends_on.len()).filter(|edges| *edges > 1).sum::<usize>();
        // A claim and a completion a step, an arrival an edge into a join, the task's item at its start and at its end, and
        // one for an idempotency key or for a result of more than a kilobyte.
        let writes = 2 * steps.len() + edges + 2 * kilobytes + 1;
        // Each step reads its task, and what it depends on or takes. A unit of reading is four kilobytes.
        let others = steps.iter().map(|step| {
            let taken = taken.get(step.name.as_str()).into_iter().flatten().copied();
            step.depends_on.iter().map(String::as_str).chain(taken).collect::<BTreeSet<_>>().len()
        });
        let reads = steps.len() * kilobytes.div_ceil(4) + others.sum::<usize>();
        Self {
            steps: steps.len(),
            table_writes: units(writes),
            index_writes: INDEX_WRITES,
            reads: units(reads),
            sends: steps.len(),
            in_sequence: IN_SEQUENCE + usize::from(edges > 0),
        }
    }
}

fn units(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a few hundred"))
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
    count(name, steps::workflow(), &crate::checkout::request(request), key, shop::with_checkout).await
}

/// A context and results of a few hundred bytes, as most are.
async fn numbered(name: String, graph: &Graph) -> Cost {
    let result = json!({ "id": "0123456789abcdef0123456789abcdef", "status": "done", "note": "n".repeat(200) });
    let script = Script::new(move |_| Ok(result.clone()));
    let workflow = graph.clone().default_backoff().workflow();
    count(name, &workflow, &numbered_context(), None, |poller| poller.with_steps_of(graph, &script)).await
}

fn numbered_context() -> Value {
    json!({ "customer": "c".repeat(100), "items": [1, 2, 3] })
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
        let snapshot = poller.run(started.task_id).await;
        assert_nothing_failed(&snapshot);

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

fn assert_nothing_failed(snapshot: &TaskSnapshot) {
    let attempts = snapshot.steps.iter().map(|step| step.attempt);
    assert_eq!(snapshot.status(), TaskStatus::Complete, "the task has to complete to be measured: {snapshot:?}");
    assert!(attempts.into_iter().all(|attempt| attempt == 1), "every step at the first attempt: {snapshot:?}");
}

fn requests(calls: &[Call], service: &str) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for call in calls.iter().filter(|call| call.service == service) {
        *requests.entry(call.operation.clone()).or_default() += 1;
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    /// The budget of a graph whose steps take only what they depend on.
    fn budget(graph: &Graph) -> Budget {
        Budget::of(graph.clone().default_backoff().workflow().plan(), &BTreeMap::new(), &numbered_context())
    }

    /// The figures are what `cost` has counted on a stack. A chain of 100 steps has a plan of some kilobytes.
    #[test_case(&Graph::chain(5), 12, 9)]
    #[test_case(&Graph::chain(20), 42, 39)]
    #[test_case(&Graph::chain(100), 208, 199)]
    #[test_case(&Graph::fan(20), 68, 62)]
    fn budget_is_what_was_counted_and_one_write_for_a_key(graph: &Graph, writes: u32, reads: u32) {
        let budget = budget(graph);
        assert_eq!((budget.table_writes, budget.reads), (f64::from(writes + 1), f64::from(reads)));
    }

    #[test]
    fn a_checkout_of_the_sample_request_may_cost_as_much_as_a_chain_and_what_its_steps_read_beyond_it() {
        let (checkout, chain) = (Budget::of_checkout("success"), budget(&Graph::chain(steps::all().len())));
        assert!(checkout.reads > chain.reads && checkout.table_writes >= chain.table_writes, "{checkout:?} {chain:?}");
        assert_eq!((checkout.sends, checkout.in_sequence), (chain.sends, chain.in_sequence));
    }
}
