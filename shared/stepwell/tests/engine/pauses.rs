//! Steps that an operator pauses and resumes.

use super::*;
use stepwell::{
    core::{codes::EngineCode, item::attribute, pause::PauseAction, state::TaskStatus},
    ports::Deliveries,
    retryable,
    runtime::pauses::PauseKeeper,
    testing::StepFault,
};
use test_case::test_matrix;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn queue(step: &str) -> StepQueue {
    StepQueue::new("graph", step)
}

async fn pause(harness: &Harness, step: &str) {
    assert!(harness.client().pause(&harness.ports(), &queue(step), &actor()).await.unwrap().told);
}

async fn resume(harness: &Harness, step: &str) {
    assert!(harness.client().resume(&harness.ports(), &queue(step), &actor()).await.unwrap().told);
}

/// A run of the watchdog's function: it holds the queues to the pauses.
async fn keep(harness: &Harness) {
    let clock = harness.memory().runtime.clone();
    let keeper = PauseKeeper::new(harness.ports(), harness.ports(), harness.ports(), clock);
    keeper.tell(&keeper.read().await.unwrap()).await;
}

/// Whether a message to this step would be delivered.
async fn delivers(harness: &Harness, step: &str) -> bool {
    harness.lose_messages();
    harness.put_message(step, "{}");
    let delivers = harness.memory().queue.next_due().is_some();
    harness.lose_messages();
    delivers
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn paused_step_is_not_attempted_while_others_go_on_and_all_complete_once_it_is_resumed(by_call: bool) {
    let journal = Journal::default();
    let harness = TestWorkflow::fan(2).harness(journal.clone(), by_call);
    pause(&harness, "s1").await;
    let tasks = [start(&harness).await, start(&harness).await];
    harness.run_for(HOUR).await.unwrap();
    assert_eq!(journal.counts(), counts([("s0", 2), ("s2", 2)]));
    resume(&harness, "s1").await;
    for task in tasks {
        let snapshot = run(&harness, task).await;
        assert_eq!(
            (snapshot.status(), outcomes(&snapshot, "s1")),
            (TaskStatus::Complete, vec![(1, Outcome::Complete)])
        );
    }
    assert_eq!(journal.counts(), counts([("s0", 2), ("s1", 2), ("s2", 2), ("s3", 2)]));
}

#[tokio::test(start_paused = true)]
async fn attempt_whose_message_was_delivered_before_comes_to_its_end() {
    let harness = TestWorkflow::chain(2).harness(Journal::default(), true);
    let (client, ports) = (harness.client(), harness.ports());
    harness.meanwhile("claim", async move {
        assert!(client.pause(&ports, &queue("s0"), &actor()).await.unwrap().told);
    });
    let task = start(&harness).await;
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
}

#[tokio::test(start_paused = true)]
async fn step_that_is_paused_between_two_attempts_loses_none() {
    let harness = TestWorkflow::chain(1).max_attempts(2).harness(Journal::default(), true);
    harness.fail("s0", [StepFault::Error(retryable("BUSY", "try again"))]);
    let task = start(&harness).await;
    harness.run_until(task, |snapshot| state(snapshot, "s0") == StepState::Retrying).await.unwrap();
    pause(&harness, "s0").await;
    harness.run_for(DAY).await.unwrap();
    assert_eq!(outcomes(&harness.snapshot(task).await.unwrap(), "s0"), [(1, Outcome::RetryableError)]);
    resume(&harness, "s0").await;
    let expected = [(1, Outcome::RetryableError), (2, Outcome::Complete)];
    assert_eq!(outcomes(&run(&harness, task).await, "s0"), expected);
}

/// The watchdog would send one each hour, which then waits beside the first. A queue drops messages after some days.
#[tokio::test(start_paused = true)]
async fn watchdog_sends_a_paused_step_nothing_and_replaces_what_was_lost_within_an_hour_after_it() {
    let harness = TestWorkflow::chain(2).harness(Journal::default(), true);
    pause(&harness, "s1").await;
    let task = start(&harness).await;
    harness.run_for(10 * DAY).await.unwrap();
    assert_eq!(sent_to(&harness, "s1"), 1);
    let snapshot = harness.snapshot(task).await.unwrap();
    assert_eq!((snapshot.status(), state(&snapshot, "s1")), (TaskStatus::InProgress, StepState::Pending));

    harness.lose_messages();
    resume(&harness, "s1").await;
    let resumed_at = harness.now();
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    let waited = snapshot.task.finished_at.unwrap().since(resumed_at);
    assert!(waited <= HOUR + seconds(60), "{waited:?}");
}

/// The watchdog makes up for a short pause as soon as the task has been quiet.
#[tokio::test(start_paused = true)]
async fn what_was_lost_in_a_short_pause_is_replaced_soon_after_it() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    pause(&harness, "s0").await;
    let task = start(&harness).await;
    harness.run_for(seconds(300)).await.unwrap();
    harness.lose_messages();
    resume(&harness, "s0").await;
    let snapshot = run(&harness, task).await;
    let took = snapshot.task.finished_at.unwrap().since(VirtualClock::START);
    assert!(took <= seconds(2 * 300 + 120), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn deadline_that_passes_in_a_pause_fails_the_task_after_it_without_an_attempt() {
    let file = "{name: graph, complete_within_seconds: 60, step_templates: [{name: s0, compensation: {name: undo}}, \
                {name: s1, depends_on_step: s0}]}";
    let journal = Journal::default();
    let harness = Harness::new(Workflow::from_yaml(file).unwrap()).with_all(journal.clone()).call_by_call();
    pause(&harness, "s1").await;
    let task = start(&harness).await;
    harness.run_for(HOUR).await.unwrap();
    assert_eq!(harness.snapshot(task).await.unwrap().status(), TaskStatus::InProgress);
    resume(&harness, "s1").await;
    let snapshot = run(&harness, task).await;
    assert_eq!(code(&snapshot, "s1"), EngineCode::DeadlineExceeded.as_str());
    assert_eq!(journal.counts(), counts([("s0", 1), ("undo", 1)]));
}

/// Whoever pauses dies after the write, or does not reach the queue.
#[tokio::test(start_paused = true)]
async fn queue_that_was_not_told_is_told_by_the_watchdog() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    harness.fail_call("deliver", [FailureKind::Unavailable]);
    let paused = harness.client().pause(&harness.ports(), &queue("s0"), &actor()).await.unwrap();
    assert_eq!((paused.told, paused.pauses.in_force().is_some()), (false, true));
    assert!(delivers(&harness, "s0").await);
    keep(&harness).await;
    assert!(!delivers(&harness, "s0").await);

    harness.fail_call("deliver", [FailureKind::Unavailable, FailureKind::Unavailable]);
    let resumed = harness.client().resume(&harness.ports(), &queue("s0"), &actor()).await.unwrap();
    assert_eq!((resumed.told, resumed.pauses.in_force().is_some()), (false, false));
    keep(&harness).await;
    assert!(!delivers(&harness, "s0").await, "it could not be told again");
    keep(&harness).await;
    assert!(delivers(&harness, "s0").await);
}

/// The keeper has read that the step goes on, and somebody pauses it before the queue is told so; or the other way round.
#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn watchdog_that_has_read_a_step_too_early_undoes_nothing(pauses: bool) {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    pause(&harness, "s0").await;
    if pauses {
        resume(&harness, "s0").await;
    }
    act_meanwhile(&harness, pauses);
    keep(&harness).await;
    assert_eq!(delivers(&harness, "s0").await, !pauses);
}

