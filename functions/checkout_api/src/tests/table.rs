//! The table of statuses: each state of a task, of its payment and of its refund has one row.

use super::*;
use crate::standing::{GivenBack, RefundState, Retry, Retrying, Standing};
use checkout::{Money, Payment, Refund};
use stepwell::{
    StepResult, Timestamp,
    core::{
        record::{Action, ActionKind, AttemptRecord, Failure, Outcome, StepRecord},
        recovery::{begins_at, redrive_at},
        snapshot::TaskSnapshot,
        state::{End, StepState, TaskState},
    },
};
use test_case::test_case;

const TOTAL: Money = Money::from_cents(10_000);

/// How the payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paid {
    /// It was not attempted.
    No,
    /// The card was declined.
    Declined,
    /// The gateway was out of service.
    Down,
    /// The gateway did not answer.
    Unknown,
    /// It was charged, and `update_inventory` has failed for good.
    Yes,
}

/// How the refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refunded {
    /// The order of the compensations is not known yet.
    Unordered,
    Waiting,
    /// A compensation before it has failed.
    Blocked,
    Refused,
    Made,
    /// It was found that nothing had been charged.
    Void,
}

const PAYMENTS: [Paid; 5] = [Paid::No, Paid::Declined, Paid::Down, Paid::Unknown, Paid::Yes];
const REFUNDS: [Refunded; 6] =
    [Refunded::Unordered, Refunded::Waiting, Refunded::Blocked, Refunded::Refused, Refunded::Made, Refunded::Void];

/// A task that was just started.
async fn started() -> TaskSnapshot {
    let api = Api::new();
    api.harness.snapshot(api.started().await).await.unwrap()
}

/// The task in these states. `redrives` is the number of redrives that the engine has made.
fn task(
    mut snapshot: TaskSnapshot,
    (state, paid, refunded, redrives): (TaskState, Paid, Refunded, usize),
) -> TaskSnapshot {
    let task = &mut snapshot.task;
    (task.state, task.finished_at) = (state, Some(task.created_at));
    let redrive = Action {
        at: task.created_at,
        what: ActionKind::Redrive,
        step: None,
        who: "stepwell".into(),
        why: "-".into(),
        bulk: None,
        rerun_as: None,
    };
    task.actions = vec![redrive; redrives];
    let (failed, code, outcome) = match paid {
        Paid::No => ("validate_cart", "PRODUCT_NOT_FOUND", Outcome::PermanentError),
        Paid::Declined => (Payment::STEP, "PAYMENT_DECLINED", Outcome::PermanentError),
        Paid::Down => (Payment::STEP, "GATEWAY_TEMPORARY_FAILURE", Outcome::RetryableError),
        Paid::Unknown => (Payment::STEP, "GATEWAY_TIMEOUT", Outcome::RetryableError),
        Paid::Yes => ("update_inventory", "INSUFFICIENT_STOCK", Outcome::RetryableError),
    };
    for step in snapshot.steps.iter_mut().take_while(|step| step.name != failed) {
        (step.state, step.attempt, step.result) = (StepState::Complete, 1, Some("{}".to_owned()));
        if step.name == Payment::STEP {
            step.result = Some(json!({
                "payment_id": "pay_1", "amount_charged": exact("100.00"), "currency": "USD",
                "payment_method_type": "visa", "transaction_id": "txn_1", "processed_at": "2023-11-14T22:13:20.000Z",
            }).to_string());
        }
    }
    if !matches!(state, TaskState::Running | TaskState::Completed | TaskState::Resolved) {
        let step = snapshot.steps.iter_mut().find(|step| step.name == failed).unwrap();
        fail(step, code, outcome);
        snapshot.task.failed_steps.insert(failed.to_owned());
    }
    if state.ends_as().is_some() && refunded != Refunded::Unordered && paid != Paid::No {
        let graph = snapshot.task.plan.compensation_graph(|_| true);
        snapshot.compensations = graph.iter().map(|step| StepRecord::untouched(&step.name)).collect();
        snapshot.task.compensations = Some(graph);
        let [before, beside, refund] = ["cancel_order", "release_stock", Refund::STEP]
            .map(|name| snapshot.compensations.iter().position(|step| step.name == name).unwrap());
        let [before, beside, refund] = snapshot.compensations.get_disjoint_mut([before, beside, refund]).unwrap();
        // It never keeps the refund from running.
        beside.state = StepState::Error;
        before.state = if refunded == Refunded::Blocked { StepState::Error } else { StepState::Complete };
        let result = |amount: &str| {
            json!({
                "refund_id": null, "payment_id": null, "amount_refunded": exact(amount), "currency": "USD",
                "refunded_at": "2023-11-14T22:13:20.000Z",
            })
            .to_string()
        };
        match refunded {
            Refunded::Unordered | Refunded::Waiting | Refunded::Blocked => {}
            Refunded::Refused => refund.state = StepState::Error,
            Refunded::Made => (refund.state, refund.result) = (StepState::Complete, Some(result("100.00"))),
            Refunded::Void => (refund.state, refund.result) = (StepState::Complete, Some(result("0.00"))),
        }
    }
    snapshot
}

fn fail(step: &mut StepRecord, code: &str, outcome: Outcome) {
    let error = Some(Failure::new(code, "for engineers: 10.0.0.7 refused the connection"));
    let at = Timestamp::from_millis(1_700_000_000_000);
    step.attempts.push(AttemptRecord {
        number: 1,
        started_at: at,
        finished_at: Some(at),
        outcome,
        error: error.clone(),
        next_retry_at: None,
        request_id: "request".to_owned(),
        throttled: false,
        refused: false,
    });
    (step.state, step.attempt, step.error) = (StepState::Error, 1, error);
}

