//! The cost of a task: the engine's AWS calls, counted as they are made.

mod shop;

use crate::{
    emulator::{Sandbox, in_sandbox},
    meter::{AwsCall, Units, longest_sequence},
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

/// Write units on the indexes for any task: it is listed by its start and by its status, leaves the partition of that, and enters that of
/// completed tasks.
pub const INDEX_WRITES: f64 = 4.0;

/// AWS calls in sequence for one step, from its message to the next one's: claim and load, complete, send. A send to a
/// join comes after an arrival there, which is one more.
pub const IN_SEQUENCE: usize = 3;

/// The bytes of a task's item without its context and its plan.
const TASK_BYTES: usize = 250;

/// The budget of a checkout without failures. It follows from the plan and the results that the steps read.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The number of steps.
    pub steps: usize,
    /// Write units on the table.
    pub table_writes: f64,
    /// Write units on the indexes.
    pub index_writes: f64,
    /// Read units.
    pub reads: f64,
    /// Messages sent.
    pub sends: usize,
    /// AWS calls in sequence for one step, from its message to the next one's.
    pub in_sequence: usize,
}

impl Budget {
    /// The budget of a checkout with a request of `events/requests`.
    pub fn of_checkout(request: &str) -> Self {
        let context = crate::checkout::request(request);
        let workflow = steps::workflow();
        let plan = workflow.plan_for(&context);
        let budget = Self::of(&plan, &shop::taken(), &context);
        // A write for each search key. That of a result is one more call in the sequence of its step.
        let (keys, of_results) = (workflow.search_names().len(), plan.result_key_names().count());
        Self {
            table_writes: budget.table_writes + units(keys),
            in_sequence: budget.in_sequence + usize::from(of_results > 0),
            ..budget
        }
    }

    fn of(plan: &Plan, taken: &BTreeMap<&str, Vec<&str>>, context: &Value) -> Self {
        let steps = plan.steps();
        let stored = serde_json::to_string(plan).expect("a plan is JSON").len() + context.to_string().len();
        let kilobytes = (stored + TASK_BYTES).div_ceil(1_024);
        let edges = steps.iter().map(|step| step.depends_on.len()).filter(|edges| *edges > 1).sum::<usize>();
        // A claim and a completion per step, an arrival per edge into a join, the task's item at its start and at its
        // end, and one for an idempotency key or for a result of more than a kilobyte.
        let writes = 2 * steps.len() + edges + 2 * kilobytes + 1;
        // Each step reads its task, its dependencies and the results that it takes. A read unit is four kilobytes.
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

/// A task to measure.
#[derive(Clone, Debug)]
pub enum Shape {
    /// The checkout of a request in `events/requests`, with its own steps over a shop without AWS.
    Checkout(&'static str),
    /// The same, started with an idempotency key.
    KeyedCheckout(&'static str),
    /// A chain of this many steps.
    Chain(usize),
    /// A fan-out to this many steps, and their join.
    Fan(usize),
}

/// The cost of one task.
#[derive(Clone, Debug)]
pub struct Cost {
    /// The measured task.
    pub name: String,
    /// The number of steps.
    pub steps: usize,
    /// The number of edges into joins.
    pub joining_edges: usize,
    /// DynamoDB's units, the start included.
    pub units: Units,
    /// SQS requests by operation, the start included.
    pub sqs: BTreeMap<String, usize>,
    /// DynamoDB requests by operation, the start included.
    pub dynamodb: BTreeMap<String, usize>,
    /// Calls in sequence, by step.
    pub in_sequence: BTreeMap<String, usize>,
}

impl Cost {
    /// The number of messages sent.
    pub fn sends(&self) -> usize {
        self.sqs.get("SendMessage").copied().unwrap_or_default()
    }

    /// The longest sequence of calls of any step.
    pub fn longest_sequence(&self) -> usize {
        self.in_sequence.values().copied().max().unwrap_or_default()
    }
}

/// Runs a task of this shape without failures, and counts its calls.
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

/// The context and the results have a few hundred bytes, as is usual.
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

fn requests(calls: &[AwsCall], service: &str) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for call in calls.iter().filter(|call| call.service == service) {
        *requests.entry(call.operation.clone()).or_default() += 1;
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell::testing::{Harness, Meter, Metered, Returns};
    use test_case::test_case;

    /// The budget of a graph whose steps read only their dependencies.
    fn budget(graph: &Graph) -> Budget {
        Budget::of(graph.clone().default_backoff().workflow().plan(), &BTreeMap::new(), &numbered_context())
    }

    /// The figures that `cost` has counted on a stack. A chain of 100 steps has a plan of some kilobytes.
    #[test_case(&Graph::chain(5), 12, 9)]
    #[test_case(&Graph::chain(20), 42, 39)]
    #[test_case(&Graph::chain(100), 208, 199)]
    #[test_case(&Graph::fan(20), 68, 62)]
    fn budget_is_the_counted_cost_plus_one_write_for_a_key(graph: &Graph, writes: u32, reads: u32) {
        let budget = budget(graph);
        assert_eq!((budget.table_writes, budget.reads), (f64::from(writes + 1), f64::from(reads)));
    }

    /// The same figures, of a run in memory. `stepwell cost` counts so.
    #[test_case(&Graph::chain(5), 12, 9)]
    #[test_case(&Graph::chain(20), 42, 39)]
    #[test_case(&Graph::chain(100), 208, 199)]
    #[test_case(&Graph::fan(20), 68, 62)]
    #[tokio::test(start_paused = true)]
    async fn cost_counted_in_memory_is_that_counted_on_a_stack(graph: &Graph, writes: usize, reads: usize) {
        let (meter, workflow) = (Meter::default(), graph.clone().default_backoff().workflow());
        let steps = workflow.plan().steps().len();
        let harness = Harness::new(workflow).with_all(Returns("{}")).metered_by(&meter);
        let task = harness.start(&numbered_context()).await.unwrap();
        assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
        let Metered { units, sqs_requests, deliveries } = meter.so_far();
        let counted =
            stepwell::testing::Units { table_writes: writes, index_writes: 3, start_writes: 1, half_reads: 2 * reads };
        assert_eq!((units, sqs_requests, deliveries.len()), (counted, steps, steps));
        let longest = deliveries.iter().map(|delivery| delivery.calls_in_sequence as usize).max();
        assert_eq!(longest, Some(IN_SEQUENCE + usize::from(steps == 22)));
    }

    #[test]
    fn budget_of_the_sample_checkout_is_that_of_a_chain_plus_its_further_reads() {
        let (checkout, chain) = (Budget::of_checkout("success"), budget(&Graph::chain(steps::all().len())));
        assert!(checkout.reads > chain.reads && checkout.table_writes >= chain.table_writes, "{checkout:?} {chain:?}");
        assert_eq!(
            (checkout.sends, checkout.in_sequence),
            (chain.sends, chain.in_sequence + 1),
            "an order is found by its number"
        );
    }
}
