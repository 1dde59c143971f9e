//! Finding tasks page by page.

use crate::{
    Before, Cursor, FailureKind, Filter, SearchValue, TaskId,
    core::{
        index::IndexPartition,
        item::attribute,
        record::NewTask,
        settlement::Settlement,
        state::{End, TaskState, TaskStatus},
        task,
        transition::Change,
    },
    permanent,
    ports::{Store, settle_first},
    testing::{
        Harness, StepFault, VirtualClock,
        fixtures::staged::{Log, actor, graph, no, workflow},
    },
};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);

/// The matching tasks, page by page.
async fn pages(harness: &Harness, filter: &Filter, limit: usize) -> Vec<Vec<TaskId>> {
    let (mut pages, mut next) = (Vec::new(), None);
    loop {
        let found = harness.client().find(filter, next.as_ref(), limit).await.unwrap();
        pages.push(found.tasks.into_iter().map(|task| task.task_id).collect());
        // The client gets the cursor as a text and sends it back.
        match found.next {
            Some(cursor) => next = Some(cursor.to_string().parse().unwrap()),
            None => return pages,
        }
    }
}

async fn found(harness: &Harness, filter: Filter) -> BTreeSet<TaskId> {
    pages(harness, &filter, 1_000).await.concat().into_iter().collect()
}

