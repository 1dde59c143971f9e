//! Whole tasks over a real table and real queues, for what the engine's tests over a memory store cannot cover. Those
//! are in `shared/stepwell/tests/engine/`.

use futures::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use stepwell::{
    Actor, BulkAction, BulkError, BulkState, Filter, IdempotencyKey, NewBulk, StepError, TaskId,
    core::{
        limits::{MAX_CONTEXT_BYTES, MAX_RESULT_BYTES},
        snapshot::TaskSnapshot,
        state::{StepState, TaskStatus},
    },
    permanent, retryable,
    runtime::bulk::BulkRunner,
};
use stepwell_simulation::{
    graph::Graph,
    steps::{Script, StepRun},
};
use stepwell_tests::{
    emulator::{Sandbox, SystemRuntime, Undeliverable, in_sandbox},
    events::message,
    poller::{Pace, Poller},
};
use test_case::test_case;

/// A script that returns the names of all earlier steps, collected from their results, and fails where `fault` says so.
fn failing(fault: impl Fn(&str, u32) -> Option<StepError> + Send + Sync + 'static) -> Script {
    Script::new(move |run: StepRun| {
        let earlier = run.data.results.keys().flat_map(|step| names_in(&run.data.results[step]));
        let lineage: BTreeSet<String> = earlier.chain([run.facts.step.clone()]).collect();
        fault(&run.facts.step, run.facts.attempt).map_or(Ok(json!(lineage)), Err)
    })
}

fn names_in(result: &str) -> BTreeSet<String> {
    serde_json::from_str(result).unwrap()
}

async fn start(sandbox: &Sandbox, graph: &Graph) -> TaskId {
    sandbox.client().start(&graph.workflow(), &json!({}), None).await.unwrap().task_id
}

/// The result of each step.
fn lineages(snapshot: &TaskSnapshot) -> BTreeMap<String, BTreeSet<String>> {
    let done = snapshot.steps.iter().filter_map(|step| Some((step.name.clone(), step.result.as_ref()?)));
    done.map(|(name, result)| (name, names_in(result))).collect()
}

fn attempts(snapshot: &TaskSnapshot) -> Vec<usize> {
    snapshot.steps.iter().map(|step| step.attempts.len()).collect()
}

/// Twenty steps arrive at one join concurrently. One of them needs three attempts, another fails for good at first.
#[tokio::test]
async fn join_is_reached_after_failures_and_a_redrive() {
    let graph = Graph::fan(20);
    in_sandbox(&graph.queues(), async |sandbox| {
        let script = failing(|step, attempt| match (step, attempt) {
            ("s07", 1 | 2) => Some(retryable("BUSY", "try again")),
            ("s13", 1) => Some(permanent("DECLINED", "no")),
            _ => None,
        });
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_steps_of(&graph, &script);
        let snapshot = poller.run(task).await;
        assert_eq!(snapshot.status(), TaskStatus::Error);
        let open: Vec<_> = snapshot.steps.iter().filter(|step| step.state != StepState::Complete).collect();
        let open: Vec<_> = open.into_iter().map(|step| (step.name.as_str(), step.state)).collect();
        assert_eq!(open, [("s13", StepState::Error), ("s21", StepState::Pending)]);

        sandbox.client().redrive(task, &Actor::new("somebody", "a test").unwrap()).await.unwrap();
        let snapshot = poller.run(task).await;
        assert_eq!((snapshot.status(), lineages(&snapshot)), (TaskStatus::Complete, graph.lineages()));
        let expected = (0..22).map(|step| [1, 3, 2][usize::from(step == 7) + 2 * usize::from(step == 13)]);
        assert_eq!(attempts(&snapshot), expected.collect::<Vec<_>>());
        let sent: usize = graph.queues().into_iter().map(|queue| sandbox.meter.sent_to(&queue.into())).sum();
        assert_eq!(sent, graph.len() + 1, "one message for each step, and one for the redrive");
        assert_eq!(sandbox.undeliverable().await, []);
    })
    .await;
}

