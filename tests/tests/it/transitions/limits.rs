//! What DynamoDB reads and writes at a time: a hundred keys, a hundred writes, sixteen megabytes, and 400 KB an item.

use super::*;
use serde_json::Value;
use stepwell::core::{
    limits::MAX_RESULT_BYTES,
    plan::Plan,
    record::{Action, ActionKind},
    snapshot::Loaded,
};
use stepwell_tests::emulator::{Sandbox, in_sandbox};

/// Starts a task over this graph, of whose steps these have gone on.
async fn start<'a>(
    sandbox: &Sandbox,
    graph: &Graph,
    steps: impl IntoIterator<Item = (&'a String, Vec<Change>)>,
) -> TaskId {
    let (id, workflow) = (TaskId::new(), graph.workflow());
    let new =
        NewTask { id, workflow: workflow.id().to_string(), context: "{}", plan: workflow.plan(), created_at: NOW };
    assert!(sandbox.table.apply(&task::create(&new)).await.unwrap().is_written());
    for (step, changes) in steps {
        sandbox.table.apply(&put([(Key::Step(id, step.clone()), changes)])).await.unwrap();
    }
    id
}

/// How a step stands in this state, but for these attributes.
fn step_but<const N: usize>(state: StepState, attributes: [(&'static str, Value); N]) -> Vec<Change> {
    let mut changes = step_in(state, NOW);
    // DynamoDB refuses an update that names an attribute twice.
    changes.retain(|change| attributes.iter().all(|(name, _)| *name != change.attribute()));
    changes.extend(attributes.map(|(name, value)| Change::Set(name, value)));
    changes
}

/// These steps are complete, with this result.
fn complete<'a>(steps: &'a [String], result: &str) -> impl Iterator<Item = (&'a String, Vec<Change>)> {
    let changes = step_but(StepState::Complete, [(attribute::RESULT, json!(result))]);
    steps.iter().map(move |step| (step, changes.clone()))
}

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn a_load_answers_for_every_step_that_was_asked_for() {
    in_sandbox(&[], async |sandbox| {
        let graph = Graph::chain(3);
        let id = start(sandbox, &graph, complete(&graph.names()[..2], "{}")).await;
        let Loaded { task, steps } = sandbox.table.load(id, &BTreeSet::from(["s00", "s02"])).await.unwrap();
        assert_eq!(task.unwrap().plan, *graph.workflow().plan());
        assert_eq!(steps.keys().collect::<Vec<_>>(), ["s00", "s02"]);
        assert_eq!((steps["s00"].state, steps["s00"].result.as_deref()), (StepState::Complete, Some("{}")));
        assert_eq!(steps["s02"], StepRecord::untouched("s02"));

        let Loaded { task, steps } = sandbox.table.load(TaskId::new(), &BTreeSet::from(["s00"])).await.unwrap();
        assert_eq!((task, &steps["s00"]), (None, &StepRecord::untouched("s00")));
    })
    .await;
}

#[tokio::test]
async fn a_load_of_more_than_a_batch_is_complete() {
    in_sandbox(&[], async |sandbox| {
        let names = Graph::chain(100).names();
        let id = start(sandbox, &Graph::chain(100), complete(&names, "{}")).await;
        // With the task itself that is one more than DynamoDB reads at a time.
        let loaded = sandbox.table.load(id, &set(&names)).await.unwrap();
        assert!(loaded.task.is_some());
        assert_eq!(loaded.steps.len(), 100);
        assert!(loaded.steps.values().all(|step| step.state == StepState::Complete), "{:?}", loaded.steps);
    })
    .await;
}

/// A query's page, and a batch's answer, ends at a megabyte and at sixteen.
#[tokio::test]
async fn large_results_are_read_page_by_page() {
    in_sandbox(&[], async |sandbox| {
        let names = Graph::chain(8).names();
        let id = start(sandbox, &Graph::chain(8), complete(&names, &"r".repeat(MAX_RESULT_BYTES))).await;
        for loaded in [sandbox.table.load_all(id).await.unwrap(), sandbox.table.load(id, &set(&names)).await.unwrap()] {
            assert!(loaded.task.is_some());
            assert_eq!(loaded.steps.len(), 8);
            assert!(loaded.steps.values().all(|step| step.result.as_ref().unwrap().len() == MAX_RESULT_BYTES));
        }
    })
    .await;
}

/// The largest result fits into the item of a step that all others had to arrive at, after as many of the most talkative
/// failures as its audit trail takes.
#[tokio::test]
async fn the_largest_result_fits() {
    in_sandbox(&[], async |sandbox| {
        let wordy = Failure { code: "C".repeat(100), message: "M".repeat(Failure::MAX_MESSAGE_BYTES) };
        let mut record = StepRecord::untouched(&"s".repeat(Plan::MAX_NAME_LENGTH));
        while record.has_room_for(0) {
            record.attempts.push(AttemptRecord {
                error: Some(wordy.clone()),
                next_retry_at: Some(NOW),
                request_id: "r".repeat(36),
                ..entry(2, Outcome::RetryableError)
            });
        }
        // The last that it has room for is the one that succeeds.
        record.attempts.pop();
        assert!(record.attempts.len() > 100, "{}", record.attempts.len());

        let others: Vec<String> = (1..Plan::MAX_STEPS).map(|step| format!("{step:0>48}")).collect();
        let long = [(attribute::ATTEMPTS, json!(record.attempts)), (attribute::DONE_DEPS, json!(others))];
        let changes = step_but(StepState::InProgress, long);
        let id = start(sandbox, &Graph::chain(1), [(&record.name, changes)]).await;
        let result = "r".repeat(MAX_RESULT_BYTES);
        let complete = step::complete(&lease(id, &record.name, 2), &entry(2, Outcome::Complete), &result);
        assert!(sandbox.table.apply(&complete).await.unwrap().is_written());
        let step = sandbox.table.load_all(id).await.unwrap().steps.remove(&record.name).unwrap();
        assert_eq!((step.result, step.attempts.len()), (Some(result), record.attempts.len() + 1));
    })
    .await;
}

/// One step that ninety-nine depend on: all of these can fail, and a transaction takes a hundred items.
#[tokio::test]
async fn as_many_steps_are_redriven_as_can_have_failed_or_none() {
    in_sandbox(&[], async |sandbox| {
        let graph = Graph::new((0..100).map(|step| if step == 0 { vec![] } else { vec![0] }));
        let names: Vec<String> = (1..100).map(name).collect();
        let id = start(sandbox, &graph, names.iter().map(|step| (step, step_in(StepState::Error, NOW)))).await;
        let failed =
            [Change::Set(attribute::STATUS, json!("error")), Change::Set(attribute::FAILED_STEPS, json!(names))];
        sandbox.table.apply(&put([(Key::Task(id), failed.into())])).await.unwrap();
        let before = sandbox.table.load_all(id).await.unwrap();
        let task = before.task.clone().unwrap();
        let (who, why) = ("somebody".to_owned(), "a test".to_owned());
        let retry = Action { at: NOW, what: ActionKind::Redrive, step: None, who, why };
        let mut failed: Vec<StepRecord> = before.steps.values().cloned().collect();
        assert_eq!(failed.len(), 99);
        let redrive = async |failed: &[StepRecord]| {
            let redrive = task::redrive(&task, &failed.iter().collect::<Vec<_>>(), &retry).unwrap();
            sandbox.table.apply(&redrive).await.unwrap().is_written()
        };

        // One of them has been claimed again since.
        failed[50].attempt = 1;
        assert!(!redrive(&failed).await);
        let after = sandbox.table.load_all(id).await.unwrap();
        assert_eq!((after.task, after.steps), (before.task, before.steps));

        failed[50].attempt = 2;
        assert!(redrive(&failed).await);
        let after = sandbox.table.load_all(id).await.unwrap();
        assert!(after.steps.values().all(|step| step.state == StepState::Pending), "{:?}", after.steps);
    })
    .await;
}
