use super::*;
use crate::{
    FailureKind, Filter, TaskId,
    core::{
        index::IndexPartition,
        item::Key,
        message::{DEAD_LETTERS, QueueName},
        snapshot::TaskSnapshot,
        state::{End, TaskState},
        step,
        workflow::Workflow,
    },
    ports::Store,
    runtime::watchdog::{LEFT_TO_A_PERSON, Watchdog},
    testing::{
        Harness, Returns,
        fixtures::staged::{Log, NEWER, actor, busy, graph, no, renew},
    },
};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(30);

/// A task whose own messages are lost.
async fn task(harness: &Harness) -> TaskId {
    let task = harness.begin().await;
    harness.lose_messages();
    task
}

/// Delivers a dead letter of this step. Returns the time of its next delivery, if it is kept.
async fn dead_letter(harness: &Harness, task: TaskId, step: &str) -> Option<Timestamp> {
    harness.put_message(DEAD_LETTERS, json!({ "task_id": task, "step": step }).to_string());
    harness.run_for(Duration::ZERO).await.unwrap();
    harness.memory().queue.next_due()
}

#[tokio::test(start_paused = true)]
async fn dead_letter_fails_its_step_and_task() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[], "");
    let task = task(&harness).await;
    assert_eq!(dead_letter(&harness, task, "s0").await, None);
    let known = format!("received 1 times from an unknown queue, first sent at {}", harness.now());
    let snapshot = harness.snapshot(task).await.unwrap();
    let step = snapshot.step("s0").unwrap();
    let error = step.error.clone().unwrap();
    assert_eq!((step.state, error.code.as_str()), (StepState::Error, DELIVERY_EXHAUSTED));
    assert_eq!(error.message, format!("SQS gave up on the step's message: {known}"));
    assert_eq!((snapshot.task.state, harness.undeliverable().len()), (TaskState::Failed, 0));
    let why = error.message;
    let (what, step, who) = (ActionKind::DeadLetter, Some("s0".to_owned()), "dead_letters".to_owned());
    assert_eq!(snapshot.task.actions, [Action { at: harness.now(), what, step, who, why, bulk: None, rerun_as: None }]);
    assert_eq!(log.lines("ERROR message=delivery exhausted").len(), 1);
    let listed = harness.memory().store.listed(task).unwrap().partition;
    assert_eq!(listed, IndexPartition::NeedsPerson, "the engine has nothing left to do");
}

#[tokio::test(start_paused = true)]
async fn dead_letter_of_a_newer_task_or_step_is_left_to_the_watchdog_of_that_version() {
    for is_step in [false, true] {
        let (log, _guard) = Log::new();
        let harness = graph(&[&[], &[0]], &[], "");
        let task = task(&harness).await;
        let newer = if is_step { Key::Step(task, "s0".to_owned()) } else { Key::Task(task) };
        renew(&harness, &newer, NEWER, Vec::new());
        harness.memory().queue.put(QueueName::DeadLetters, json!({ "task_id": task, "step": "s0" }).to_string());
        let letters = DeadLetters::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
        let (queue, letter) = harness.memory().queue.receive(|_| harness.now() + SECOND).unwrap();
        assert_eq!((queue, letters.handle(&[letter]).await.len()), (QueueName::DeadLetters, 0));
        assert_eq!(harness.woken(), ["s0"], "by the start alone");
        assert_eq!(harness.step(task, "s0").state, StepState::Pending);
        assert_eq!(log.lines("ERROR message=left to the newer version").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letter_of_a_leased_step_waits_for_the_end_of_the_lease() {
    let harness = graph(&[&[]], &[], "");
    let task = task(&harness).await;
    let lease = harness.memory().claim(task, "s0").await;
    assert_eq!(dead_letter(&harness, task, "s0").await, Some(lease.until + SECOND));
    assert_eq!(harness.step(task, "s0").state, StepState::InProgress);
    harness.memory().runtime.wait_until(lease.until).await;
    harness.lose_messages();
    assert_eq!(dead_letter(&harness, task, "s0").await, Some(lease.until + SECOND), "a lease holds to its end");
    harness.run_for(SECOND).await.unwrap();
    assert_eq!((harness.step(task, "s0").state, harness.memory().queue.next_due()), (StepState::Error, None));
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test(start_paused = true)]
async fn step_failed_by_a_dead_letter_is_redriven_and_then_left_to_a_person() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], "redrives: 1,");
    let task = task(&harness).await;
    harness.memory().claim(task, "s0").await;
    harness.skip(LEASE + SECOND).await;
    dead_letter(&harness, task, "s0").await;
    assert_eq!(
        (harness.state(task), harness.woken()),
        (TaskState::Failed, vec!["s0".to_owned(); 2]),
        "it waits for the redrive"
    );
    // After the redrive the message is lost in the same way.
    let redriven = harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Running);
    redriven.await.unwrap();
    harness.lose_messages();
    dead_letter(&harness, task, "s0").await;
    harness.run_for(DAY).await.unwrap();
    assert_eq!((harness.state(task), harness.woken()), (TaskState::Failed, vec!["s0".to_owned(); 3]));
    assert_eq!(
        (
            log.lines("ERROR message=delivery exhausted").len(),
            log.lines("ERROR message=the redrives are used up").len()
        ),
        (2, 1),
        "two dead letters, and the end of the redrives"
    );
    harness.client().compensate(task, &actor()).await.unwrap();
    assert_eq!(harness.woken().last().unwrap(), "u0");
}

