//! Waits in the queues, and the starts that are refused because of them.

use super::*;
use stepwell::{
    core::{
        backlog::{Backlog, CACHED_FOR, NOTED_EVERY, NOTED_FROM, Overload},
        settlement::{Delivery, Disposition},
        state::TaskStatus,
    },
    ports::{Queue, Store},
    runtime::backlog::BacklogView,
};
use test_case::test_case;

/// The time in which a task has to be complete.
const TIME: u64 = 100;

fn workflow() -> Workflow {
    let step = json!({ "name": "s0", "handler_config": { "timeout_seconds": 10 } });
    let file = json!({ "name": "graph", "complete_within_seconds": TIME, "step_templates": [step] });
    Workflow::from_yaml(&file.to_string()).unwrap()
}

fn queue() -> StepQueue {
    StepQueue::new("graph", "s0")
}

/// A step that takes a second.
async fn a_second(_: StepContext) -> Result<Value, StepError> {
    tokio::time::sleep(seconds(1)).await;
    Ok(Value::Null)
}

/// What is noted about the step's queue: whether a task that has a second would be refused.
fn noted(harness: &Harness) -> Option<Duration> {
    let item = harness.memory().store.item(&Key::Backlog(queue()));
    let short = Workflow::from_yaml("{name: graph, complete_within_seconds: 1, step_templates: [{name: s0}]}").unwrap();
    Backlog::of(&[item]).overload(short.plan(), harness.now()).map(|Overload { wait, .. }| wait)
}

fn worker(harness: &Harness) -> Worker<impl Step, impl Store, impl Queue, VirtualClock> {
    Worker::new(queue(), Script(a_second), harness.ports(), harness.ports(), harness.memory().runtime.clone())
}

/// Delivers a message to this worker, and deletes it unless it is kept. Returns what is kept.
async fn handle(
    harness: &Harness,
    worker: &Worker<impl Step, impl Store, impl Queue, VirtualClock>,
    message: Received,
) -> Vec<String> {
    let invocation = Invocation::new("by-hand", harness.now() + seconds(20), harness.now());
    let kept = worker.handle(std::slice::from_ref(&message), &invocation).await;
    if let Some(receipt) = message.receipt.filter(|_| kept.is_empty()) {
        harness.memory().queue.end(&Delivery { receipt, disposition: Disposition::Acknowledge });
    }
    kept
}

/// So many times as many customers come in as can be served. Those who are let in are served in time, and nothing is written for the others.
#[test_case(2)]
#[test_case(4)]
#[test_case(6)]
#[tokio::test(start_paused = true)]
async fn every_task_that_is_let_in_while_too_many_come_is_completed_in_time(times: u32) {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let (client, backlog, workflow) = (harness.client(), BacklogView::default(), workflow());
    let customers = async {
        let (mut tasks, mut refused) = (Vec::new(), 0);
        for _ in 0..600 * times {
            tokio::time::sleep(seconds(1) / times).await;
            match client.overload(&backlog, &workflow).await {
                None => tasks.push(start(&harness).await),
                Some(Overload { wait, time }) => {
                    assert!(wait > time / 2, "{wait:?}");
                    refused += 1;
                }
            }
        }
        (tasks, refused)
    };
    let worker = worker(&harness);
    let serving = async {
        while harness.now() < VirtualClock::START + seconds(800) {
            match harness.memory().queue.receive(|_| harness.now() + seconds(60)) {
                Some((_, message)) => assert_eq!(handle(&harness, &worker, message).await, [""; 0]),
                None => harness.skip(Duration::from_millis(10)).await,
            }
        }
    };
    let ((tasks, refused), ()) = tokio::join!(customers, serving);
    assert!(tasks.len() > 450, "the worker is busy most of the time: {} and {refused}", tasks.len());
    for task in &tasks {
        assert_eq!(harness.snapshot(*task).await.unwrap().status(), TaskStatus::Complete, "of {}", tasks.len());
    }
    assert_eq!(client.overload(&backlog, &workflow).await, None, "it is over");
}

#[tokio::test(start_paused = true)]
async fn wait_is_noted_from_ten_seconds_on_once_in_ten_seconds() {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let worker = worker(&harness);
    // Sent so long ago.
    let handled = async |waited: Duration| {
        start(&harness).await;
        let sent_at = Some(harness.now().before(waited));
        handle(&harness, &worker, Received { sent_at, ..receive(&harness) }).await;
        noted(&harness)
    };
    assert_eq!(handled(NOTED_FROM - Duration::from_millis(1)).await, None, "a short wait");
    harness.skip(NOTED_EVERY).await;
    assert_eq!(handled(NOTED_FROM).await, Some(NOTED_FROM));
    assert_eq!(handled(seconds(40)).await, Some(NOTED_FROM), "one was noted a second ago");
    harness.skip(NOTED_EVERY).await;
    assert!(handled(seconds(40)).await.is_some_and(|wait| wait >= seconds(40)));
}

/// The age of such a message is not the length of its queue.
#[tokio::test(start_paused = true)]
async fn message_that_was_delayed_or_received_before_says_nothing_about_the_queue() {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let task = start(&harness).await;
    let sent = harness.sent().pop().unwrap();
    let first = receive(&harness);
    harness.skip(seconds(60)).await;
    let second = Received { receives: Some(2), ..first.clone() };
    deliver(&harness, "s0", Script(a_second), &[second]).await;
    assert_eq!(noted(&harness), None, "received before");

    let delayed = stepwell::core::message::Outgoing { workflow: "graph".to_owned(), message: sent, delay: seconds(0) };
    let delayed = serde_json::to_string(&delayed.after(seconds(60)).message).unwrap();
    deliver(&harness, "s0", Script(a_second), &[Received { body: delayed, ..first.clone() }]).await;
    assert_eq!(noted(&harness), None, "delayed");

    deliver(&harness, "s0", Script(a_second), &[first]).await;
    assert!(noted(&harness).is_some_and(|wait| wait >= seconds(60)), "neither: {task}");
}

#[tokio::test(start_paused = true)]
async fn note_that_cannot_be_written_or_read_stops_nothing() {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let task = start(&harness).await;
    harness.skip(seconds(60)).await;
    harness.fail_call("note_backlog", [FailureKind::Unavailable]);
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    assert_eq!(noted(&harness), None);

    start(&harness).await;
    harness.skip(seconds(60)).await;
    harness.run_for(seconds(2)).await.unwrap();
    let (client, backlog) = (harness.client(), BacklogView::default());
    harness.fail_call("range", [FailureKind::Unavailable]);
    assert_eq!(client.overload(&backlog, &workflow()).await, None, "it cannot be read");
    harness.skip(CACHED_FOR).await;
    assert!(client.overload(&backlog, &workflow()).await.is_some());
}
