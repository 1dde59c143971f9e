//! DynamoDB's limits of one request: a hundred keys, a hundred writes, sixteen megabytes, and 400 KB an item.

use super::*;
use serde_json::Value;
use stepwell::{
    Filter, SearchValue,
    core::{
        limits::MAX_RESULT_BYTES,
        plan::Plan,
        record::{Action, ActionKind},
        snapshot::Loaded,
        state::TaskStatus,
        trail::{FIRST_ATTEMPTS, LAST_ATTEMPTS, MAX_OMITTED_CODES},
    },
};
use stepwell_tests::{
    emulator::{Sandbox, in_sandbox},
    meter::longest_sequence,
};

/// Starts a task over this graph, with these steps in other states than pending.
async fn start<'a>(
    sandbox: &Sandbox,
    graph: &Graph,
    steps: impl IntoIterator<Item = (&'a String, Vec<Change>)>,
) -> TaskId {
    let (id, workflow) = (TaskId::new(), graph.workflow());
    let new = NewTask {
        correlation_id: None,
        id,
        workflow: workflow.id().to_string(),
        context: "{}",
        plan: workflow.plan(),
        created_at: NOW,
    };
    assert!(sandbox.table.apply(&task::create(&new)).await.unwrap().is_written());
    for (step, changes) in steps {
        sandbox.table.apply(&put([(Key::Step(id, step.clone()), changes)])).await.unwrap();
    }
    id
}