#[tokio::test]
async fn retry_waits_out_its_backoff_in_the_queue() {
    let graph = Graph::chain(2).base_seconds(1);
    in_sandbox(&graph.queues(), async |sandbox| {
        let script = failing(|step, attempt| (step == "s00" && attempt < 3).then(|| retryable("BUSY", "try again")));
        let task = start(sandbox, &graph).await;
        let snapshot = Poller::new(sandbox).with_steps_of(&graph, &script).run(task).await;
        assert_eq!((snapshot.status(), attempts(&snapshot)), (TaskStatus::Complete, vec![3, 1]));
        let attempts = &snapshot.steps[0].attempts;
        for (earlier, later) in attempts.iter().zip(&attempts[1..]) {
            assert!(later.started_at >= earlier.next_retry_at.unwrap(), "{later:?} came too early");
        }
        let calls = sandbox.meter.since(0).into_iter().filter(|call| call.queue.as_deref() == Some("graph-s00"));
        let hidden: Vec<_> = calls.filter_map(|call| call.hidden_seconds).collect();
        assert_eq!(hidden[..2], [1, 2], "SQS was asked to hide the message for the backoff");
    })
    .await;
}

/// A bulk action on a real table: its item, its index and its transactions.
#[tokio::test]
async fn bulk_action_redrives_each_failed_task_once_and_keeps_the_results() {
    let graph = Graph::chain(1);
    in_sandbox(&graph.queues(), async |sandbox| {
        let script = failing(|_, attempt| (attempt == 1).then(|| permanent("DECLINED", "no")));
        let (client, poller) = (sandbox.client(), Poller::new(sandbox).with_steps_of(&graph, &script));
        let mut tasks = BTreeSet::new();
        for _ in 0..3 {
            let task = start(sandbox, &graph).await;
            assert_eq!(poller.run(task).await.status(), TaskStatus::Error);
            tasks.insert(task);
        }
        let soon = || client.now() + Duration::from_secs(5);
        let filter =
            Filter { status: Some(TaskStatus::Error), error_code: Some("DECLINED".to_owned()), ..Filter::default() };
        let new = NewBulk {
            action: BulkAction::Redrive,
            filter,
            pace: stepwell::Pace::DEFAULT,
            expected: 3,
            or_more: false,
            request: None,
        };
        let bulk = client.start_bulk(&new, &Actor::new("somebody", "a test").unwrap(), soon()).await.unwrap();
        assert_eq!(client.bulks().await.unwrap(), std::slice::from_ref(&bulk));
        let runner = BulkRunner::new(sandbox.table.clone(), sandbox.queue.clone(), SystemRuntime);
        runner.run(soon()).await.unwrap();
        let after = client.bulk(bulk.id).await.unwrap().unwrap();
        assert_eq!((after.state, after.done, after.seen()), (BulkState::Complete, 3, 3));
        let results = client.bulk_results(bulk.id, 0, 10).await.unwrap();
        let done: BTreeSet<TaskId> = results.iter().flat_map(|page| &page.results).map(|result| result.task).collect();
        assert_eq!((results.len(), done), (1, tasks.clone()));
        let actor = Actor::new("somebody else", "a test").unwrap();
        assert!(matches!(client.stop_bulk(bulk.id, &actor).await, Err(BulkError::NotRunning(BulkState::Complete))));
        for task in tasks {
            let snapshot = poller.run(task).await;
            assert_eq!((snapshot.status(), snapshot.task.actions.len()), (TaskStatus::Complete, 1));
            assert_eq!(snapshot.task.actions[0].bulk.map(|page| page.id), Some(bulk.id));
        }
    })
    .await;
}

/// In a backlog each copy of the first message is delivered after its step is complete and before the next steps begin.
#[tokio::test]
async fn duplicates_do_not_multiply_in_a_backlog() {
    const DUPLICATES: usize = 4;
    let graph = Graph::diamonds(2);
    in_sandbox(&graph.queues(), async |sandbox| {
        let task = start(sandbox, &graph).await;
        for _ in 0..DUPLICATES {
            sandbox
                .send(&graph.queues()[0].clone().into(), &json!({ "task_id": task, "step": "s00" }).to_string())
                .await;
        }
        let poller = Poller::new(sandbox).pace(Pace::Backlog).with_steps_of(&graph, &failing(|_, _| None));
        let snapshot = poller.run(task).await;
        assert_eq!((snapshot.status(), attempts(&snapshot)), (TaskStatus::Complete, vec![1; graph.len()]));
        let sent: usize = graph.queues().into_iter().map(|queue| sandbox.meter.sent_to(&queue.into())).sum();
        // Each duplicate may repeat the two messages of its own step's dispatch, and no others.
        assert!(sent <= graph.len() + 2 * DUPLICATES, "{sent} messages for {} steps", graph.len());
    })
    .await;
}

