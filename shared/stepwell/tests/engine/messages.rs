//! Undeliverable messages, and messages that come too early, too late or twice.

use super::*;
use stepwell::{
    core::{
        item::attribute,
        plan::Plan,
        record::{Action, ActionKind},
        state::{End, TaskStatus},
        task::{self, Termination},
    },
    permanent, retryable,
    testing::Undeliverable,
};
use test_case::{test_case, test_matrix};

const NOBODY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

#[test_case("", "not a message of this engine: EOF while parsing"; "nothing")]
#[test_case("hello", "not a message of this engine: expected value at line 1 column 1"; "not JSON")]
#[test_case("[]", "not a message of this engine: invalid length 0"; "an array")]
#[test_case("{}", "not a message of this engine: missing field `task_id`"; "an empty object")]
#[test_case(r#"{"task_id":"7","step":"s0"}"#, "not a message of this engine: "; "a task id that is none")]
#[test_case(&format!(r#"{{"task_id":"{NOBODY}","step":7}}"#), "not a message of this engine: invalid type"; "a number for a step")]
#[test_case(&format!(r#"{{"task_id":"{NOBODY}","step":"s1"}}"#), "a message for step `s1` in the queue of step `s0`"; "another step's")]
#[test_case(&format!(r#"{{"task_id":"{NOBODY}","step":"s0"}}"#), "the task does not exist"; "an unknown task's")]
#[test_case(&format!(r#"{{"task_id":"{NOBODY}","step":"s0","load":["a b"]}}"#), "`load` has to be a list of step names"; "a name that is none")]
#[test_case(&too_long(), "`load` has to be a list of step names"; "more names than there can be")]
#[test_case(&format!(r#"{{"task_id":"{NOBODY}","step":"\u0001\u001b\ufffe"}}"#), "a message for step `` in"; "control characters")]
#[test_case(&format!(r#"{{"task_id":"{NOBODY}","step":"{}"}}"#, "ü".repeat(100_000)), "a message for step `ü"; "a name without end")]
#[tokio::test(start_paused = true)]
async fn undeliverable_message_is_kept_with_a_short_and_printable_reason(body: &str, reason: &str) {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(1).harness(journal.clone(), true);
    harness.put_message("s0", body);
    harness.run_for(seconds(0)).await.unwrap();
    let undeliverable = harness.undeliverable();
    let [Undeliverable { body: kept, reason: given }] = &undeliverable[..] else { panic!("{undeliverable:?}") };
    assert_eq!(kept, body);
    assert!(given.starts_with(reason) && given.chars().count() <= 250, "{given}");
    assert_eq!(harness.memory().queue.next_due(), None, "its queue does not have it any more");
    assert_eq!((journal.runs().len(), harness.memory().store.count()), (0, 0), "no item is left");
}

fn too_long() -> String {
    json!({ "task_id": NOBODY, "step": "s0", "load": vec!["s1"; Plan::MAX_STEPS + 1] }).to_string()
}

#[tokio::test(start_paused = true)]
async fn message_for_a_step_that_the_task_does_not_have_is_kept() {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(2).harness(journal.clone(), true);
    let task = start(&harness).await;
    let body = body(task, "s2");
    assert!(deliver(&harness, "s2", journal.clone(), &[message("m", &body)]).await.is_empty());
    let reason = "the task's plan has no such step".to_owned();
    assert_eq!(harness.undeliverable(), [Undeliverable { body, reason }]);
    assert_eq!((journal.runs().len(), harness.memory().store.count()), (0, 1));
}

/// With and without the dependencies that the engine's own messages name.
#[test_matrix([&json!(["s1"]), &json!([]), &json!(["s0", "s3", "nowhere"])], [true, false])]
#[tokio::test(start_paused = true)]
async fn early_message_runs_nothing_and_costs_no_attempt(load: &Value, by_call: bool) {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(4).max_attempts(1).harness(journal.clone(), by_call);
    let task = start(&harness).await;
    let early = json!({ "task_id": task, "step": "s2", "load": load }).to_string();
    for id in ["m1", "m2", "m3"] {
        let kept = deliver(&harness, "s2", journal.clone(), &[message(id, &early)]).await;
        assert!(kept.is_empty(), "it is acknowledged: the worker that completes the dependency sends another");
    }
    assert_eq!(journal.runs().len(), 0);
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    assert_eq!(lineages(&snapshot), TestWorkflow::chain(4).lineages());
    let step = snapshot.step("s2").unwrap();
    assert_eq!(
        (step.attempt, step.uncounted_attempts, step.attempts.len()),
        (4, 3, 1),
        "with a limit of 1, every attempt counts"
    );
}