/// The writes that bring a step into this state, with these attributes instead of the usual ones.
fn step_but<const N: usize>(state: StepState, attributes: [(&'static str, Value); N]) -> Vec<Change> {
    let mut changes = step_in(state, NOW);
    // DynamoDB refuses an update that names an attribute twice.
    changes.retain(|change| attributes.iter().all(|(name, _)| *name != change.attribute()));
    changes.extend(attributes.map(|(name, value)| Change::Set(name, value)));
    changes
}

/// These steps, complete with this result.
fn complete<'a>(steps: &'a [String], result: &str) -> impl Iterator<Item = (&'a String, Vec<Change>)> {
    let changes = step_but(StepState::Complete, [(attribute::RESULT, json!(result))]);
    steps.iter().map(move |step| (step, changes.clone()))
}

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn load_answers_for_every_requested_step() {
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
async fn load_of_more_keys_than_a_batch_is_complete() {
    in_sandbox(&[], async |sandbox| {
        let names = Graph::chain(100).names();
        let id = start(sandbox, &Graph::chain(100), complete(&names, "{}")).await;
        // With the task itself that is one key more than DynamoDB's limit.
        let loaded = sandbox.table.load(id, &set(&names)).await.unwrap();
        assert!(loaded.task.is_some());
        assert_eq!(loaded.steps.len(), 100);
        assert!(loaded.steps.values().all(|step| step.state == StepState::Complete), "{:?}", loaded.steps);
    })
    .await;
}

#[tokio::test]
async fn page_of_the_newest_takes_six_calls_in_two_rounds() {
    in_sandbox(&[], async |sandbox| {
        let (graph, value) = (Graph::chain(1), SearchValue::new("email", "ann@example.com").unwrap());
        for _ in 0..210 {
            let id = start(sandbox, &graph, []).await;
            sandbox.table.apply(&value.put(id, NOW)).await.unwrap();
        }
        for (value, calls, rounds) in [(None, 6, 2), (Some(&value), 3, 2)] {
            let mark = sandbox.meter.mark();
            let page = sandbox.client().newest(value, &Filter::default(), None, 200).await.unwrap();
            let made = sandbox.meter.since(mark);
            assert_eq!((page.tasks.len(), made.len(), longest_sequence(&made)), (200, calls, rounds), "{made:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn newest_are_all_listed_after_their_index_has_got_more_partitions() {
    in_sandbox(&[], async |sandbox| {
        let (graph, mut made) = (Graph::chain(1), Vec::new());
        let mut begin = async |partitions: u8| {
            let table = sandbox.table.clone().with_start_shards(partitions.try_into().unwrap());
            for _ in 0..20 {
                let (id, workflow) = (TaskId::new(), graph.workflow());
                let (name, plan) = (workflow.id().to_string(), workflow.plan());
                let new = NewTask { correlation_id: None, id, workflow: name, context: "{}", plan, created_at: NOW };
                assert!(table.apply(&task::create(&new)).await.unwrap().is_written());
                made.push(id);
            }
            table
        };
        begin(1).await;
        let table = begin(8).await;
        made.sort_unstable_by(|one, other| other.cmp(one));
        let mark = sandbox.meter.mark();
        assert_eq!(table.newest(TaskId::from(uuid::Uuid::max()), 100).await.unwrap(), made);
        assert_eq!(sandbox.meter.since(mark).len(), 8, "each partition is asked once");
    })
    .await;
}

#[test]
fn template_has_as_many_partitions_of_the_newest_as_the_store_has_usually() {
    let template = std::fs::read_to_string(stepwell_tests::stack::repository().join("infra/template.yaml")).unwrap();
    let (_, parameter) = template.split_once("\n  StartShards:\n").unwrap();
    let (_, default) = parameter.split_once("Default: ").unwrap();
    assert_eq!(default.split_whitespace().next().unwrap(), stepwell_aws::DynamoTable::START_SHARDS.to_string());
}

#[tokio::test]
async fn shards_that_have_little_are_asked_beside_each_other() {
    in_sandbox(&[], async |sandbox| {
        let graph = Graph::chain(1);
        for _ in 0..100 {
            start(sandbox, &graph, []).await;
        }
        let pending = Filter { status: Some(TaskStatus::Pending), ..Filter::default() };
        let person = Filter { needs_person: Some(true), ..Filter::default() };
        // Of the shards that are asked first, four have all of a small page; a large one needs the other twelve, too.
        for (filter, limit, found, calls, rounds) in
            [(&pending, 5, 5, 4, 1), (&pending, 100, 100, 16, 2), (&person, 100, 0, 32, 3)]
        {
            let mark = sandbox.meter.mark();
            let page = sandbox.client().find(filter, None, limit).await.unwrap();
            let made = sandbox.meter.since(mark);
            assert_eq!(
                (page.tasks.len(), made.len(), longest_sequence(&made)),
                (found, calls, rounds),
                "{filter:?}: {made:?}"
            );
        }
    })
    .await;
}

/// A query's page is limited to one megabyte, and a batch's answer to sixteen.
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

/// The largest result fits into the item of a join of all other steps, after as many of the longest failures as its
/// audit trail can hold.
#[tokio::test]
async fn largest_result_fits_into_an_item() {
    in_sandbox(&[], async |sandbox| {
        let wordy = Failure { code: "C".repeat(100), message: "M".repeat(Failure::MAX_MESSAGE_BYTES) };
        let mut record = StepRecord::untouched(&"s".repeat(Plan::MAX_NAME_LENGTH));
        let longest = AttemptRecord {
            error: Some(wordy.clone()),
            next_retry_at: Some(NOW),
            request_id: "r".repeat(36),
            throttled: true,
            refused: false,
            ..entry(2, Outcome::RetryableError)
        };
        record.attempts = vec![longest; FIRST_ATTEMPTS + LAST_ATTEMPTS];
        record.omitted_attempts = (0..=MAX_OMITTED_CODES).map(|code| (format!("{code:C>100}"), u32::MAX)).collect();

        let others: Vec<String> = (1..Plan::MAX_STEPS).map(|step| format!("{step:0>48}")).collect();
        let long = [
            (attribute::ATTEMPTS, json!(record.attempts)),
            (attribute::OMITTED_ATTEMPTS, json!(record.omitted_attempts)),
            (attribute::DONE_DEPS, json!(others)),
        ];
        let changes = step_but(StepState::InProgress, long);
        let id = start(sandbox, &Graph::chain(1), [(&record.name, changes)]).await;
        let result = "r".repeat(MAX_RESULT_BYTES);
        let owned = Lease { trail: record.trail(), ..lease(id, &record.name, 2) };
        let complete = step::complete(&owned, &entry(2, Outcome::Complete), &result);
        assert!(sandbox.table.apply(&complete).await.unwrap().is_written());
        let step = sandbox.table.load_all(id).await.unwrap().steps.remove(&record.name).unwrap();
        assert_eq!((step.result, step.attempts.len()), (Some(result), record.attempts.len()));
    })
    .await;
}

/// One step that ninety-nine depend on: all of these can fail, and a transaction takes a hundred items.
#[tokio::test]
async fn largest_number_of_failed_steps_is_redriven_together_or_not_at_all() {
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
        let retry = Action { at: NOW, what: ActionKind::Redrive, step: None, who, why, bulk: None, rerun_as: None };
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
