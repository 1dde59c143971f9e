//! Every write of a task in every state of a task, and the index that lists them.

use super::*;
use stepwell::core::{
    codec::Unreadable,
    index::{FIRST_LOOK, Listing},
    record::{KEY_RETENTION, KeyRecord},
    state::TaskEvent,
};
use stepwell_tests::emulator::in_sandbox;

fn shard(id: TaskId, listing: &str) -> String {
    format!("{listing}#{}", id.as_bytes()[15] % 16)
}

/// The task's item after it came to this status at this moment.
fn listed(mut item: Value, id: TaskId, status: &str, at: Timestamp) -> Value {
    merge(&mut item, json!({ "status": status, "status_shard": shard(id, status), "listed_at": at }));
    item
}

/// Fails the step that this lease is of, and its task as it stands.
async fn fail(sandbox: &Sandbox, lease: &Lease, attempt: &AttemptRecord) -> bool {
    written(sandbox, &step::fail(&task_record(sandbox, lease.task).await, lease, attempt)).await
}

async fn finish(sandbox: &Sandbox, id: TaskId, now: Timestamp) -> Result<TaskState, Unreadable> {
    task::state_after_finish(id, sandbox.table.apply(&task::finish(id, now)).await.unwrap())
}

#[tokio::test]
async fn a_task_is_written_once() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(2)).await;
        let expected = json!({
            "pk": format!("TASK#{id}"),
            "sk": "TASK",
            "workflow": "tests/graph@0.1.0",
            "status": "pending",
            "context": "{}",
            "plan": serde_json::to_string(Graph::chain(2).workflow().plan()).unwrap(),
            "created_at": millis(NOW),
            "status_shard": shard(id, "pending"),
            "listed_at": NOW + FIRST_LOOK,
            "expires_at": (NOW + RETENTION).as_seconds(),
        });
        assert_eq!(sandbox.task_item(id).await, expected);

        let workflow = Graph::chain(1).workflow();
        let again =
            NewTask { id, workflow: "other".to_owned(), context: "1", plan: workflow.plan(), created_at: later(1) };
        assert!(!written(sandbox, &task::create(&again)).await);
        assert_eq!(sandbox.task_item(id).await, expected);
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_stands_for_what_it_was_first_used_with() {
    in_sandbox(&[], async |sandbox| {
        let record = |request_hash: &str, created_at| KeyRecord {
            namespace: "tests".to_owned(),
            key: "key-1".to_owned(),
            task: TaskId::new(),
            request_hash: request_hash.to_owned(),
            created_at,
            newer: None,
        };
        let first = record("hash", NOW);
        let reserve = async |key: KeyRecord| {
            let reserved = sandbox.table.apply(&task::reserve_key(&key)).await.unwrap();
            task::reserved_key(key, reserved).unwrap()
        };
        assert_eq!(reserve(first.clone()).await, first);
        for other in [record("hash", later(1)), record("another hash", later(2)), first.clone()] {
            assert_eq!(reserve(other).await, first);
        }
        let elsewhere = KeyRecord { namespace: "elsewhere".to_owned(), ..record("hash", later(1)) };
        assert_eq!(reserve(elsewhere.clone()).await, elsewhere);
        assert_eq!(sandbox.item_count().await, 2);
        let item = sandbox.item("KEY#tests#key-1", "KEY").await;
        assert_eq!(item["expires_at"], json!((NOW + KEY_RETENTION).as_seconds()));
    })
    .await;
}

#[tokio::test]
async fn a_task_finishes_in_no_state_but_running() {
    in_sandbox(&[], async |sandbox| {
        for state in TaskState::ALL {
            let id = start(sandbox, &Graph::chain(1)).await;
            put_state(sandbox, id, state, &[]).await;
            let before = sandbox.task_item(id).await;
            assert_eq!(finish(sandbox, id, later(9)).await.unwrap(), state.on(TaskEvent::Finish).unwrap_or(state));
            let expected = match state.on(TaskEvent::Finish) {
                Some(_) => {
                    let mut item = listed(before, id, "complete", later(9));
                    merge(&mut item, json!({ "finished_at": millis(later(9)) }));
                    item
                }
                None => before,
            };
            assert_eq!(sandbox.task_item(id).await, expected, "from {state:?}");
        }
        let gone = TaskId::new();
        assert!(finish(sandbox, gone, NOW).await.is_err(), "a task that is not there does not finish");
        assert_eq!(sandbox.task_item(gone).await, Value::Null);
    })
    .await;
}