/// A message by hand, or by a version that did not name the dependencies.
#[test_matrix([&json!([]), &json!(["s2"])])]
#[tokio::test(start_paused = true)]
async fn message_without_dependencies_runs_its_step_all_the_same(load: &Value) {
    let (graph, journal) = (TestWorkflow::chain(2), Journal::default());
    let harness = graph.harness(journal.clone(), true);
    let task = start(&harness).await;
    harness.run_until(task, |snapshot| state(snapshot, "s0") == StepState::Complete).await.unwrap();
    let bare = json!({ "task_id": task, "step": "s1", "load": load }).to_string();
    assert!(deliver(&harness, "s1", journal.clone(), &[message("bare", &bare)]).await.is_empty());
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.status(), lineages(&snapshot)), (TaskStatus::Complete, graph.lineages()));
    assert_eq!(snapshot.step("s1").unwrap().attempt, 1, "by this message, and not by one that came after it");
}

/// The early worker has read that the dependency is not done, and is about to release the step. Just then the dependency is
/// completed, and sends no message because the step is claimed.
#[tokio::test(start_paused = true)]
async fn dependency_completed_during_a_release_is_not_missed() {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(2).harness(journal.clone(), true);
    let task = start(&harness).await;
    let store = harness.memory().store.clone();
    harness.meanwhile("release", async move {
        assert_eq!(store.step(task, "s1").state, StepState::InProgress);
        let done = [(attribute::STATE, "complete"), (attribute::RESULT, "[]")];
        let done = done.map(|(name, value)| Change::Set(name, value.into())).into();
        store.force(Key::Step(task, "s0".to_owned()), done).unwrap();
    });
    let early = message("early", body(task, "s1"));
    let kept = deliver(&harness, "s1", journal.clone(), &[early]).await;
    assert_eq!(kept, ["early"], "no other message will come for the step");
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn late_message_runs_nothing_and_sends_nothing(by_call: bool) {
    let (graph, journal) = (TestWorkflow::diamonds(1), Journal::default());
    let harness = graph.harness(journal.clone(), by_call);
    let task = start(&harness).await;
    let (snapshot, sent) = (run(&harness, task).await, harness.sent());
    for step in graph.names() {
        harness.put_message(&step, body(task, &step));
    }
    assert_eq!(run(&harness, task).await, snapshot, "not a byte of it has changed");
    assert_eq!((journal.runs().len(), harness.sent()), (4, sent));
}

/// Otherwise the second copy would take the claim of the first for its own. A queue without ids delivers no message twice.
#[test_case(&["m", "m"], 1; "the same message")]
#[test_case(&["", ""], 2; "messages without an id")]
#[tokio::test(start_paused = true)]
async fn message_that_is_twice_in_its_batch_is_processed_once(ids: &[&str], expected: usize) {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let slow = Script({
        let runs = Arc::clone(&runs);
        move |facts: StepContext| {
            runs.lock().unwrap().push(facts.task_id);
            async {
                tokio::time::sleep(seconds(1)).await;
                Ok(Value::Null)
            }
        }
    });
    let harness = TestWorkflow::chain(1).harness(slow.clone(), true);
    // Those with the same id are of one task.
    let first = start(&harness).await;
    let tasks = if expected == 1 { [first, first] } else { [first, start(&harness).await] };
    let batch: Vec<_> = ids.iter().zip(tasks).map(|(id, task)| message(id, body(task, "s0"))).collect();
    assert!(deliver(&harness, "s0", slow, &batch).await.is_empty());
    assert_eq!(*runs.lock().unwrap(), tasks[..expected]);
}

/// A chain of two steps, of which the first has a compensation.
fn with_compensation(journal: &Journal, by_call: bool) -> Harness {
    let file = json!({
        "name": "graph",
        "namespace_name": "tests",
        "compensate": "on_error",
        "step_templates": [
            { "name": "s0", "compensation": { "name": "u0" } },
            { "name": "s1", "depends_on_steps": ["s0"] },
        ],
    });
    let harness = Harness::new(Workflow::from_yaml(&file.to_string()).unwrap());
    let harness = ["s0", "s1", "u0"].into_iter().fold(harness, |harness, step| harness.with(step, journal.clone()));
    if by_call { harness.call_by_call() } else { harness }
}

fn close_or_compensate(harness: &Harness, task: TaskId, termination: Termination) {
    let (who, why) = ("somebody".to_owned(), "a test".to_owned());
    let action =
        Action { at: harness.now(), what: ActionKind::Cancel, step: None, who, why, bulk: None, rerun_as: None };
    let terminated =
        harness.memory().store.apply_observed(&task::close_or_compensate(task, termination, &action), |_| ()).unwrap();
    assert!(terminated.is_written());
}

/// This holds for every termination. A compensating task goes on with its compensation.
#[test_matrix([Termination::Cancel, Termination::Resolve, Termination::Compensate(End::Cancelled)], [true, false])]
#[tokio::test(start_paused = true)]
async fn message_of_an_ended_task_runs_nothing(termination: Termination, by_call: bool) {
    let journal = Journal::default();
    let harness = with_compensation(&journal, by_call);
    let task = start(&harness).await;
    harness.run_until(task, |snapshot| state(snapshot, "s0") == StepState::Complete).await.unwrap();
    close_or_compensate(&harness, task, termination);
    assert!(deliver(&harness, "s1", journal.clone(), &[receive(&harness)]).await.is_empty());
    assert_eq!(journal.counts(), counts([("s0", 1)]));
    let (expected, undone) = match termination {
        Termination::Compensate(_) => (StepState::Cancelled, 1),
        Termination::Cancel | Termination::Resolve => (StepState::Pending, 0),
    };
    assert_eq!((record(&harness, task, "s1").state, sent_to(&harness, "u0")), (expected, undone));
}

/// A step that was running when its task was terminated comes to its end, and does not end the task. Compensation waits for
/// it.
#[test_matrix([Termination::Cancel, Termination::Resolve, Termination::Compensate(End::Cancelled)], [true, false])]
#[tokio::test(start_paused = true)]
async fn leaf_in_flight_does_not_end_a_terminated_task(termination: Termination, by_call: bool) {
    let journal = Journal::default();
    let harness = Arc::new(with_compensation(&journal, by_call));
    let task = start(&harness).await;
    harness.run_until(task, |snapshot| state(snapshot, "s0") == StepState::Complete).await.unwrap();
    let diverts = Script({
        let harness = Arc::clone(&harness);
        move |_| {
            close_or_compensate(&harness, task, termination);
            async { Ok(json!([])) }
        }
    });
    assert!(deliver(&harness, "s1", diverts, &[receive(&harness)]).await.is_empty());
    assert_eq!(record(&harness, task, "s1").state, StepState::Complete);
    let (expected, undone) = match termination {
        Termination::Cancel => (TaskStatus::Cancelled, 0),
        Termination::Resolve => (TaskStatus::ResolvedManually, 0),
        Termination::Compensate(_) => (TaskStatus::Compensating, 1),
    };
    assert_eq!((harness.snapshot(task).await.unwrap().status(), sent_to(&harness, "u0")), (expected, undone));
}

/// While the handler runs, an operator cancels the task; then it fails.
#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn error_after_a_cancellation_is_kept(by_call: bool) {
    let harness = Arc::new(TestWorkflow::chain(2).harness(Journal::default(), by_call));
    let task = start(&harness).await;
    let cancels = Script({
        let harness = Arc::clone(&harness);
        move |_| {
            let client = harness.client();
            async move {
                client.cancel(task, &actor()).await.unwrap();
                Err(permanent("DECLINED", "no"))
            }
        }
    });
    assert!(deliver(&harness, "s0", cancels, &[receive(&harness)]).await.is_empty());
    let snapshot = harness.snapshot(task).await.unwrap();
    assert_eq!((snapshot.status(), snapshot.task.failed_steps.len()), (TaskStatus::Cancelled, 0));
    assert_eq!((state(&snapshot, "s0"), code(&snapshot, "s0")), (StepState::Error, "DECLINED"));
}