/// A task whose step has failed with this error code.
async fn failed(harness: &Harness, step: &str, code: &str) -> TaskId {
    harness.fail(step, [StepFault::Error(permanent(code, ""))]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    task
}

/// Writes this many tasks into one shard of the index, a second after each other.
fn written_in_one_shard(harness: &Harness, count: u64) -> Vec<TaskId> {
    let workflow = workflow(&[&[]], &[], "");
    let write = |number: u64| {
        let id = TaskId::from(Uuid::from_u64_pair(0x0190_0000_0000_7000, 0x8000_0000_0000_0000 | (number << 8)));
        let (workflow, plan) = (workflow.id().to_string(), workflow.plan());
        let created_at = harness.now() + SECOND * u32::try_from(number).unwrap();
        let new = NewTask { correlation_id: None, id, workflow, context: "null", plan, created_at };
        assert!(harness.memory().store.apply_observed(&task::create(&new), |_| ()).unwrap().is_written());
        id
    };
    (0..count).map(write).collect()
}

#[tokio::test(start_paused = true)]
async fn task_is_found_by_the_word_of_its_status_in_every_partition() {
    let harness = graph(&[&[]], &[0], "compensate: manual,");
    let client = harness.client();
    let running = harness.begin().await;
    harness.lose_messages();
    let complete = harness.begin().await;
    harness.run(complete).await.unwrap();
    let failed_task = failed(&harness, "s0", "NO").await;
    let [compensated, cancelled, resolved] =
        [failed(&harness, "s0", "NO").await, harness.begin().await, harness.begin().await];
    harness.lose_messages();
    client.compensate(compensated, &actor()).await.unwrap();
    harness.run(compensated).await.unwrap();
    client.cancel(cancelled, &actor()).await.unwrap();
    client.resolve(resolved, &actor()).await.unwrap();
    let undone = harness.begin().await;
    harness.lose_messages();
    let stuck = failed(&harness, "s0", "NO").await;
    client.cancel(undone, &actor()).await.unwrap();
    client.compensate(undone, &actor()).await.unwrap();
    client.compensate(stuck, &actor()).await.unwrap();
    harness.lose_messages();

    for (status, expected) in [
        (TaskStatus::Complete, vec![complete]),
        (TaskStatus::Compensating, vec![stuck]),
        (TaskStatus::ResolvedManually, vec![resolved]),
    ] {
        assert_eq!(
            found(&harness, Filter { status: Some(status), ..Filter::default() }).await,
            expected.into_iter().collect(),
            "{status}"
        );
    }
    // Only the steps distinguish `pending` and `in_progress`. A compensated task has the word of its end.
    for status in [TaskStatus::Pending, TaskStatus::InProgress] {
        assert!(
            found(&harness, Filter { status: Some(status), ..Filter::default() }).await.contains(&running),
            "{status}"
        );
    }
    for (status, undone, not_undone) in
        [(TaskStatus::Error, compensated, failed_task), (TaskStatus::Cancelled, undone, cancelled)]
    {
        let of = async |compensated| {
            found(&harness, Filter { status: Some(status), compensated, ..Filter::default() }).await
        };
        assert_eq!(of(None).await, [undone, not_undone].into(), "{status}");
        assert_eq!(of(Some(true)).await, [undone].into(), "{status}");
        assert_eq!(of(Some(false)).await, [not_undone].into(), "{status}");
    }
    assert_eq!(found(&harness, Filter::default()).await.len(), 8);
    let end = Filter { status: Some(TaskStatus::Compensated(End::Error)), ..Filter::default() };
    assert_eq!(found(&harness, end).await, [compensated, failed_task].into());
}

#[tokio::test(start_paused = true)]
async fn failed_task_is_found_while_the_engine_may_still_act_on_it() {
    let harness = graph(&[&[]], &[0], "compensate_after_seconds: 3600,");
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap();
    assert_eq!(harness.memory().store.listed(task).unwrap().partition, IndexPartition::Compensating);
    let of = async |status| found(&harness, Filter { status: Some(status), ..Filter::default() }).await;
    assert_eq!(of(TaskStatus::Error).await, [task].into());
    assert_eq!(of(TaskStatus::Compensating).await, [].into());
}

#[tokio::test(start_paused = true)]
async fn task_is_found_by_workflow_failed_step_error_code_and_start() {
    let harness = graph(&[&[], &[0]], &[], "name: checkout, namespace_name: shop, version: 1.2.0,");
    let declined = failed(&harness, "s0", "DECLINED").await;
    harness.skip(SECOND).await;
    let begun = harness.now();
    let late = failed(&harness, "s1", "LATE").await;
    let fine = harness.begin().await;
    let both: BTreeSet<TaskId> = [declined, late].into();
    let all: BTreeSet<TaskId> = [declined, late, fine].into();
    let none = BTreeSet::new();
    let workflow = |name: &str| Filter { workflow: Some(name.to_owned()), ..Filter::default() };
    let step = |name: &str| Filter { failed_step: Some(name.to_owned()), ..Filter::default() };
    let code = |code: &str| Filter { error_code: Some(code.to_owned()), ..Filter::default() };
    let next = begun + Duration::from_millis(1);
    let from = |moment| Filter { created_from: Some(moment), ..Filter::default() };
    let before = |moment| Filter { created_before: Some(moment), ..Filter::default() };
    for (filter, expected) in [
        (workflow("shop/checkout"), all.clone()),
        (workflow("shop/checkout@1.2.0"), all.clone()),
        (workflow("shop/checkout@1.2.1"), none.clone()),
        (workflow("shop/check"), none.clone()),
        (workflow("checkout"), all.clone()),
        (workflow("checkout@1.2.0"), all.clone()),
        (workflow("shop"), none.clone()),
        (step("s0"), [declined].into()),
        (step("s1"), [late].into()),
        (code("LATE"), [late].into()),
        (code("OTHER"), none.clone()),
        (Filter { failed_step: Some("s0".to_owned()), ..code("LATE") }, none.clone()),
        (Filter { failed_step: Some("s1".to_owned()), ..code("LATE") }, [late].into()),
        (Filter { status: Some(TaskStatus::Error), ..Filter::default() }, both),
        (from(begun), [late, fine].into()),
        (from(next), none),
        (before(begun), [declined].into()),
        (before(next), all.clone()),
        (Filter::default(), all),
    ] {
        assert_eq!(found(&harness, filter.clone()).await, expected, "{filter:?}");
    }
    let summary = harness.client().find(&step("s0"), None, 10).await.unwrap().tasks.remove(0);
    assert_eq!((summary.workflow.as_str(), summary.status), ("shop/checkout@1.2.0", TaskStatus::Error));
    assert_eq!((summary.failed_steps, summary.created_at), (["s0".to_owned()].into(), VirtualClock::START));
}

#[tokio::test(start_paused = true)]
async fn each_task_is_on_one_page_and_no_page_exceeds_the_limit() {
    let harness = graph(&[&[]], &[], "");
    let mut all = written_in_one_shard(&harness, 230);
    for _ in 0..20 {
        all.push(harness.begin().await);
    }
    let all: BTreeSet<TaskId> = all.into_iter().collect();
    for limit in [1, 7, 100, 125, 1_000] {
        let pages = pages(&harness, &Filter::default(), limit).await;
        assert!(pages.iter().all(|page| page.len() <= limit), "{limit}");
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit), "{limit}");
        let found = pages.concat();
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (all.len(), all.clone()), "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn search_with_few_matches_stops_early_and_can_be_continued() {
    let harness = graph(&[&[]], &[], "");
    let tasks = written_in_one_shard(&harness, 1_050);
    // Tasks at the beginning and at the end of the index.
    let last = harness.now() + SECOND * 1_049;
    let filter = Filter { created_from: Some(last), ..Filter::default() };
    assert_eq!(pages(&harness, &filter, 10).await, [vec![], vec![tasks[1_049]]]);
    let none = Filter { created_from: Some(last + SECOND), ..Filter::default() };
    assert_eq!(pages(&harness, &none, 10).await, [vec![], vec![]], "it reads no further than it has to");
}