#[tokio::test]
async fn a_failed_step_takes_its_task_along_where_the_state_allows() {
    in_sandbox(&[], async |sandbox| {
        for state in TaskState::ALL {
            let id = start(sandbox, &Graph::chain(2)).await;
            let failed_before: &[&str] = if state == TaskState::Failed { &["s01"] } else { &[] };
            put_state(sandbox, id, state, failed_before).await;
            let before = sandbox.task_item(id).await;
            sandbox.put(&step_item(id, &only(), StepState::InProgress)).await;

            let attempt = AttemptRecord { finished_at: Some(later(3)), ..entry(2, Outcome::PermanentError) };
            assert!(fail(sandbox, &lease(id, &only(), 2), &attempt).await, "from {state:?}");
            let step = step_record(sandbox, id, &only()).await;
            assert_eq!((step.state, step.error), (StepState::Error, Some(failure())), "from {state:?}");
            assert_eq!(step.attempts.last(), Some(&attempt), "from {state:?}");

            // The failure of a step does nothing to a task that is being compensated.
            let expected = match state.on(TaskEvent::Fail).filter(|to| *to == TaskState::Failed) {
                Some(_) => {
                    let mut item = listed(before, id, "error", later(3));
                    let mut failed = vec![json!(only())];
                    failed.extend(failed_before.iter().map(|step| json!(step)));
                    merge(&mut item, json!({ "finished_at": millis(later(3)), "failed_steps": failed }));
                    item
                }
                None => before,
            };
            assert_eq!(sandbox.task_item(id).await, expected, "from {state:?}");

            // Its answer may have been lost: the same write once more.
            assert!(fail(sandbox, &lease(id, &only(), 2), &attempt).await, "again, from {state:?}");
            assert_eq!(sandbox.task_item(id).await, expected, "again, from {state:?}");
        }
    })
    .await;
}

/// A task of four steps beside each other, the first three of which have failed.
async fn three_failed(sandbox: &Sandbox) -> TaskId {
    let id = start(sandbox, &Graph::new([vec![], vec![], vec![], vec![]])).await;
    for number in 0..3 {
        sandbox.put(&step_item(id, &name(number), StepState::InProgress)).await;
        assert!(fail(sandbox, &lease(id, &name(number), 2), &entry(2, Outcome::PermanentError)).await);
    }
    id
}

/// Where the index lists a failed task that something may still happen to by itself: to be looked at after this moment.
fn watched(mut item: Value, id: TaskId, at: Timestamp) -> Value {
    item = listed(item, id, "compensating", at + FIRST_LOOK);
    merge(&mut item, json!({ "status": "error" }));
    item
}

