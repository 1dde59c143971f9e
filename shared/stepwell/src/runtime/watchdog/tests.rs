use super::*;
use crate::{
    FailureKind, TaskId,
    core::{
        id::TaskId as Id,
        item::Key,
        message::StepQueue,
        record::NewTask,
        state::{End, StepState, TaskState, TaskStatus},
        task,
        transition::{Condition, Effect, Transition, Write},
    },
    testing::{
        Harness, VirtualClock,
        fixtures::staged::{Log, NEWER, actor, busy, by_hand, graph, no, renew, workflow},
    },
};
use std::sync::Arc;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Runs the watchdog with a budget of this many tasks.
async fn watch(harness: &Harness, tasks: usize) -> WatchdogReport {
    let clock = harness.memory().runtime.clone();
    let watchdog = Watchdog::new(harness.ports(), harness.ports(), clock);
    watchdog.run(RunBudget { until: harness.now() + MINUTE, tasks }).await.unwrap()
}

/// Runs the watchdog a minute later.
async fn minute(harness: &Harness) -> WatchdogReport {
    harness.skip(MINUTE).await;
    watch(harness, 1_000).await
}

fn listed(harness: &Harness, task: TaskId) -> (IndexPartition, Timestamp) {
    let place = harness.memory().store.listed(task).unwrap();
    (place.partition, place.at)
}

/// Writes a task into this shard of the index without sending its messages.
fn written(harness: &Harness, shard: u8, number: u64) -> Id {
    let (workflow, low) = (workflow(&[&[]], &[], ""), 0x8000_0000_0000_0000 | (number << 8) | u64::from(shard));
    let id = Id::from(Uuid::from_u64_pair(0x0190_0000_0000_7000, low));
    let (plan, created_at) = (workflow.plan(), harness.now());
    let new =
        NewTask { correlation_id: None, id, workflow: workflow.id().to_string(), context: "null", plan, created_at };
    assert!(harness.memory().store.apply_observed(&task::create(&new), |_| ()).unwrap().is_written());
    id
}

#[tokio::test(start_paused = true)]
async fn lost_messages_are_sent_again_after_a_minute() {
    let harness = graph(&[&[], &[]], &[], "");
    let task = harness.begin().await;
    harness.lose_messages();
    harness.skip(MINUTE - SECOND).await;
    assert_eq!(watch(&harness, 10).await, WatchdogReport::default(), "it is not due");
    harness.skip(SECOND).await;
    assert_eq!(watch(&harness, 10).await, WatchdogReport { inspected: 1, sent: 2, ..WatchdogReport::default() });
    assert_eq!(listed(&harness, task), (IndexPartition::Pending, harness.now() + MINUTE));
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
}

#[tokio::test(start_paused = true)]
async fn interval_between_messages_to_a_quiet_task_grows() {
    let harness = graph(&[&[]], &[], "");
    harness.begin().await;
    let mut woken = Vec::new();
    for minute_ in 1..=60_u32 {
        let report = minute(&harness).await;
        assert_eq!((report.sent, report.failed), (report.inspected, 0), "the message is missing at each inspection");
        woken.extend((report.inspected > 0).then_some(minute_));
    }
    assert_eq!(woken, [1, 2, 4, 8, 16, 32]);
    assert_eq!(harness.woken(), vec!["s0"; woken.len() + 1]);
}

#[tokio::test(start_paused = true)]
async fn failed_task_without_running_branches_is_not_inspected_any_more() {
    let harness = graph(&[&[], &[]], &[], "");
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run_for(SECOND).await.unwrap();
    let failed_at = harness.snapshot(task).await.unwrap().task.finished_at.unwrap();
    assert_eq!(listed(&harness, task), (IndexPartition::Compensating, failed_at + MINUTE), "the other branch went on");
    assert_eq!(minute(&harness).await, WatchdogReport { inspected: 1, ..WatchdogReport::default() });
    assert_eq!(listed(&harness, task), (IndexPartition::Error, failed_at));
    assert_eq!(minute(&harness).await, WatchdogReport::default());
}