#[tokio::test(start_paused = true)]
async fn task_left_to_a_person_is_listed_counted_and_logged_daily_until_somebody_redrives_it() {
    const MINUTE: Duration = Duration::from_secs(60);
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], "redrives: 1,");
    let task = task(&harness).await;
    let watchdog = Watchdog::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
    let count = async || watchdog.count_needs_person(harness.now() + MINUTE).await.unwrap();
    let needy = Filter { needs_person: Some(true), ..Filter::default() };
    let listed = async || harness.client().find(&needy, None, 10).await.unwrap().tasks.len();
    let lines = || log.lines(&format!("ERROR message={LEFT_TO_A_PERSON}")).len();
    for redriven in [false, true] {
        assert_eq!((count().await, listed().await, lines()), (0, 0, 0), "the engine will redrive it: {redriven}");
        dead_letter(&harness, task, "s0").await;
        if !redriven {
            let running = |snapshot: &TaskSnapshot| snapshot.task.state == TaskState::Running;
            harness.run_until(task, running).await.unwrap();
            harness.lose_messages();
        }
    }
    // The watchdog looks once more, and finds that the engine has nothing to do.
    harness.run_for(60 * MINUTE).await.unwrap();
    assert_eq!((count().await, listed().await, lines()), (1, 1, 1));
    assert_eq!(harness.memory().store.listed(task).unwrap().partition, IndexPartition::NeedsPerson);
    for days in 1..=3 {
        for _ in 0..24 * 60 {
            harness.skip(MINUTE).await;
            assert_eq!(count().await, 1);
        }
        assert_eq!(lines(), 1 + days);
    }
    harness.client().redrive(task, &actor()).await.unwrap();
    assert_eq!((count().await, listed().await), (0, 0));
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Completed);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_of_a_compensation_is_sent_again() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], "");
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.task.state.is_compensating()).await.unwrap();
    harness.lose_messages();
    assert_eq!(dead_letter(&harness, task, "u0").await, None);
    assert_eq!(log.lines("ERROR message=delivery exhausted: sent again").len(), 1);
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
}

