//! The table's writes, one by one, on a real table.
//!
//! `stepwell::core::state` says which events are legal in which state. The conditions of the writes say it again, in
//! DynamoDB's words; these tests hold the one against the other, and every item against what it should be afterwards.

mod model;
mod reads;
mod steps;
mod tasks;

use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use stepwell::{
    TaskId, Timestamp,
    core::{
        record::{
            Action, ActionKind, AttemptRecord, Failure, Lease, NewTask, Outcome, RETENTION, StepRecord, TaskRecord,
        },
        state::{StepState, TaskState},
        step::{self, Claim, ClaimRequest},
        task,
        transition::Transition,
    },
    ports::Store,
};
use stepwell_tests::{emulator::Sandbox, graph::Graph, steps::name};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const OWNER: &str = "request-2/message-2";

fn later(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn before(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - seconds * 1_000)
}

/// Starts a task over this graph at [`NOW`].
async fn start(sandbox: &Sandbox, graph: &Graph) -> TaskId {
    let id = TaskId::new();
    let workflow = graph.workflow();
    let workflow_id = workflow.id().to_string();
    let new = NewTask { id, workflow: workflow_id, context: "{}", plan: workflow.plan(), created_at: NOW };
    assert!(written(sandbox, &task::create(&new)).await);
    id
}

/// Makes a transition; answers whether it took effect.
async fn written(sandbox: &Sandbox, transition: &Transition) -> bool {
    sandbox.table.apply(transition).await.unwrap().is_written()
}

/// The same for one that there may not be.
async fn written_if_any(sandbox: &Sandbox, transition: Option<Transition>) -> bool {
    match transition {
        Some(transition) => written(sandbox, &transition).await,
        None => false,
    }
}

/// Makes a claim, or a take-over.
async fn claimed(sandbox: &Sandbox, request: &ClaimRequest<'_>, claim: Transition) -> Claim {
    Claim::read(request, sandbox.table.apply(&claim).await.unwrap()).unwrap()
}

async fn task_record(sandbox: &Sandbox, id: TaskId) -> TaskRecord {
    sandbox.table.load(id, &BTreeSet::new()).await.unwrap().task.unwrap()
}

async fn step_record(sandbox: &Sandbox, id: TaskId, step: &str) -> StepRecord {
    sandbox.table.load(id, &BTreeSet::from([step])).await.unwrap().steps.remove(step).unwrap()
}

/// Writes the task's state, and its failed steps, as they stand, with the rest of the item left alone.
async fn put_state(sandbox: &Sandbox, id: TaskId, state: TaskState, failed_steps: &[&str]) {
    let mut item = sandbox.task_item(id).await;
    merge(&mut item, stored(state));
    if !failed_steps.is_empty() {
        item["failed_steps"] = json!(failed_steps);
    }
    sandbox.put(&item).await;
}

/// The attributes of a task in this state. The order of its compensations is settled where there are any.
fn stored(state: TaskState) -> Value {
    match state {
        TaskState::Running => json!({ "status": "pending" }),
        TaskState::Completed => json!({ "status": "complete" }),
        TaskState::Failed => json!({ "status": "error" }),
        TaskState::Compensating(end) => {
            json!({ "status": "compensating", "ends_as": end, "compensations": [name(50)] })
        }
        TaskState::Cancelled => json!({ "status": "cancelled" }),
        TaskState::Resolved => json!({ "status": "resolved_manually" }),
        TaskState::Compensated(end) => json!({ "status": end, "ends_as": end, "compensations": [name(50)] }),
    }
}

/// The entry that a retry at this moment leaves in the audit trail.
fn retry(at: Timestamp) -> Action {
    Action { at, what: ActionKind::Retry, step: None, who: "somebody".to_owned(), why: "a test".to_owned() }
}

/// A step's item in this state, after two attempts, as the engine leaves it.
fn step_item(task: TaskId, step: &str, state: StepState) -> Value {
    let mut item = json!({
        "pk": format!("TASK#{task}"),
        "sk": format!("STEP#{step}"),
        "state": state,
        "attempt": 2,
        "exempt": 1,
        "expires_at": (NOW + RETENTION).as_seconds(),
        "attempts": [entry(1, Outcome::RetryableError)],
    });
    let more = match state {
        StepState::Pending => json!({}),
        StepState::InProgress => {
            json!({ "owner": "request-1/message-1", "started_at": millis(before(60)), "lease_until": millis(later(5)) })
        }
        StepState::Retrying => {
            json!({ "started_at": millis(before(60)), "next_retry_at": millis(later(5)), "error": failure() })
        }
        StepState::Complete | StepState::ResolvedManually => {
            json!({ "started_at": millis(before(60)), "finished_at": millis(before(50)), "result": "{}" })
        }
        StepState::Error => {
            json!({ "started_at": millis(before(60)), "finished_at": millis(before(50)), "error": failure() })
        }
        StepState::Cancelled => json!({ "finished_at": millis(before(50)) }),
    };
    merge(&mut item, more);
    item
}

fn merge(item: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    item.as_object_mut().unwrap().extend(more);
}

fn remove(item: &mut Value, names: &[&str]) {
    for name in names {
        item.as_object_mut().unwrap().remove(*name);
    }
}

fn millis(at: Timestamp) -> i64 {
    at.as_millis()
}

fn failure() -> Failure {
    Failure { code: "BUSY".to_owned(), message: "try again".to_owned() }
}

fn entry(number: u32, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        number,
        started_at: before(60),
        finished_at: Some(NOW),
        outcome,
        error: (outcome != Outcome::Complete).then(failure),
        next_retry_at: None,
        request_id: "request-1".to_owned(),
    }
}

/// The lease of this attempt.
fn lease(task: TaskId, step: &str, attempt: u32) -> Lease {
    Lease {
        task,
        step: step.to_owned(),
        attempt,
        exempt: 1,
        owner: "request-1/message-1".to_owned(),
        started_at: before(60),
        until: later(5),
    }
}

fn request<'a>(task: TaskId, step: &'a str, owner: &'a str, now: Timestamp) -> ClaimRequest<'a> {
    ClaimRequest { task, step, owner, now, lease_until: now + Duration::from_secs(30) }
}

/// The one step of a chain of one.
fn only() -> String {
    name(0)
}
