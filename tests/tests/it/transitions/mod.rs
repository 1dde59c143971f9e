//! The engine's writes, one by one, on a real table.
//!
//! Tests next to the code (`stepwell::core`) show in memory what each write does in which state. `model` compares a
//! store with the memory store, answer by answer; `limits` covers the limits that a memory store does not have.

mod limits;
mod model;

use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use stepwell::{
    TaskId, Timestamp,
    core::{
        item::{Key, attribute},
        record::Trail,
        record::{AttemptRecord, Failure, Lease, NewTask, Outcome, StepRecord, TaskRecord},
        state::StepState,
        step, task,
        transition::{Answer, Change, Condition, Effect, Transition, Write},
    },
    ports::Store,
};
use stepwell_simulation::{graph::Graph, steps::name};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const OWNER: &str = "request-1/message-1";

fn before(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - seconds * 1_000)
}

/// Changes items without any condition.
fn put(items: impl IntoIterator<Item = (Key, Vec<Change>)>) -> Transition {
    let write = |(key, changes)| Write {
        key,
        event: None,
        condition: Condition::ALWAYS,
        guard: Condition::ALWAYS,
        effect: Effect::Change(changes),
        made_before: None,
        optional: false,
        answer: Answer::Nothing,
    };
    Transition { name: "put", writes: items.into_iter().map(write).collect() }
}

/// The attributes of a step in this state after its second attempt, with a lease or a backoff that ends then.
fn step_in(state: StepState, ends_at: Timestamp) -> Vec<Change> {
    let (millis, error) = (json!(ends_at.as_millis()), Change::Set(attribute::ERROR, json!(failure())));
    let mut changes = vec![
        Change::Set(attribute::STATE, json!(state)),
        Change::Set(attribute::ATTEMPT, json!(2)),
        Change::Set(attribute::UNCOUNTED_ATTEMPTS, json!(1)),
        Change::Set(attribute::STARTED_AT, json!(before(60).as_millis())),
        Change::Append(attribute::ATTEMPTS, json!(entry(1, Outcome::RetryableError))),
    ];
    changes.extend(match state {
        StepState::Pending | StepState::Cancelled => vec![],
        StepState::InProgress => {
            vec![Change::Set(attribute::OWNER, json!(OWNER)), Change::Set(attribute::LEASE_UNTIL, millis)]
        }
        StepState::Retrying => vec![Change::Set(attribute::NEXT_RETRY_AT, millis), error],
        StepState::Complete | StepState::ResolvedManually => vec![Change::Set(attribute::RESULT, json!("{}"))],
        StepState::Error => vec![error],
    });
    changes
}

fn failure() -> Failure {
    Failure { code: "BUSY".to_owned(), message: "try again".to_owned() }
}

fn entry(number: u32, outcome: Outcome) -> AttemptRecord {
    let request_id = "request-1".to_owned();
    let error = (outcome != Outcome::Complete).then(failure);
    AttemptRecord {
        number,
        started_at: before(60),
        finished_at: Some(NOW),
        outcome,
        error,
        next_retry_at: None,
        request_id,
        throttled: false,
        refused: false,
    }
}

/// The lease of this attempt.
fn lease(task: TaskId, step: &str, attempt: u32) -> Lease {
    let (step, owner) = (step.to_owned(), OWNER.to_owned());
    Lease {
        task,
        step,
        attempt,
        uncounted_attempts: 1,
        trail: Trail::default(),
        owner,
        started_at: before(60),
        until: NOW,
    }
}
