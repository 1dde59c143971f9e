//! What a task has used, by its records, is what the metered engine has really used.

use super::*;
use stepwell::{
    IdempotencyKey, Rerun, RerunRequest,
    core::usage::Usage,
    permanent, retryable,
    testing::{Meter, Returns, StepFault},
};
use test_case::test_case;

const CHAIN: &str = "
    name: chain
    namespace_name: test
    search: {email: /email, number: {step: order, at: /number}}
    step_templates:
      - { name: pay, compensation: { name: refund }, backoff: { base_seconds: 1 } }
      - { name: order, depends_on_step: pay, compensation: { name: cancel } }
      - { name: mail, depends_on_step: order }";

/// A join, and two leaves.
const DIAMOND: &str = "
    name: diamond
    namespace_name: test
    step_templates:
      - { name: pay }
      - { name: left, depends_on_step: pay }
      - { name: right, depends_on_step: pay }
      - { name: join, depends_on_steps: [left, right] }
      - { name: aside, depends_on_step: pay }";

fn nothing(_: &Harness) {}

fn busy(harness: &Harness) {
    let error = || StepFault::Error(retryable("BUSY", "try again"));
    harness.fail("pay", [error(), error()]);
}

fn undone_slowly(harness: &Harness) {
    harness.fail("refund", [StepFault::Error(retryable("BUSY", "try again"))]);
}

fn fails(harness: &Harness) {
    harness.fail("mail", [StepFault::Error(permanent("NO", "never"))]);
}

/// Write units, halves of read units, and SQS requests.
#[test_case(CHAIN, nothing, false; "without failures")]
#[test_case(DIAMOND, nothing, false; "with a join and two leaves")]
#[test_case(CHAIN, busy, false; "with retries")]
#[test_case(CHAIN, fails, false; "failed and compensated")]
#[test_case(CHAIN, nothing, true; "cancelled")]
#[test_case(CHAIN, undone_slowly, true; "cancelled with retries")]
#[tokio::test(start_paused = true)]
async fn usage_is_what_the_meter_counts(workflow: &str, trouble: fn(&Harness), is_cancelled: bool) {
    let meter = Meter::default();
    let workflow = || Workflow::from_yaml(workflow).unwrap();
    let context = json!({"email": "ada@example.com"});
    let found_by = workflow().search_keys().values(&context).len();
    let harness = Harness::new(workflow()).with_all(Returns(r#"{"number": "17"}"#)).metered_by(&meter);
    trouble(&harness);
    let key: IdempotencyKey = "a-key".parse().unwrap();
    let start = harness.client().prepare_start(&workflow(), &context, Some(&key)).await.unwrap();
    let task = harness.client().write_start(start).await.unwrap().task_id;
    let mut snapshot = harness.run(task).await.unwrap();
    if is_cancelled {
        harness.client().cancel(task, &Actor::new("ada", "a test").unwrap()).await.unwrap();
        snapshot = harness.run(task).await.unwrap();
    }
    let usage = Usage::of(&snapshot, found_by);
    let used = meter.so_far();
    let number = |count: usize| u64::try_from(count).unwrap();
    let messages = harness.sent().len();
    let requests = used.sqs_requests + used.deliveries.len() + messages;
    let counted = [used.units.writes(), used.units.half_reads, requests, used.deliveries.len() + 1].map(number);
    assert_eq!([usage.write_units, usage.half_read_units, usage.sqs_requests, usage.invocations], counted);
}

/// A start of which nobody knows whether it was written, and which never starts.
#[tokio::test(start_paused = true)]
async fn usage_of_a_task_that_was_ruled_out_is_that_of_one_write() {
    let meter = Meter::default();
    let workflow = Workflow::from_yaml(CHAIN).unwrap();
    let harness = Harness::new(Workflow::from_yaml(CHAIN).unwrap()).metered_by(&meter);
    let actor = Actor::new("ada", "a test").unwrap();
    let snapshot = harness.client().rule_out(&workflow, TaskId::new(), &actor).await.unwrap().unwrap();
    let usage = Usage::of(&snapshot, 0);
    let used = meter.so_far();
    let counted =
        [used.units.writes(), used.units.half_reads, used.sqs_requests].map(|count| u64::try_from(count).unwrap());
    assert_eq!([usage.write_units, usage.half_read_units, usage.sqs_requests], counted);
}

/// A rerun that keeps results: a join of which one side is kept, and a leaf.
#[tokio::test(start_paused = true)]
async fn usage_of_a_rerun_has_the_results_that_it_keeps() {
    let meter = Meter::default();
    let workflow = || Workflow::from_yaml(DIAMOND).unwrap();
    let harness = Harness::new(workflow()).with_all(Returns(r#"{"number": "17"}"#)).metered_by(&meter);
    let client = harness.client();
    let start = client.prepare_start(&workflow(), &json!({}), None).await.unwrap();
    let of = client.write_start(start).await.unwrap().task_id;
    harness.run(of).await.unwrap();
    let request = RerunRequest::new("", true).beginning_at("left".to_owned());
    let Rerun::Next(found) = client.find_rerun(of, &request).await.unwrap() else { panic!("it is made") };
    let start = client.prepare_start(&workflow(), &json!({}), None).await.unwrap();
    let actor = Actor::new("ada", "a test").unwrap();
    let reserved = client.reserve_rerun(&found, &request, start, &actor).await.unwrap();
    let Rerun::Next(start) = reserved else { panic!("it is made") };
    let (before, sent) = (meter.so_far(), harness.sent().len());
    let new = client.write_start(start).await.unwrap().task_id;
    let usage = Usage::of(&harness.run(new).await.unwrap(), 0);
    let after = meter.so_far();
    let number = |count: usize| u64::try_from(count).unwrap();
    // It has no idempotency key.
    assert_eq!(usage.write_units, number(after.units.writes() - before.units.writes()) + 1);
    let deliveries = after.deliveries.len() - before.deliveries.len();
    let requests = after.sqs_requests - before.sqs_requests + deliveries + harness.sent().len() - sent;
    assert_eq!((usage.sqs_requests, usage.invocations), (number(requests), number(deliveries + 1)));
    assert_eq!(usage.half_read_units, number(after.units.half_reads - before.units.half_reads));
}