#[test]
fn cursor_survives_a_round_trip_and_other_texts_are_refused() {
    let task = TaskId::new();
    for word in ["3".to_owned(), format!("3_-7_{task}")] {
        assert_eq!(word.parse::<Cursor>().unwrap().to_string(), word);
    }
    for word in ["", "x", "-3", "3_7", "3_x_", "3_7_x", &format!("3_x_{task}"), &format!("3_7_{task}_")] {
        let wrong = word.parse::<Cursor>().unwrap_err().to_string();
        assert_eq!(wrong, format!("`{word}` is not a `next` that a list has ended with"));
    }
}

#[tokio::test(start_paused = true)]
async fn find_fails_if_the_index_cannot_be_read() {
    let harness = graph(&[&[]], &[], "");
    harness.fail_call("list", [FailureKind::Throttled]);
    harness.client().find(&Filter::default(), None, 10).await.unwrap_err();
}

fn value() -> SearchValue {
    SearchValue::new("email", "ann@example.com").unwrap()
}

/// The newest tasks, page by page: those with the value, or all.
async fn newest(harness: &Harness, value: Option<&SearchValue>, filter: &Filter, limit: usize) -> Vec<Vec<TaskId>> {
    let (mut pages, mut next) = (Vec::new(), None::<Before>);
    loop {
        let found = harness.client().newest(value, filter, next, limit).await.unwrap();
        pages.push(found.tasks.into_iter().map(|task| task.task_id).collect());
        match found.next {
            Some(before) => next = Some(before.to_string().parse().unwrap()),
            None => return pages,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn newest_tasks_are_found_once_each_whatever_a_page_holds() {
    let harness = graph(&[&[]], &[], "");
    let mut tasks = written_in_one_shard(&harness, 250);
    for task in &tasks {
        harness.memory().apply(&value().put(*task, harness.now())).await.unwrap();
    }
    // An orphan leads to no task, and is passed over.
    harness.memory().apply(&value().put(TaskId::from(Uuid::from_u128(7)), harness.now())).await.unwrap();
    tasks.reverse();
    let (all, running) = (Filter::default(), Filter { status: Some(TaskStatus::Pending), ..Filter::default() });
    for value in [None, Some(&value())] {
        for (filter, limit) in [(&all, 1_000), (&all, 250), (&all, 7), (&running, 7), (&running, 101)] {
            let pages = newest(&harness, value, filter, limit).await;
            let told = format!("{limit} of {value:?}");
            assert!(pages.iter().all(|page| page.len() <= limit), "{told}");
            assert_eq!(pages.concat(), tasks, "{told}");
        }
    }
    let none = Filter { workflow: Some("another".to_owned()), ..Filter::default() };
    assert_eq!(newest(&harness, None, &none, 10).await.concat(), []);
    assert_eq!(newest(&harness, SearchValue::new("email", "bob").as_ref(), &all, 10).await, [vec![]]);
}

#[tokio::test(start_paused = true)]
async fn unreadable_search_key_hides_no_other_task() {
    for broken in 0..3 {
        let harness = graph(&[&[]], &[], "");
        let mut tasks = written_in_one_shard(&harness, 3);
        for task in &tasks {
            harness.memory().apply(&value().put(*task, harness.now())).await.unwrap();
        }
        tasks.reverse();
        let key = value().key(tasks.remove(broken));
        harness.memory().store.force(key, vec![Change::Remove(attribute::TASK_ID)]).unwrap();
        let (log, _guard) = Log::new();
        for limit in [2, 3, 10] {
            let found = newest(&harness, Some(&value()), &Filter::default(), limit).await.concat();
            assert_eq!(found, tasks, "{limit} without {broken}");
        }
        assert!(!log.lines("a search key is left out").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn search_among_the_newest_reads_a_limited_number_and_can_be_continued() {
    let harness = graph(&[&[]], &[], "");
    written_in_one_shard(&harness, 1_050);
    let none = Filter { workflow: Some("another".to_owned()), ..Filter::default() };
    assert_eq!(newest(&harness, None, &none, 10).await, [vec![], vec![]], "1,000 in the first call");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_without_its_search_keys() {
    let harness = graph(&[&[]], &[], "");
    let (workflow, id) = (workflow(&[&[]], &[], ""), TaskId::new());
    let (name, plan, created_at) = (workflow.id().to_string(), workflow.plan(), harness.now());
    let create = task::create(&NewTask { correlation_id: None, id, workflow: name, context: "null", plan, created_at });
    harness.fail_call("put_search_key", [FailureKind::Unavailable]);
    let start = Settlement::of(create).found_by(vec![value().put(id, created_at)]);
    let error = settle_first(&harness.ports(), start.clone()).await.unwrap_err();
    assert!(!error.may_have_taken_effect(), "{error}");
    assert_eq!(harness.memory().store.with_task(id, |_| ()), None);
    // A repeated settlement finds its key there, and goes on.
    harness.memory().apply(&value().put(id, created_at)).await.unwrap();
    settle_first(&harness.ports(), start).await.unwrap();
    assert_eq!(newest(&harness, Some(&value()), &Filter::default(), 10).await, [vec![id]]);
}