#[tokio::test(start_paused = true)]
async fn run_reads_pages_until_its_budget_is_used_up() {
    let harness = graph(&[&[]], &[], "");
    for number in 0..60 {
        written(&harness, 0, number);
    }
    written(&harness, 1, 0);
    harness.skip(MINUTE).await;
    let bounded = watch(&harness, 10).await;
    assert_eq!((bounded.inspected, bounded.unfinished), (25, true), "the rest of a page is inspected");
    let rest = watch(&harness, 1_000).await;
    assert_eq!((rest.inspected, rest.sent, rest.unfinished), (36, 36, false));

    let late = written(&harness, 0, 100);
    harness.skip(MINUTE).await;
    let clock = harness.memory().runtime.clone();
    let budget = RunBudget { until: harness.now(), tasks: 1_000 };
    let report = Watchdog::new(harness.ports(), harness.ports(), clock).run(budget).await.unwrap();
    assert_eq!(report, WatchdogReport { unfinished: true, ..WatchdogReport::default() }, "its time is over");
    assert_eq!(listed(&harness, late), (IndexPartition::Pending, harness.now()));
}

#[tokio::test(start_paused = true)]
async fn another_shard_of_the_index_comes_first_each_minute() {
    let harness = graph(&[&[]], &[], "");
    let tasks: Vec<Id> = (0..IndexPartition::SHARDS).map(|shard| written(&harness, shard, 0)).collect();
    let due = harness.now() + MINUTE;
    // The shards of pending tasks come before those of compensating tasks.
    let first = |now: Timestamp| usize::try_from(now.as_seconds() / 60 % 32).unwrap();
    harness.skip(MINUTE).await;
    while first(harness.now()) != 3 {
        harness.skip(MINUTE).await;
    }
    for shard in 3..6 {
        assert_eq!(watch(&harness, 1).await.inspected, 1);
        let moved: Vec<usize> = (0..16).filter(|task| listed(&harness, tasks[*task]).1 != due).collect();
        assert_eq!(moved, (3..=shard).collect::<Vec<_>>());
        harness.skip(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn newer_tasks_do_not_use_up_the_budget() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[], "");
    let newer: Vec<Id> = (0..60).map(|number| written(&harness, 0, number)).collect();
    newer.iter().for_each(|task| renew(&harness, &Key::Task(*task), NEWER, Vec::new()));
    harness.skip(SECOND).await;
    let behind = written(&harness, 0, 100);
    let due = newer.iter().map(|task| listed(&harness, *task)).collect::<Vec<_>>();
    harness.skip(MINUTE).await;
    let expected = WatchdogReport { inspected: 1, sent: 1, newer: 60, ..WatchdogReport::default() };
    assert_eq!(watch(&harness, 10).await, expected, "with a budget of ten tasks");
    assert_eq!(listed(&harness, behind).1, harness.now() + MINUTE);
    assert!(newer.iter().map(|task| listed(&harness, *task)).eq(due), "each keeps its position for the newer watchdog");
    assert_eq!(log.lines("ERROR message=not inspected").len(), 1, "one line keeps the alarm on");
}

#[tokio::test(start_paused = true)]
async fn task_whose_inspection_fails_does_not_block_others() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[], "");
    let tasks = [written(&harness, 0, 0), written(&harness, 0, 1)];
    harness.skip(MINUTE).await;
    harness.fail_call("load_all", [FailureKind::Refused]);
    assert_eq!(
        watch(&harness, 10).await,
        WatchdogReport { inspected: 2, sent: 1, failed: 1, ..WatchdogReport::default() }
    );
    // They are inspected concurrently, so the failure may have been that of either.
    let mut moments = tasks.map(|task| listed(&harness, task).1.since(harness.now()));
    moments.sort_unstable();
    assert_eq!(moments, [MINUTE, 5 * MINUTE]);
    assert_eq!(log.lines("ERROR message=the inspection of the task failed").len(), 1);
    for task in tasks {
        harness.run(task).await.unwrap();
    }

    let broken = written(&harness, 0, 2);
    harness.skip(MINUTE).await;
    let due = harness.now();
    harness.fail_call("send", [FailureKind::Unavailable]);
    harness.fail_call("move_in_index", [FailureKind::Unavailable]);
    let report = minute(&harness).await;
    assert_eq!((report.failed, listed(&harness, broken)), (1, (IndexPartition::Pending, due)), "it is still due");
    assert_eq!(log.lines("ERROR message=the task could not be listed for later").len(), 1);
    assert_eq!(harness.run(broken).await.unwrap().status(), TaskStatus::Complete);
}