/// One batch of six tasks with all possible outcomes, processed concurrently.
#[tokio::test(start_paused = true)]
async fn messages_of_a_batch_do_not_affect_each_other() {
    let tasks = Arc::new(Mutex::new(Vec::new()));
    let script = Script({
        let tasks = Arc::clone(&tasks);
        move |facts: StepContext| {
            let number = tasks.lock().unwrap().iter().position(|task| *task == facts.task_id).unwrap();
            async move {
                tokio::time::sleep(seconds(2)).await;
                match number {
                    1 => std::panic::resume_unwind(Box::new("one")),
                    2 => Err(retryable("BUSY", "two")),
                    3 => Err(permanent("NO", "three")),
                    number => Ok(json!(number)),
                }
            }
        }
    });
    let harness = TestWorkflow::chain(1).harness(script.clone(), true);
    for _ in 0..6 {
        let task = start(&harness).await;
        tasks.lock().unwrap().push(task);
    }
    let tasks = tasks.lock().unwrap().clone();
    let mut batch: Vec<_> =
        tasks.iter().enumerate().map(|(number, task)| message(&number.to_string(), body(*task, "s0"))).collect();
    batch.push(message("junk", "junk"));
    let begun = harness.now();
    assert_eq!(deliver(&harness, "s0", script, &batch).await, ["1", "2"]);
    assert_eq!(harness.now().since(begun), seconds(2), "at the same time");
    let ends: Vec<_> = tasks.iter().map(|task| record(&harness, *task, "s0").state).collect();
    let done = StepState::Complete;
    assert_eq!(ends, [done, StepState::Retrying, StepState::Retrying, StepState::Error, done, done]);
    assert_eq!(harness.undeliverable().len(), 1);
}

#[test]
fn message_omits_default_fields() {
    let (task, workflow) = (TaskId::new(), TestWorkflow::fan(2).workflow());
    let message = |step: &str| serde_json::to_string(&workflow.plan().step(step).unwrap().message(task)).unwrap();
    assert_eq!(message("s0"), format!(r#"{{"task_id":"{task}","step":"s0"}}"#));
    assert_eq!(message("s3"), format!(r#"{{"task_id":"{task}","step":"s3","load":["s1","s2"]}}"#));
}