/// Somebody is told that the step is paused, or goes on, between the write of another person and what that one tells the queue.
#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn person_who_tells_a_queue_last_undoes_nothing(pauses: bool) {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    let (client, ports) = (harness.client(), harness.ports());
    let paused = if pauses {
        pause(&harness, "s0").await;
        act_meanwhile(&harness, pauses);
        client.resume(&ports, &queue("s0"), &actor()).await.unwrap()
    } else {
        act_meanwhile(&harness, pauses);
        client.pause(&ports, &queue("s0"), &actor()).await.unwrap()
    };
    assert_eq!((paused.told, paused.pauses.in_force().is_some()), (true, pauses));
    assert_eq!(delivers(&harness, "s0").await, !pauses);
}

/// Pauses or resumes `s0` when a queue is about to be told.
fn act_meanwhile(harness: &Harness, pauses: bool) {
    let (client, ports) = (harness.client(), harness.ports());
    harness.meanwhile("deliver", async move {
        let (queue, other) = (queue("s0"), Actor::new("bob", "meanwhile").unwrap());
        let acted = if pauses {
            client.pause(&ports, &queue, &other).await
        } else {
            client.resume(&ports, &queue, &other).await
        };
        assert!(acted.unwrap().told);
    });
}

/// The inspections do not wait for the queues.
#[tokio::test(start_paused = true)]
async fn watchdog_knows_what_is_paused_before_any_queue_is_told() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    harness.fail_call("deliver", [FailureKind::Unavailable]);
    harness.client().pause(&harness.ports(), &queue("s0"), &actor()).await.unwrap();
    let clock = harness.memory().runtime.clone();
    let keeper = PauseKeeper::new(harness.ports(), harness.ports(), harness.ports(), clock);
    assert!(keeper.read().await.unwrap().held().holds("graph", "s0"));
    assert!(delivers(&harness, "s0").await);
}