#[tokio::test(start_paused = true)]
async fn dead_letter_of_an_optional_compensation_is_a_warning() {
    let (log, _guard) = Log::new();
    let file = r#"{name: graph, namespace_name: tests, step_templates: [
        {name: s0, compensation: {name: u0, optional: true}}]}"#;
    let harness = Harness::new(Workflow::from_yaml(file).unwrap()).with_all(Returns("null"));
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.client().cancel(task, &actor()).await.unwrap();
    harness.lose_messages();
    assert_eq!(dead_letter(&harness, task, "u0").await, None);
    let snapshot = harness.snapshot(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    assert_eq!(
        (snapshot.warnings().len(), snapshot.task.actions.len()),
        (1, 2),
        "the cancellation and the dead letter"
    );
    assert_eq!(log.lines("ERROR message=optional step failed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_that_was_the_timer_of_a_retry_is_sent_again() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[], "");
    harness.fail("s0", [busy()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.steps[0].state == StepState::Retrying).await.unwrap();
    harness.lose_messages();
    harness.skip(harness.step(task, "s0").next_retry_at.unwrap().since(harness.now())).await;
    dead_letter(&harness, task, "s0").await;
    harness.run_for(Duration::ZERO).await.unwrap();
    assert_eq!((harness.state(task), log.lines("ERROR").len()), (TaskState::Completed, 0));

    harness.fail("s0", [busy()]);
    let forgotten = harness.begin().await;
    harness.run_until(forgotten, |snapshot| snapshot.steps[0].state == StepState::Retrying).await.unwrap();
    harness.lose_messages();
    let due = harness.step(forgotten, "s0").next_retry_at.unwrap();
    harness.memory().runtime.wait_until(due + OVERDUE_AFTER).await;
    dead_letter(&harness, forgotten, "s0").await;
    assert_eq!(harness.step(forgotten, "s0").state, StepState::Error, "no worker could claim it for a minute");
}

#[tokio::test(start_paused = true)]
async fn dead_letter_of_a_waiting_or_ended_step_is_dropped() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[], &[0]], &[], "");
    let untouched = async |task: TaskId, step: &str| {
        let before = harness.snapshot(task).await.unwrap();
        assert_eq!(dead_letter(&harness, task, step).await, None, "{step}");
        assert_eq!(harness.snapshot(task).await.unwrap(), before, "{step}");
    };
    let waiting = task(&harness).await;
    untouched(waiting, "s1").await;
    for state in [StepState::Complete, StepState::Error, StepState::Cancelled, StepState::ResolvedManually] {
        harness.memory().force_step(waiting, "s0", state);
        untouched(waiting, "s0").await;
    }
    for state in [TaskState::Completed, TaskState::Cancelled, TaskState::Resolved] {
        let ended = task(&harness).await;
        harness.memory().force_task(ended, state);
        untouched(ended, "s0").await;
    }
    assert_eq!(harness.undeliverable(), []);
    assert_eq!(log.lines("WARN message=a dead letter with no effect is dropped").len(), 8);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_of_no_step_is_kept_as_undeliverable_with_the_reason() {
    let harness = graph(&[&[]], &[], "");
    let task = task(&harness).await;
    let letter = |task: TaskId, step: &str| json!({ "task_id": task, "step": step }).to_string();
    let letters = [
        ("poison\u{1}".to_owned(), "not a message of this engine: expected value at line 1 column 1"),
        (letter(TaskId::new(), "s0"), "the task does not exist"),
        (letter(task, "s9"), "the task's plan has no such step"),
    ];
    for (letter, _) in &letters {
        harness.put_message(DEAD_LETTERS, letter);
    }
    harness.run_for(Duration::ZERO).await.unwrap();
    let kept: Vec<_> = harness.undeliverable().into_iter().map(|kept| (kept.body, kept.reason)).collect();
    assert_eq!(kept, letters.map(|(body, reason)| (body, reason.to_owned())));
    assert_eq!(harness.memory().queue.next_due(), None);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_comes_back_after_a_growing_wait_if_a_call_fails() {
    let harness = graph(&[&[]], &[], "");
    let task = task(&harness).await;
    let start = harness.now();
    harness.fail_call("load_all", [FailureKind::Unavailable; 2]);
    assert_eq!(dead_letter(&harness, task, "s0").await, Some(start + SECOND));
    harness.run_for(SECOND).await.unwrap();
    assert_eq!(harness.memory().queue.next_due(), Some(start + 3 * SECOND));
    harness.run_for(2 * SECOND).await.unwrap();
    assert_eq!(harness.step(task, "s0").state, StepState::Error);

    let start = harness.now();
    harness.fail_call("reject", [FailureKind::Refused]);
    assert_eq!(dead_letter(&harness, TaskId::new(), "s0").await, Some(start + SECOND));
    harness.run_for(SECOND).await.unwrap();
    assert_eq!(harness.undeliverable().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_comes_back_soon_after_persistent_conflicts() {
    let harness = graph(&[&[]], &[], "");
    let task = task(&harness).await;
    for _ in 0..20 {
        let memory = harness.memory().clone();
        harness.meanwhile("dead_letter_step", async move {
            let lease = memory.claim(task, "s0").await;
            memory.apply(&step::release(&lease)).await.unwrap();
        });
    }
    // The reader has waited for 1.275 s in all between its tries.
    let due = harness.now() + Duration::from_millis(1_275) + SECOND;
    assert_eq!(dead_letter(&harness, task, "s0").await, Some(due));
    assert_eq!(harness.step(task, "s0").state, StepState::Pending);
}

#[tokio::test(start_paused = true)]
async fn batch_keeps_only_dead_letters_of_leased_steps() {
    let harness = graph(&[&[]], &[], "");
    let task = task(&harness).await;
    harness.memory().claim(task, "s0").await;
    let letter = |id: &str, task: TaskId| Received {
        id: id.to_owned(),
        body: json!({ "task_id": task, "step": "s0" }).to_string(),
        ..Received::default()
    };
    let reader = DeadLetters::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
    let batch = [letter("held", task), letter("lost", TaskId::new()), letter("held too", task)];
    assert_eq!(reader.handle(&batch).await, ["held", "held too"]);
    harness.skip(LEASE + SECOND).await;
    assert_eq!(reader.handle(&batch).await, [""; 0]);
    let message = harness.step(task, "s0").error.unwrap().message;
    assert!(
        message.ends_with("received an unknown number of times from an unknown queue, first sent at an unknown time"),
        "{message}"
    );
}
