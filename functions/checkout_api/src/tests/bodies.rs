//! What a task's history looks like from outside.

use super::{TOKEN, exact};
use crate::status::OrderStatus;
use http_api::Details;
use serde_json::{Value, json};
use stepwell::{
    Timestamp,
    core::{
        history::History,
        plan::{Plan, StepPlan},
        record::{AttemptRecord, Failure, Outcome, StepRecord, TaskRecord},
        state::{End, StepState, TaskState},
    },
};

const ID: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

/// A checkout that has just been started.
fn started() -> History {
    let workflow = checkout::workflow().unwrap();
    let plan = workflow.plan().clone();
    let steps = plan.steps().iter().map(|step| StepRecord::untouched(&step.name)).collect();
    let task = TaskRecord {
        id: ID.parse().unwrap(),
        workflow: workflow.id().to_string(),
        state: TaskState::Running,
        context: json!({"payment_info": {"token": TOKEN}}).to_string(),
        plan,
        created_at: at(0),
        finished_at: None,
        failed_steps: Default::default(),
        done_deps: Default::default(),
        compensations: None,
        newer: None,
        actions: Vec::new(),
    };
    History { task, steps, compensations: Vec::new() }
}

fn failure() -> Failure {
    Failure { code: "GATEWAY_TIMEOUT".to_owned(), message: "The gateway took too long".to_owned() }
}

fn attempt(number: u32, start: i64, end: i64, error: Option<Failure>, next: Option<i64>) -> AttemptRecord {
    AttemptRecord {
        number,
        started_at: at(start),
        finished_at: Some(at(end)),
        outcome: if error.is_some() { Outcome::RetryableError } else { Outcome::Complete },
        error,
        next_retry_at: next.map(at),
        request_id: "r-1".to_owned(),
    }
}