#[tokio::test]
async fn a_task_with_branches_is_looked_at_after_one_of_them_has_failed() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::new([vec![], vec![]])).await;
        let before = sandbox.task_item(id).await;
        sandbox.put(&step_item(id, &only(), StepState::InProgress)).await;
        let attempt = AttemptRecord { finished_at: Some(later(3)), ..entry(2, Outcome::PermanentError) };
        assert!(fail(sandbox, &lease(id, &only(), 2), &attempt).await);
        let mut expected = watched(before, id, later(3));
        merge(&mut expected, json!({ "finished_at": millis(later(3)), "failed_steps": [only()] }));
        assert_eq!(sandbox.task_item(id).await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_task_that_stays_failed_when_a_step_is_resolved_is_looked_at_after_that() {
    in_sandbox(&[], async |sandbox| {
        let id = three_failed(sandbox).await;
        let (read, record) = (task_record(sandbox, id).await, step_record(sandbox, id, &name(1)).await);
        let before = sandbox.task_item(id).await;
        let action = Action { what: ActionKind::ResolveStep, step: Some(name(1)), ..retry(later(9)) };
        assert!(written_if_any(sandbox, task::resolve_step(&read, &record, "{}", &action)).await);
        let mut expected = watched(before, id, later(9));
        merge(&mut expected, json!({ "failed_steps": [name(0), name(2)], "actions": [action] }));
        assert_eq!(sandbox.task_item(id).await, expected);
        assert_eq!(step_record(sandbox, id, &name(1)).await.state, StepState::ResolvedManually);
    })
    .await;
}

async fn failed_records(sandbox: &Sandbox, id: TaskId) -> Vec<StepRecord> {
    let mut steps = Vec::new();
    for number in 0..3 {
        steps.push(step_record(sandbox, id, &name(number)).await);
    }
    steps
}

#[tokio::test]
async fn a_restart_changes_all_failed_steps_and_the_task_or_nothing() {
    in_sandbox(&[], async |sandbox| {
        let id = three_failed(sandbox).await;
        let records = failed_records(sandbox, id).await;
        let read = task_record(sandbox, id).await;
        let before = sandbox.items(id).await;
        let all: Vec<&StepRecord> = records.iter().collect();

        // One of them has been claimed again since, by its number; one too few; one too many.
        let stale = StepRecord { attempt: 1, ..records[1].clone() };
        let pending = StepRecord { attempt: 2, ..StepRecord::untouched(&name(3)) };
        let wrong: [Vec<&StepRecord>; 3] =
            [vec![all[0], &stale, all[2]], vec![all[0], all[1]], vec![all[0], all[1], all[2], &pending]];
        for failed in wrong {
            assert!(!written_if_any(sandbox, task::redrive(&read, &failed, &retry(later(9)))).await);
            assert_eq!(sandbox.items(id).await, before);
        }

        assert!(written_if_any(sandbox, task::redrive(&read, &all, &retry(later(9)))).await);
        let mut expected = listed(before["TASK"].clone(), id, "pending", later(9) + FIRST_LOOK);
        remove(&mut expected, &["failed_steps", "finished_at"]);
        merge(&mut expected, json!({ "actions": [retry(later(9))] }));
        assert_eq!(sandbox.task_item(id).await, expected);
        for number in 0..3 {
            let step = step_record(sandbox, id, &name(number)).await;
            assert_eq!((step.state, step.attempt, step.exempt, step.error), (StepState::Pending, 2, 2, None));
        }

        // What has been restarted is not restarted again.
        let after = sandbox.items(id).await;
        assert!(!written_if_any(sandbox, task::redrive(&read, &all, &retry(later(10)))).await);
        assert_eq!(sandbox.items(id).await, after);
    })
    .await;
}

#[tokio::test]
async fn a_restart_sees_that_another_step_has_failed_meanwhile() {
    in_sandbox(&[], async |sandbox| {
        let id = three_failed(sandbox).await;
        let records = failed_records(sandbox, id).await;
        let read = task_record(sandbox, id).await;
        sandbox.put(&step_item(id, &name(3), StepState::InProgress)).await;
        assert!(fail(sandbox, &lease(id, &name(3), 2), &entry(2, Outcome::PermanentError)).await);
        let before = sandbox.items(id).await;
        let failed: Vec<&StepRecord> = records.iter().collect();
        assert!(!written_if_any(sandbox, task::redrive(&read, &failed, &retry(later(9)))).await);
        assert_eq!(sandbox.items(id).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_task_is_restarted_where_its_state_allows() {
    in_sandbox(&[], async |sandbox| {
        for state in TaskState::ALL {
            let id = start(sandbox, &Graph::chain(1)).await;
            put_state(sandbox, id, state, &[&only()]).await;
            sandbox.put(&step_item(id, &only(), StepState::Error)).await;
            let before = sandbox.items(id).await;
            let (task, step) = (task_record(sandbox, id).await, step_record(sandbox, id, &only()).await);
            let legal = state.on(TaskEvent::Restart).is_some();
            let redriven = written_if_any(sandbox, task::redrive(&task, &[&step], &retry(later(9)))).await;
            assert_eq!(redriven, legal, "from {state:?}");
            assert_eq!(sandbox.items(id).await == before, !legal, "from {state:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn as_many_steps_are_restarted_as_can_have_failed() {
    in_sandbox(&[], async |sandbox| {
        // One step that ninety-nine depend on: all of these can fail, and a transaction takes a hundred items.
        let id = start(sandbox, &Graph::new((0..100).map(|step| if step == 0 { vec![] } else { vec![0] }))).await;
        let names: Vec<String> = (1..100).map(name).collect();
        for name in &names {
            sandbox.put(&step_item(id, name, StepState::Error)).await;
        }
        put_state(sandbox, id, TaskState::Failed, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let loaded = sandbox.table.load_all(id).await.unwrap();
        let failed: Vec<&StepRecord> = loaded.steps.values().collect();
        assert_eq!(failed.len(), 99);
        assert!(written_if_any(sandbox, task::redrive(&loaded.task.unwrap(), &failed, &retry(later(9)))).await);
    })
    .await;
}

#[tokio::test]
async fn arrivals_are_a_set() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::fan(2)).await;
        let set = |numbers: &[usize]| numbers.iter().copied().map(name).collect::<BTreeSet<String>>();
        let join = name(3);
        for (done, arrived) in [(2, vec![2]), (2, vec![2]), (1, vec![1, 2]), (2, vec![1, 2])] {
            for arrival in [
                step::record_join_arrival(id, &join, &name(done), later(5)),
                task::record_leaf_arrival(id, &name(done)),
            ] {
                let answer = sandbox.table.apply(&arrival).await.unwrap();
                assert_eq!((answer.is_written(), answer.done_deps()), (true, set(&arrived)));
            }
        }
        assert_eq!(
            step_record(sandbox, id, &join).await,
            StepRecord { done_deps: set(&[1, 2]), ..StepRecord::untouched(&join) }
        );
        assert_eq!(task_record(sandbox, id).await.done_deps, set(&[1, 2]));
        assert_eq!(sandbox.step_item(id, &join).await["expires_at"], json!((later(5) + RETENTION).as_seconds()));

        // An arrival at a task that is not there leaves nothing behind.
        let gone = TaskId::new();
        assert!(!written(sandbox, &task::record_leaf_arrival(gone, &name(1))).await);
        assert!(sandbox.items(gone).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_index_lists_a_task_once_under_its_status() {
    in_sandbox(&[], async |sandbox| {
        let listed_under = async |id: TaskId| {
            let mut found = Vec::new();
            for listing in Listing::ALL.map(Listing::as_str) {
                for item in sandbox.listed(&shard(id, listing)).await {
                    assert_eq!(item["pk"], json!(format!("TASK#{id}")));
                    found.push((listing, item["listed_at"].clone(), item.get("failed_steps").cloned()));
                }
            }
            found
        };
        let id = start(sandbox, &Graph::chain(1)).await;
        assert_eq!(listed_under(id).await, [("pending", json!(NOW + FIRST_LOOK), None)]);

        sandbox.put(&step_item(id, &only(), StepState::InProgress)).await;
        let attempt = AttemptRecord { finished_at: Some(later(1)), ..entry(2, Outcome::PermanentError) };
        assert!(fail(sandbox, &lease(id, &only(), 2), &attempt).await);
        assert_eq!(listed_under(id).await, [("error", json!(later(1)), Some(json!([only()])))]);

        let (read, failed) = (task_record(sandbox, id).await, step_record(sandbox, id, &only()).await);
        assert!(written_if_any(sandbox, task::redrive(&read, &[&failed], &retry(later(2)))).await);
        assert_eq!(listed_under(id).await, [("pending", json!(later(2) + FIRST_LOOK), None)]);

        finish(sandbox, id, later(3)).await.unwrap();
        assert_eq!(listed_under(id).await, [("complete", json!(later(3)), None)]);
    })
    .await;
}