/// The largest context and result fit into an item with everything else in it.
#[tokio::test]
async fn context_and_result_of_the_largest_size_are_kept() {
    let graph = Graph::chain(1);
    in_sandbox(&graph.queues(), async |sandbox| {
        // A text's JSON has two more characters, its quotation marks.
        let (context, result) = (json!("c".repeat(MAX_CONTEXT_BYTES - 2)), json!("r".repeat(MAX_RESULT_BYTES - 2)));
        let task = sandbox.client().start(&graph.workflow(), &context, None).await.unwrap().task_id;
        let script = Script::new(move |_| Ok(result.clone()));
        let snapshot = Poller::new(sandbox).with_steps_of(&graph, &script).run(task).await;
        assert_eq!(snapshot.status(), TaskStatus::Complete);
        assert_eq!(snapshot.task.context.len(), MAX_CONTEXT_BYTES);
        assert_eq!(snapshot.steps[0].result.as_ref().unwrap().len(), MAX_RESULT_BYTES);
    })
    .await;
}

/// SQS limits an attribute's size, and takes neither control characters nor an empty message. A message that can be
/// neither handled nor rejected would be redelivered for days.
#[test_case("hello", "hello"; "not JSON")]
#[test_case("", "(empty)"; "nothing")]
#[test_case(r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"s00"}"#, r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"s00"}"#; "an unknown task")]
#[test_case(r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"\u0001\u001b\ufffe"}"#, r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"\u0001\u001b\ufffe"}"#; "a step name of control characters")]
#[test_case(&endless(), &endless(); "a step name without end")]
#[tokio::test]
async fn invalid_message_is_moved_to_the_undeliverable_queue(body: &str, expected: &str) {
    let graph = Graph::chain(1);
    in_sandbox(&graph.queues(), async |sandbox| {
        let poller = Poller::new(sandbox).with_steps_of(&graph, &failing(|_, _| None));
        assert!(poller.deliver(&graph.queues()[0], &[message("m", body)]).await.is_empty());
        let undeliverable = sandbox.undeliverable().await;
        let [Undeliverable { body: kept, reason }] = &undeliverable[..] else { panic!("{undeliverable:?}") };
        assert_eq!(kept, expected);
        assert!((1..=1_000).contains(&reason.len()), "{} bytes", reason.len());
        assert_eq!(sandbox.item_count().await, 0, "no item is left");
    })
    .await;
}

fn endless() -> String {
    format!(r#"{{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"{}"}}"#, "ü".repeat(100_000))
}

#[tokio::test]
async fn concurrent_starts_with_one_idempotency_key_make_one_task() {
    let graph = Graph::new([vec![], vec![], vec![0, 1]]);
    in_sandbox(&graph.queues(), async |sandbox| {
        let key: IdempotencyKey = "order-1".parse().unwrap();
        let (client, workflow, context) = (sandbox.client(), graph.workflow(), Value::Null);
        let started = join_all((0..10).map(|_| client.start(&workflow, &context, Some(&key)))).await;
        let started: Vec<_> = started.into_iter().map(Result::unwrap).collect();
        assert_eq!(started.iter().map(|started| started.task_id).collect::<BTreeSet<_>>().len(), 1);
        assert_eq!(started.iter().filter(|started| !started.already_there).count(), 1);
        let poller = Poller::new(sandbox).with_steps_of(&graph, &failing(|_, _| None));
        let snapshot = poller.run(started[0].task_id).await;
        assert_eq!((snapshot.status(), attempts(&snapshot)), (TaskStatus::Complete, vec![1; 3]));
    })
    .await;
}
