//! Idempotent starts of tasks.

use super::*;
use stepwell::{
    Client, IdempotencyKey, StartError,
    core::{limits::MAX_CONTEXT_BYTES, state::TaskStatus},
    testing::{CrashAt, CrashablePorts},
};
use test_case::test_case;

fn key(text: &str) -> IdempotencyKey {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn same_key_and_request_give_the_same_task() {
    let (graph, journal) = (TestWorkflow::chain(2), Journal::default());
    let harness = graph.harness(journal.clone(), false);
    let (client, workflow) = (harness.client(), graph.workflow());
    let start = async |context: &Value, text: &str| client.start(&workflow, context, Some(&key(text))).await;
    let first = start(&context(), "order-1").await.unwrap();
    assert!(!first.already_there);
    let again = start(&context(), "order-1").await.unwrap();
    assert_eq!((again.task_id, again.already_there), (first.task_id, true));

    let other = start(&json!({ "other": true }), "order-1").await.unwrap_err();
    assert!(matches!(&other, StartError::KeyUsed { task_id, .. } if *task_id == first.task_id), "{other}");

    let second = start(&context(), "order-2").await.unwrap();
    let keyless = client.start(&workflow, &context(), None).await.unwrap();
    assert!(!second.already_there && !keyless.already_there);
    for task in [first.task_id, second.task_id, keyless.task_id] {
        assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    }
    assert_eq!(journal.counts(), counts([("s0", 3), ("s1", 3)]), "once for each of the three tasks");

    let late = start(&context(), "order-1").await.unwrap();
    assert_eq!((late.task_id, late.already_there), (first.task_id, true));
    run(&harness, first.task_id).await;
    assert_eq!(journal.runs().len(), 6, "a completed task does not run again");
}

/// The client crashes at each of its calls in turn, and the request is sent again. The key and the task are two calls. The
/// messages of the two roots are part of the second, or one call each.
#[test_case(true, 8)]
#[test_case(false, 4)]
#[tokio::test(start_paused = true)]
async fn interrupted_start_is_completed(by_call: bool, expected: usize) {
    let graph = TestWorkflow::new([vec![], vec![], vec![0, 1]]);
    let mut crashes = 0;
    for crash in (0..9).flat_map(|call| [CrashAt::Before(call), CrashAt::After(call)]) {
        let journal = Journal::default();
        let harness = graph.harness(journal.clone(), by_call);
        let (workflow, context, key) = (graph.workflow(), context(), key("order-1"));
        let ports = CrashablePorts::crashing_at(harness.memory().clone(), crash);
        let client = Client::new(ports.clone(), ports.clone(), harness.memory().runtime.clone());
        crashes += usize::from(ports.run_until_crash(client.start(&workflow, &context, Some(&key))).await.is_none());
        let task = harness.client().start(&workflow, &context, Some(&key)).await.unwrap().task_id;
        assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete, "{crash:?}");
        assert_eq!(journal.counts(), counts([("s0", 1), ("s1", 1), ("s2", 1)]), "{crash:?}");
    }
    assert_eq!(crashes, expected);
}

#[tokio::test(start_paused = true)]
async fn refused_start_writes_nothing() {
    let file = json!({
        "name": "strict",
        "schema": {
            "type": "object",
            "required": ["email"],
            "properties": { "email": { "type": "string", "format": "email" }, "count": { "minimum": 1 } },
        },
        "step_templates": [{ "name": "s0" }],
    });
    let strict = Workflow::from_yaml(&file.to_string()).unwrap();
    let graph = TestWorkflow::chain(1);
    let harness = graph.harness(Journal::default(), false);
    let start = async |workflow: &Workflow, context: &Value| harness.client().start(workflow, context, None).await;
    let wrong = start(&strict, &json!({ "email": "no", "count": 0 })).await.unwrap_err();
    let StartError::Invalid(violations) = wrong else { panic!("{wrong}") };
    let paths: BTreeSet<&str> = violations.iter().map(|violation| violation.path.as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["/email", "/count"]), "every violation is there");

    // As JSON a text has two quotation marks more.
    let text = |bytes: usize| json!("c".repeat(bytes - 2));
    let wrong = start(&graph.workflow(), &text(MAX_CONTEXT_BYTES + 1)).await.unwrap_err();
    assert!(matches!(wrong, StartError::TooLarge { bytes } if bytes == MAX_CONTEXT_BYTES + 1), "{wrong}");
    assert_eq!((harness.memory().store.count(), harness.sent()), (0, vec![]));
    start(&graph.workflow(), &text(MAX_CONTEXT_BYTES)).await.unwrap();
}