#[tokio::test(start_paused = true)]
async fn action_during_an_inspection_is_not_overwritten() {
    let (log, _guard) = Log::new();
    let moved = || log.lines("DEBUG message=moved in the index by another process meanwhile").len();
    let harness = Arc::new(graph(&[&[]], &[], ""));
    let (task, there) = (harness.begin().await, harness.clone());
    harness.meanwhile("move_in_index", async move { there.client().resolve(task, &actor()).await.unwrap() });
    let report = minute(&harness).await;
    assert_eq!((report.inspected, report.failed), (1, 0));
    assert_eq!(listed(&harness, task), (IndexPartition::ResolvedManually, harness.now()));
    assert_eq!(moved(), 1);
    harness.begin().await;
    assert_eq!((minute(&harness).await.inspected, moved()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn task_deleted_during_a_run_is_skipped() {
    let harness = graph(&[&[]], &[], "");
    let (task, store) = (harness.begin().await, harness.memory().store.clone());
    harness.meanwhile("load_all", async move {
        let delete = Transition::of("delete", Write::new(Key::Task(task), Condition::ALWAYS, Effect::Delete));
        store.apply_observed(&delete, |_| ()).unwrap();
    });
    assert_eq!(minute(&harness).await, WatchdogReport { inspected: 1, ..WatchdogReport::default() });
}

#[tokio::test(start_paused = true)]
async fn interrupted_compensation_is_advanced_by_the_watchdog() {
    let harness = graph(&[&[]], &[0], "").call_by_call();
    harness.fail("s0", [no()]);
    harness.fail_call("order_compensations", [FailureKind::Unavailable; 2]);
    harness.crash("s0", [crate::testing::CrashAt::After("fail")]);
    let task = harness.begin().await;
    harness.run_for(SECOND).await.unwrap();
    harness.lose_messages();
    assert_eq!(harness.state(task), TaskState::Failed);
    let report = minute(&harness).await;
    assert_eq!((report.failed, report.advanced), (1, 0), "the table failed");
    harness.skip(5 * MINUTE).await;
    assert_eq!(watch(&harness, 10).await.failed, 1);
    harness.skip(5 * MINUTE).await;
    assert_eq!(watch(&harness, 10).await, WatchdogReport { inspected: 1, advanced: 1, ..WatchdogReport::default() });
    assert_eq!(harness.woken(), ["s0", "u0"]);
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
}

#[tokio::test(start_paused = true)]
async fn transient_failure_is_redriven_after_the_permanent_one_was_resolved() {
    let harness = graph(&[&[], &[]], &[], "redrives: 1,");
    harness.fail("s0", [no()]);
    harness.fail("s1", [busy(), busy(), busy()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    let looks = async |minutes: u32| {
        let mut looks = 0;
        for _ in 0..minutes {
            looks += minute(&harness).await.inspected;
        }
        looks
    };
    assert!(looks(5).await > 0);
    assert_eq!(looks(60).await, 0, "one of them failed for good, so the engine has nothing more to do");
    harness.client().resolve_step(task, "s0", by_hand("{}"), &actor()).await.unwrap();
    let report = minute(&harness).await;
    assert_eq!((report.inspected, report.advanced), (1, 1));
    assert_eq!(harness.woken()[2..], ["s0", "s1", "s1"], "the first two by the operator, the last by the watchdog");
    assert_eq!(harness.step(task, "s1").state, StepState::Pending);
}

#[tokio::test(start_paused = true)]
async fn run_without_a_limit_of_tasks_goes_on_until_its_time_is_over() {
    let harness = graph(&[&[]], &[], "");
    for number in 0..60 {
        written(&harness, 0, number);
    }
    harness.skip(MINUTE).await;
    // The second page takes the rest of the time.
    for _ in 0..30 {
        harness.meanwhile("move_in_index", async {});
    }
    harness.meanwhile("move_in_index", tokio::time::sleep(2 * MINUTE));
    let bounded = watch(&harness, usize::MAX).await;
    assert_eq!((bounded.inspected, bounded.unfinished), (50, true));
    let rest = watch(&harness, usize::MAX).await;
    assert_eq!((rest.inspected, rest.unfinished), (60, false), "what was listed for later is due by now");
}

#[tokio::test(start_paused = true)]
async fn tasks_that_need_a_person_are_counted_or_not_told_at_all() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], "");
    let watchdog = Watchdog::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
    let count = async || watchdog.count_needs_person(harness.now() + MINUTE).await;
    assert_eq!(count().await, Some(0));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        harness.fail("s0", [no()]);
        harness.fail("u0", [no()]);
        tasks.push(harness.begin().await);
        harness.run(tasks[tasks.len() - 1]).await.unwrap();
    }
    assert_eq!(count().await, Some(3));
    harness.client().resolve_step(tasks[0], "u0", by_hand("{}"), &actor()).await.unwrap();
    assert_eq!(count().await, Some(2));
    assert_eq!(watchdog.count_needs_person(harness.now()).await, None, "no time is left");
    harness.fail_call("list", [FailureKind::Unavailable]);
    assert_eq!(count().await, None);
    let said = |count| format!("INFO message={NEEDS_PERSON} needs_person={count}");
    assert_eq!(log.lines(&format!("INFO message={NEEDS_PERSON}")), [said(0), said(3), said(2)]);
}

#[tokio::test(start_paused = true)]
async fn failed_compensation_is_logged_at_least_hourly_until_it_is_resolved() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], "");
    let failures = || log.lines(&format!("ERROR message={}", recovery::COMPENSATION_FAILED));
    let calls = || log.lines(&format!("ERROR message={}", recovery::COMPENSATION_WAITS));
    harness.fail("s0", [no()]);
    harness.fail("u0", [no()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.task.state.is_compensating()).await.unwrap();
    assert_eq!(failures(), [""; 0]);
    harness.run(task).await.unwrap();
    let once = [format!("ERROR message=compensation failed task_id={task} step=\"u0\" code=\"NO\"")];
    assert_eq!(failures(), once);
    for hour in 1..=5 {
        let before = calls().len();
        for _ in 0..61 {
            minute(&harness).await;
        }
        assert!(calls().len() > before, "nothing was logged in hour {hour}");
    }
    assert_eq!(failures(), once, "the alarm on its rise is not kept on");

    harness.client().resolve_step(task, "u0", by_hand("{}"), &actor()).await.unwrap();
    let called = calls();
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
    for _ in 0..61 {
        minute(&harness).await;
    }
    assert_eq!(calls(), called);
    assert!(harness.now() > VirtualClock::START);
}