#[tokio::test(start_paused = true)]
async fn queue_that_cannot_be_told_for_long_that_its_step_goes_on_is_told_later() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    pause(&harness, "s0").await;
    harness.fail_call("deliver", [FailureKind::Unavailable]);
    assert!(!harness.client().resume(&harness.ports(), &queue("s0"), &actor()).await.unwrap().told);
    harness.skip(2 * DAY).await;
    assert!(!delivers(&harness, "s0").await);
    keep(&harness).await;
    assert!(delivers(&harness, "s0").await);
}

/// It has read the pause, and tells the queue after the step was resumed. An hour later the queue is left alone: somebody else may have stopped it.
#[tokio::test(start_paused = true)]
async fn watchdog_that_stops_a_queue_too_late_mends_that_in_its_next_run() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    pause(&harness, "s0").await;
    resume(&harness, "s0").await;
    harness.memory().deliver(&queue("s0"), false).await.unwrap();
    keep(&harness).await;
    assert!(delivers(&harness, "s0").await);
    harness.memory().deliver(&queue("s0"), false).await.unwrap();
    harness.skip(HOUR).await;
    keep(&harness).await;
    assert!(!delivers(&harness, "s0").await);
}

/// Two operators at once: one of them is first, and the other one reads again.
#[tokio::test(start_paused = true)]
async fn pause_that_somebody_else_writes_meanwhile_is_kept_and_both_reasons_are_in_force() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    let (client, ports) = (harness.client(), harness.ports());
    harness.meanwhile("write_pause", async move {
        let other = Actor::new("bob", "he was quicker").unwrap();
        assert!(client.pause(&ports, &queue("s0"), &other).await.unwrap().told);
    });
    let paused = harness.client().pause(&harness.ports(), &queue("s0"), &actor()).await.unwrap();
    let who: Vec<_> = paused.pauses.reasons().iter().map(|reason| reason.who.as_str()).collect();
    assert_eq!(who, ["bob", "somebody"]);
}

#[tokio::test(start_paused = true)]
async fn repeat_makes_no_entry_and_the_trail_outlives_the_pause() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    pause(&harness, "s0").await;
    pause(&harness, "s0").await;
    resume(&harness, "s0").await;
    let trail = &harness.client().pauses().await.unwrap()[0].trail;
    let done: Vec<_> = trail.iter().map(|entry| (entry.what, entry.who.as_str(), entry.why.as_str())).collect();
    assert_eq!(done, [(PauseAction::Pause, "somebody", "a test"), (PauseAction::Resume, "somebody", "a test")]);
}

/// A version that does not know what is in the item leaves it as it is.
#[tokio::test(start_paused = true)]
async fn pause_of_a_newer_version_is_left_alone() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    pause(&harness, "s0").await;
    let newer = vec![Change::Set(attribute::NEEDS, json!(1_000))];
    harness.memory().store.force(Key::Pause(queue("s0")), newer).unwrap();
    let refused = harness.client().resume(&harness.ports(), &queue("s0"), &actor()).await;
    assert!(refused.unwrap_err().to_string().contains("needs a reader of format 1000"));
    let refused = harness.client().pause(&harness.ports(), &queue("s0"), &actor()).await;
    assert!(refused.unwrap_err().to_string().contains("needs a reader of format 1000"));
    check_left_alone(&harness).await;
}

#[tokio::test(start_paused = true)]
async fn pause_that_cannot_be_read_is_left_alone() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    pause(&harness, "s0").await;
    harness.memory().store.force(Key::Pause(queue("s0")), vec![Change::Set(attribute::TRAIL, json!("?"))]).unwrap();
    let refused = harness.client().resume(&harness.ports(), &queue("s0"), &actor()).await;
    assert!(refused.unwrap_err().to_string().contains("PAUSE / graph#s0"));
    check_left_alone(&harness).await;
}

/// The watchdog sends the step nothing, and tells its queue nothing.
async fn check_left_alone(harness: &Harness) {
    start(harness).await;
    harness.run_for(10 * HOUR).await.unwrap();
    assert_eq!(sent_to(harness, "s0"), 1);
    harness.memory().deliver(&queue("s0"), true).await.unwrap();
    keep(harness).await;
    assert!(delivers(harness, "s0").await);
}
