//! Two workflows on one store and its queues.

use super::*;
use stepwell::{core::state::TaskStatus, testing::Undeliverable};
use test_case::{test_case, test_matrix};

/// A workflow with this name that is a chain of these steps.
fn chain(name: &str, steps: &[&str]) -> Workflow {
    let before = [None].into_iter().chain(steps.iter().map(Some));
    let steps = steps.iter().zip(before);
    let steps: Vec<Value> = steps.map(|(step, before)| json!({ "name": step, "depends_on_step": before })).collect();
    let file = json!({ "name": name, "namespace_name": "tests", "step_templates": steps });
    Workflow::from_yaml(&file.to_string()).unwrap()
}

/// `notify` is a step of both, and one handler is `pay` in the one and `refund` in the other.
fn shop(notify: [&Journal; 2], money: &Journal, by_call: bool) -> Harness {
    let [of_checkouts, of_returns] = notify;
    let checkout = Harness::new(chain("checkout", &["pay", "notify"]));
    let checkout = checkout.with("pay", money.clone()).with("notify", of_checkouts.clone());
    let both = checkout.beside(chain("return", &["notify", "refund"]));
    let both = both.with("notify", of_returns.clone()).with("refund", money.clone());
    if by_call { both.call_by_call() } else { both }
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn steps_with_one_name_are_separate_and_two_names_may_share_a_handler(by_call: bool) {
    let (of_checkouts, of_returns, money) = (Journal::default(), Journal::default(), Journal::default());
    let harness = shop([&of_checkouts, &of_returns], &money, by_call);
    let bought = start(&harness).await;
    let returned = harness.start_of("return", &context()).await.unwrap();
    for task in [bought, returned] {
        assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    }
    let runs = |journal: &Journal| -> Vec<(TaskId, String)> {
        journal.runs().into_iter().map(|(facts, _)| (facts.task_id, facts.step)).collect()
    };
    assert_eq!(runs(&of_checkouts), [(bought, "notify".to_owned())]);
    assert_eq!(runs(&of_returns), [(returned, "notify".to_owned())]);
    let mut money = runs(&money);
    money.sort_by_key(|(task, _)| *task != bought);
    assert_eq!(money, [(bought, "pay".to_owned()), (returned, "refund".to_owned())]);
    assert_eq!((harness.undeliverable(), harness.memory().queue.next_due()), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn watchdog_sends_to_the_queue_of_the_tasks_workflow() {
    let journals = [Journal::default(), Journal::default()];
    let harness = shop([&journals[0], &journals[1]], &Journal::default(), true);
    let task = harness.start_of("return", &context()).await.unwrap();
    harness.lose_messages();
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    assert_eq!(journals.map(|journal| journal.runs().len()), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn unknown_workflow_is_refused_by_name() {
    let harness = Harness::new(chain("checkout", &["pay"])).with("pay", Journal::default());
    let error = harness.start_of("return", &context()).await.unwrap_err();
    assert_eq!(format!("{error:?}"), "the harness has no workflow `return`. Give it by `beside`");
}

/// Before the step is ready, when it is ready, and when it is done.
#[test_case(StepState::Pending, false, 1; "too early")]
#[test_case(StepState::Pending, true, 1; "in its turn")]
#[test_case(StepState::Complete, true, 0; "too late")]
#[tokio::test(start_paused = true)]
async fn message_in_the_queue_of_another_workflow_runs_nothing_and_is_kept(
    found: StepState,
    ready: bool,
    uncounted_attempts: u32,
) {
    let (of_checkouts, of_returns, money) = (Journal::default(), Journal::default(), Journal::default());
    let harness = shop([&of_checkouts, &of_returns], &money, true);
    let task = start(&harness).await;
    if ready {
        harness.run_until(task, |snapshot| state(snapshot, "pay") == StepState::Complete).await.unwrap();
    }
    if found == StepState::Complete {
        run(&harness, task).await;
    }
    let before = (of_checkouts.runs().len(), harness.sent());
    let body = body(task, "notify");
    let queue = StepQueue::new("return", "notify");
    assert!(deliver_to(&harness, queue, of_returns.clone(), &[message("m", &body)]).await.is_empty());
    let reason = "a message for workflow `checkout` in a queue of workflow `return`".to_owned();
    assert_eq!(harness.undeliverable(), [Undeliverable { body, reason }]);
    let step = record(&harness, task, "notify");
    assert_eq!(
        (step.state, step.uncounted_attempts, step.lease_until),
        (found, uncounted_attempts, None),
        "its own workflow goes on with it"
    );
    assert_eq!((of_checkouts.runs().len(), harness.sent()), before);
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    assert_eq!((of_checkouts.runs().len(), of_returns.runs().len()), (1, 0));
}