/// The first step is done; the second has failed once and waits.
fn waiting() -> History {
    let mut history = started();
    let [cart, payment, ..] = history.steps.as_mut_slice() else { panic!("five steps") };
    *cart = StepRecord {
        state: StepState::Complete,
        attempt: 1,
        started_at: Some(at(10)),
        finished_at: Some(at(25)),
        result: Some(r#"{"total": 100.00, "deep": [1e2]}"#.to_owned()),
        attempts: vec![attempt(1, 10, 25, None, None)],
        ..cart.clone()
    };
    *payment = StepRecord {
        state: StepState::Retrying,
        attempt: 1,
        started_at: Some(at(30)),
        next_retry_at: Some(at(1_050)),
        error: Some(failure()),
        attempts: vec![attempt(1, 30, 50, Some(failure()), Some(1_050))],
        ..payment.clone()
    };
    history
}

/// All steps are done, the fourth with an order.
fn finished() -> History {
    let mut history = waiting();
    for step in &mut history.steps {
        step.state = StepState::Complete;
    }
    let order = json!({
        "order_id": ID, "order_number": "ORD-20231114-0A1B2C3D", "status": "confirmed", "total_amount": exact("100.00"),
        "customer_email": "test@example.com", "created_at": at(0), "estimated_delivery": at(0),
    });
    history.steps[3].result = Some(order.to_string());
    (history.task.state, history.task.finished_at) = (TaskState::Completed, Some(at(2_000)));
    history
}

fn status(history: &History) -> Value {
    serde_json::to_value(OrderStatus::of(history)).unwrap()
}

#[test]
fn a_checkout_on_its_way() {
    let progress = json!({"completed": 0, "total": 5, "percentage": 0});
    let expected =
        json!({"status": "processing", "task_id": ID, "current_step": "validate_cart", "progress": progress});
    assert_eq!(status(&started()), expected);
}

#[test]
fn a_step_that_waits_for_its_next_attempt() {
    let error = json!({"code": "GATEWAY_TIMEOUT", "message": "The gateway took too long"});
    let expected = json!({
        "status": "processing", "task_id": ID, "current_step": "process_payment",
        "progress": {"completed": 1, "total": 5, "percentage": 20},
        "retrying": {
            "step": "process_payment", "attempt": 1, "error": error, "next_retry_at": "2023-11-14T22:13:21.050Z",
        },
    });
    assert_eq!(status(&waiting()), expected);
}

#[test]
fn the_moment_between_the_last_step_and_the_end() {
    let mut history = finished();
    (history.task.state, history.task.finished_at) = (TaskState::Running, None);
    let progress = json!({"completed": 5, "total": 5, "percentage": 100});
    let expected = json!({"status": "processing", "task_id": ID, "current_step": null, "progress": progress});
    assert_eq!(status(&history), expected);
}

#[test]
fn a_completed_checkout() {
    let text = serde_json::to_string(&OrderStatus::of(&finished())).unwrap();
    assert!(text.contains("\"total_amount\":100.00"), "{text}");
    let expected = json!({
        "status": "completed", "task_id": ID, "order_id": ID, "order_number": "ORD-20231114-0A1B2C3D",
        "total_amount": exact("100.00"), "redirect_url": format!("/orders/{ID}"),
    });
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
}

#[test]
fn a_failed_checkout() {
    let mut history = waiting();
    history.task.state = TaskState::Failed;
    history.steps[1].state = StepState::Error;
    let expected = json!({
        "status": "failed", "task_id": ID, "failed_step": "process_payment", "failed_steps": ["process_payment"],
        "error": {"code": "GATEWAY_TIMEOUT", "message": "The gateway took too long"},
        "retry_url": format!("/retry_checkout/{ID}"),
    });
    assert_eq!(status(&history), expected);
}

#[test]
fn a_failed_checkout_whose_step_was_read_a_moment_too_early() {
    let mut history = started();
    (history.task.state, history.task.failed_steps) = (TaskState::Failed, ["create_order".to_owned()].into());
    history.steps[3].state = StepState::InProgress;
    let failed = status(&history);
    assert_eq!((&failed["failed_step"], &failed["failed_steps"]), (&json!("create_order"), &json!(["create_order"])));
    assert_eq!(failed["error"], Value::Null);
}

#[test]
fn what_an_operator_ended() {
    let mut history = waiting();
    history.task.state = TaskState::Cancelled;
    for step in &mut history.steps[1..] {
        step.state = StepState::Cancelled;
    }
    let progress = json!({"completed": 1, "total": 5, "percentage": 20});
    let expected = json!({"status": "cancelled", "task_id": ID, "progress": progress});
    assert_eq!(status(&history), expected);

    history.task.state = TaskState::Resolved;
    assert_eq!(status(&history), json!({"status": "resolved_manually", "task_id": ID}), "without an order");
    let mut history = finished();
    history.task.state = TaskState::Resolved;
    assert_eq!(status(&history)["order_number"], "ORD-20231114-0A1B2C3D");
}

#[test]
fn a_checkout_that_is_undone_is_what_it_ends_as_and_cannot_be_retried() {
    for (end, word) in [(End::Error, "failed"), (End::Cancelled, "cancelled")] {
        for state in [TaskState::Compensating(end), TaskState::Compensated(end)] {
            let mut history = waiting();
            history.task.state = state;
            history.compensations = vec![StepRecord::untouched("refund_payment")];
            let status = status(&history);
            assert_eq!((&status["status"], &status["retry_url"]), (&json!(word), &Value::Null), "{state:?}");
            let undone = json!([{"step": "refund_payment", "status": "pending"}]);
            assert_eq!(status["compensations"], undone, "{state:?}");
        }
    }
}

#[test]
fn details_of_a_checkout_on_its_way() {
    let error = json!({"code": "GATEWAY_TIMEOUT", "message": "The gateway took too long"});
    let idle = |name: &str, after: &str| {
        json!({
            "name": name, "status": "pending", "depends_on": [after], "attempts": [],
            "result": null, "error": null, "duration_ms": null,
        })
    };
    let expected = json!({
        "task_id": ID, "workflow": "ecommerce/checkout@1.0.0", "status": "in_progress",
        "started_at": "2023-11-14T22:13:20.000Z", "completed_at": null, "total_duration_ms": null,
        "steps": [
            {
                "name": "validate_cart", "status": "complete", "depends_on": [],
                "attempts": [{
                    "number": 1, "started_at": "2023-11-14T22:13:20.010Z", "finished_at": "2023-11-14T22:13:20.025Z",
                    "duration_ms": 15, "outcome": "complete", "error": null, "next_retry_at": null,
                }],
                "result": {"total": exact("100.00"), "deep": [exact("1e2")]}, "error": null, "duration_ms": 15,
            },
            {
                "name": "process_payment", "status": "retrying", "depends_on": ["validate_cart"],
                "attempts": [{
                    "number": 1, "started_at": "2023-11-14T22:13:20.030Z", "finished_at": "2023-11-14T22:13:20.050Z",
                    "duration_ms": 20, "outcome": "retryable_error", "error": error,
                    "next_retry_at": "2023-11-14T22:13:21.050Z",
                }],
                "result": null, "error": error, "duration_ms": null,
            },
            idle("update_inventory", "process_payment"),
            idle("create_order", "update_inventory"),
            idle("send_confirmation", "create_order"),
        ],
        "compensations": [],
    });
    let text = serde_json::to_string(&Details::of(&waiting())).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert!(text.contains(r#""result":{"total": 100.00, "deep": [1e2]}"#), "as the step left it: {text}");
    assert!(!text.contains(TOKEN), "{text}");
}

#[test]
fn the_attempt_that_is_running_is_there_too() {
    let mut history = waiting();
    history.steps[1] = StepRecord {
        state: StepState::InProgress,
        attempt: 2,
        owner: Some("r-2/m-1".to_owned()),
        started_at: Some(at(1_060)),
        next_retry_at: None,
        ..history.steps[1].clone()
    };
    let details = serde_json::to_value(Details::of(&history)).unwrap();
    let attempts = details["steps"][1]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    let running = json!({
        "number": 2, "started_at": "2023-11-14T22:13:21.060Z", "finished_at": null,
        "duration_ms": null, "outcome": "in_progress", "error": null, "next_retry_at": null,
    });
    assert_eq!(attempts[1], running);
}

#[test]
fn a_step_lasts_from_its_first_attempt_to_its_end() {
    let mut history = finished();
    let payment = &mut history.steps[1];
    payment.attempts.push(attempt(2, 1_060, 1_100, None, None));
    payment.finished_at = Some(at(1_100));
    let details = serde_json::to_value(Details::of(&history)).unwrap();
    assert_eq!(details["steps"][1]["duration_ms"], 1_070, "the wait included");
    assert_eq!(details["completed_at"], "2023-11-14T22:13:22.000Z");
    assert_eq!((&details["total_duration_ms"], &details["status"]), (&json!(2_000), &json!("complete")));
}

#[test]
fn a_join_names_all_it_waits_for() {
    let step = |name: &str, depends_on: &[&str]| StepPlan {
        name: name.to_owned(),
        depends_on: depends_on.iter().map(|&name| name.to_owned()).collect(),
        retry_limit: 1,
        timeout_seconds: 1,
        backoff: Default::default(),
        undoes: None,
    };
    let mut history = started();
    history.task.plan = Plan::new(vec![step("a", &[]), step("b", &[]), step("c", &["a", "b"])]).unwrap();
    history.task.state = TaskState::Failed;
    history.steps = ["a", "b", "c"].map(StepRecord::untouched).into();
    for (step, code) in history.steps.iter_mut().zip(["FIRST", "SECOND"]) {
        step.state = StepState::Error;
        step.error = Some(Failure { code: code.to_owned(), message: String::new() });
    }
    assert_eq!(serde_json::to_value(Details::of(&history)).unwrap()["steps"][2]["depends_on"], json!(["a", "b"]));
    let status = status(&history);
    assert_eq!((&status["failed_step"], &status["failed_steps"]), (&json!("a"), &json!(["a", "b"])));
    assert_eq!(status["error"]["code"], "FIRST");
}