/// What is given back, by the table.
fn given_back(state: TaskState, paid: Paid, refunded: Refunded) -> Option<GivenBack> {
    let amount = TOTAL;
    let is = |state| Some(GivenBack { amount, state });
    match (paid, state, refunded) {
        (Paid::No | Paid::Declined | Paid::Down, ..) => None,
        (_, TaskState::Failed, _) | (_, TaskState::Compensating(_), Refunded::Unordered | Refunded::Waiting) => {
            is(RefundState::Due)
        }
        // Only an order that was never written has no refund in it.
        (_, TaskState::Compensated(_), Refunded::Waiting) => is(RefundState::Due),
        (_, TaskState::Compensating(_) | TaskState::Compensated(_), Refunded::Made) => is(RefundState::Made),
        (_, TaskState::Compensating(_) | TaskState::Compensated(_), Refunded::Void) => None,
        _ => is(RefundState::NeedsAPerson),
    }
}

#[tokio::test(start_paused = true)]
async fn each_state_has_one_row_of_the_table() {
    let started = started().await;
    for state in TaskState::ALL {
        for paid in PAYMENTS {
            for refunded in REFUNDS {
                for redrives in [0, 4] {
                    has_its_row(&started, (state, paid, refunded, redrives));
                }
            }
        }
    }
}

fn has_its_row(started: &TaskSnapshot, case: (TaskState, Paid, Refunded, usize)) {
    let (state, paid, refunded, redrives) = case;
    let snapshot = task(started.clone(), case);
    let refund = given_back(state, paid, refunded);
    match (state, Standing::of(&snapshot)) {
        (TaskState::Running, Standing::Processing { retrying: None })
        | (TaskState::Completed, Standing::Completed { by_hand: false })
        | (TaskState::Resolved, Standing::Completed { by_hand: true }) => {}
        (TaskState::Failed, Standing::Processing { retrying: Some(Retrying { next_at, may_run_now: true, .. }) }) => {
            assert!(redrives == 0 && matches!(paid, Paid::Down | Paid::Unknown | Paid::Yes));
            assert_eq!((next_at, begins_at(&snapshot)), (redrive_at(&snapshot), None));
        }
        (TaskState::Failed, Standing::Failed(failed)) => {
            assert!(redrives == 4 || matches!(paid, Paid::No | Paid::Declined));
            assert_eq!(redrive_at(&snapshot), None, "nothing is charged by itself any more");
            assert_eq!(failed.refund, refund);
            assert_eq!(failed.retry, Retry::Until(begins_at(&snapshot)), "until compensation begins");
        }
        (TaskState::Compensating(End::Error) | TaskState::Compensated(End::Error), Standing::Failed(failed)) => {
            assert_eq!((failed.refund, failed.retry), (refund, Retry::No));
        }
        (
            TaskState::Cancelled | TaskState::Compensating(End::Cancelled) | TaskState::Compensated(End::Cancelled),
            Standing::Cancelled { refund: found },
        ) => assert_eq!(found, refund),
        (_, other) => panic!("{case:?}: {other:?}"),
    }
}

/// In a workflow that is compensated by hand nothing happens by itself, so somebody has to decide.
#[tokio::test(start_paused = true)]
async fn failed_task_that_is_not_compensated_by_itself_needs_attention_if_money_or_goods_are_affected() {
    use stepwell::core::plan::Compensate;
    // The attempt of `validate_cart` may have held units. Only a step that SQS gave up on before has had no attempt.
    for (paid, attempt, attention) in [
        (Paid::No, 0, false),
        (Paid::No, 1, true),
        (Paid::Declined, 1, true),
        (Paid::Unknown, 1, true),
        (Paid::Yes, 1, true),
    ] {
        let mut snapshot = task(started().await, (TaskState::Failed, paid, Refunded::Unordered, 4));
        snapshot.steps[0].attempt = attempt;
        snapshot.task.plan = snapshot.task.plan.compensating(Compensate::Manual, 0);
        assert_eq!(Standing::of(&snapshot) == Standing::NeedsAttention, attention, "{paid:?}");
        if !attention {
            assert!(matches!(Standing::of(&snapshot), Standing::Failed(failed) if failed.retry == Retry::Until(None)));
        }
    }
}

/// A decline says nothing about an attempt before it that got no answer.
#[test_case(&["GATEWAY_TIMEOUT", "PAYMENT_DECLINED"], true)]
#[test_case(&["GATEWAY_TIMEOUT", "GATEWAY_RATE_LIMITED"], true)]
#[test_case(&["GATEWAY_RATE_LIMITED", "GATEWAY_TEMPORARY_FAILURE"], false)]
#[test_case(&["PANIC"], true)]
#[test_case(&["DEADLINE_EXCEEDED"], false)]
#[test_case(&["PAYMENT_SUSPECTED_FRAUD"], false)]
#[tokio::test(start_paused = true)]
async fn every_attempt_of_the_payment_counts(codes: &[&str], may_be_charged: bool) {
    let mut snapshot = task(started().await, (TaskState::Failed, Paid::Unknown, Refunded::Unordered, 4));
    let step = snapshot.steps.iter_mut().find(|step| step.name == Payment::STEP).unwrap();
    step.attempts.clear();
    for code in codes {
        let permanent = code.starts_with("PAYMENT");
        fail(step, code, if permanent { Outcome::PermanentError } else { Outcome::RetryableError });
    }
    let Standing::Failed(failed) = Standing::of(&snapshot) else { panic!("{codes:?}") };
    assert_eq!(failed.refund.is_some(), may_be_charged, "{codes:?}");
}