/// Its error is of the kind that passes, so it has no last attempt. If it never passes, somebody has to be told.
#[tokio::test(start_paused = true)]
async fn compensation_that_is_retried_for_an_hour_is_logged_until_it_succeeds() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], "");
    let late = || log.lines(&format!("ERROR message={}", recovery::COMPENSATION_LATE));
    harness.fail("s0", [no()]);
    harness.fail("u0", vec![busy(); 60]);
    let task = harness.begin().await;
    let snapshot = harness.run_until(task, |snapshot| snapshot.task.state.is_compensating()).await.unwrap();
    let begun = snapshot.task.finished_at.unwrap_or(harness.now());
    while harness.now() + MINUTE < begun + recovery::COMPENSATION_LATE_AFTER {
        harness.run_for(MINUTE).await.unwrap();
    }
    assert_eq!(late(), [""; 0]);
    harness.run_for(10 * MINUTE).await.unwrap();
    let told = format!("ERROR message={} step=\"u0\" code=\"BUSY\"", recovery::COMPENSATION_LATE);
    assert_eq!(late().first(), Some(&told));
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
}

/// It cannot succeed, which is meant. A pause that goes on is perhaps forgotten.
#[tokio::test(start_paused = true)]
async fn paused_compensation_is_late_once_its_pause_has_lasted_for_long() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], "");
    let late = || log.lines(&format!("ERROR message={}", recovery::COMPENSATION_LATE)).len();
    harness.fail("s0", [no()]);
    let begun = harness.now();
    let queue = StepQueue::new("graph", "u0");
    harness.client().pause(&harness.ports(), &queue, &actor()).await.unwrap();
    harness.begin().await;
    while harness.now() + MINUTE < begun + recovery::COMPENSATION_LATE_AFTER {
        harness.run_for(MINUTE).await.unwrap();
    }
    assert_eq!(late(), 0);
    harness.run_for(2 * recovery::COMPENSATION_LATE_AFTER).await.unwrap();
    assert!(late() > 0, "although nothing has been attempted");
}
