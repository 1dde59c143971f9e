use super::*;
use crate::{
    BulkError, FailureKind, Filter, NewBulk, Pace, Workflow,
    core::{
        bulk::BulkResults,
        item::{Key, attribute},
        record::{Action, ActionKind, NewTask},
        state::{End, StepState, TaskState, TaskStatus},
        task,
        transition::Change,
    },
    runtime::client::SAMPLE,
    testing::{
        CrashAt, CrashablePorts, Harness, Memory, VirtualClock,
        fixtures::staged::{Log, NEWER, actor, graph, no, renew, workflow},
    },
};
use std::collections::BTreeMap;
use test_case::test_case;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type Runner = BulkRunner<CrashablePorts<Memory<VirtualClock>>, CrashablePorts<Memory<VirtualClock>>, VirtualClock>;

fn runner(harness: &Harness) -> Runner {
    BulkRunner::new(harness.ports(), harness.ports(), harness.memory().runtime.clone())
}

/// One run, as long as the watchdog's function lives.
async fn run(harness: &Harness) -> BulkReport {
    runner(harness).run(harness.now() + 45 * SECOND).await.unwrap()
}

fn status(status: TaskStatus) -> Filter {
    Filter { status: Some(status), ..Filter::default() }
}

fn redrive(filter: Filter, pace: u32) -> NewBulk {
    let pace = Pace::per_minute(pace).unwrap();
    NewBulk { action: BulkAction::Redrive, filter, pace, expected: 1, or_more: true, request: None }
}

async fn start(harness: &Harness, new: &NewBulk) -> BulkId {
    harness.client().start_bulk(new, &actor(), harness.now() + SECOND).await.unwrap().id
}

async fn bulk(harness: &Harness, id: BulkId) -> BulkRecord {
    harness.client().bulk(id).await.unwrap().unwrap()
}

/// All results, page by page.
async fn results(harness: &Harness, id: BulkId) -> Vec<BulkResult> {
    let (mut results, mut from) = (Vec::new(), 0);
    loop {
        let pages: Vec<BulkResults> = harness.client().bulk_results(id, from, 3).await.unwrap();
        let Some(last) = pages.last().map(|last| last.page) else { return results };
        assert!(pages.iter().all(|page| page.page >= from), "{pages:?}");
        results.extend(pages.into_iter().flat_map(|page| page.results));
        from = last + 1;
    }
}

/// Writes so many failed tasks without going through their steps.
fn failed_tasks(harness: &Harness, count: u64) -> Vec<TaskId> {
    let workflow: Workflow = workflow(&[&[]], &[0], "compensate: manual,");
    let memory = harness.memory();
    let write = |number: u64| {
        let id = TaskId::from(Uuid::from_u64_pair(0x0190_0000_0000_7000, 0x8000_0000_0000_0000 | number));
        let (name, plan) = (workflow.id().to_string(), workflow.plan());
        let new =
            NewTask { correlation_id: None, id, workflow: name, context: "null", plan, created_at: harness.now() };
        assert!(memory.store.apply_observed(&task::create(&new), |_| ()).unwrap().is_written());
        memory.force_step(id, "s0", StepState::Error);
        memory.force_task(id, TaskState::Failed);
        let shard = id.as_bytes()[15] % 16;
        let listed = [
            Change::Set(attribute::STATUS_SHARD, format!("error#{shard}").into()),
            Change::Set(attribute::LISTED_AT, (harness.now() + Duration::from_millis(number)).to_string().into()),
        ];
        memory.store.force(Key::Task(id), listed.into()).unwrap();
        id
    };
    (0..count).map(write).collect()
}

async fn trail(harness: &Harness, task: TaskId) -> Vec<Action> {
    harness.snapshot(task).await.unwrap().task.actions
}

const MANUAL: &str = "compensate: manual,";

#[tokio::test(start_paused = true)]
async fn many_tasks_are_each_redriven_once_at_the_pace() {
    const MANY: u64 = 20_000;
    let harness = graph(&[&[]], &[0], MANUAL).call_by_call();
    let tasks = failed_tasks(&harness, MANY);
    harness.skip(MINUTE).await;
    let failed = status(TaskStatus::Error);
    let count = harness.client().count_bulk(BulkAction::Redrive, &failed, harness.now() + MINUTE).await.unwrap();
    assert_eq!((count.tasks, count.or_more, count.sample.len()), (20_000, false, SAMPLE));
    let new = NewBulk { expected: count.tasks, or_more: false, ..redrive(status(TaskStatus::Error), 2_000) };
    let begun = harness.now();
    let id = start(&harness, &new).await;
    let ports = CrashablePorts::crashing_at(harness.memory().clone(), CrashAt::Before(usize::MAX));
    let runner = BulkRunner::new(ports.clone(), ports.clone(), harness.memory().runtime.clone());
    let mut pages = 0;
    while !bulk(&harness, id).await.state.is_over() {
        pages += runner.run(harness.now() + 45 * SECOND).await.unwrap().pages;
        harness.skip(15 * SECOND).await;
    }
    let took = harness.now().since(begun);
    assert!(took > 9 * MINUTE && took < 12 * MINUTE, "{took:?}");
    let after = bulk(&harness, id).await;
    assert_eq!(
        (after.state, after.done, after.seen(), after.refused),
        (BulkState::Complete, MANY, MANY, BTreeMap::new())
    );
    let results = results(&harness, id).await;
    assert_eq!(results.iter().map(|result| result.task).collect::<BTreeSet<_>>(), tasks.iter().copied().collect());
    assert_eq!((results.len(), pages), (20_000, after.page as usize));
    assert_eq!(harness.sent().len(), 20_000, "one message each");
    for task in tasks {
        let redrives = harness.memory().store.with_task(task, |task| task.actions.len());
        assert_eq!(redrives, Some(1));
    }
    let calls = ports.calls();
    assert!(calls < 20_000 * 3 + pages * 6, "three calls a task, and few a page: {calls}");
}

#[tokio::test(start_paused = true)]
async fn runner_that_dies_at_any_call_leaves_no_task_out_and_acts_on_none_twice() {
    let filter = || status(TaskStatus::Error);
    for number in 0.. {
        let mut crashed = 0;
        for at in [CrashAt::Before(number), CrashAt::After(number)] {
            let harness = graph(&[&[]], &[0], MANUAL).call_by_call();
            let tasks = failed_tasks(&harness, 3);
            harness.skip(MINUTE).await;
            renew(&harness, &Key::Task(tasks[1]), NEWER, Vec::new());
            let id = start(&harness, &redrive(filter(), 100)).await;
            let mortal = CrashablePorts::crashing_at(harness.memory().clone(), at);
            let runner = BulkRunner::new(mortal.clone(), mortal.clone(), harness.memory().runtime.clone());
            let died = mortal.run_until_crash(runner.run(harness.now() + 45 * SECOND)).await.is_none();
            crashed += usize::from(died);
            // What was redriven fails again, and is listed anew.
            let redriven = [tasks[0], tasks[2]].into_iter().filter(|task| harness.state(*task) == TaskState::Running);
            let redriven: Vec<TaskId> = redriven.collect();
            harness.fail("s0", redriven.iter().map(|_| no()));
            for task in redriven {
                harness.run(task).await.unwrap();
                assert_eq!(harness.state(task), TaskState::Failed);
            }
            harness.skip(2 * MINUTE).await;
            run(&harness).await;
            let after = bulk(&harness, id).await;
            assert_eq!(after.state, BulkState::Complete, "{at:?}");
            let results = results(&harness, id).await;
            let refused = BTreeMap::from([(BulkRefusal::NewerFormat, 1)]);
            let unseen = tasks.iter().filter(|task| results.iter().filter(|result| result.task == **task).count() != 1);
            assert_eq!((unseen.count(), after.done, after.refused), (0, 2, refused), "{at:?}: {results:?}");
            for task in [tasks[0], tasks[2]] {
                assert_eq!(trail(&harness, task).await.len(), 1, "{at:?}");
            }
        }
        if crashed == 0 {
            assert!(number > 15, "there are more calls than {number}");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn task_that_fails_again_before_the_end_is_not_redriven_twice() {
    let harness = graph(&[&[]], &[0], MANUAL);
    let tasks = failed_tasks(&harness, 120);
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 50)).await;
    run(&harness).await;
    assert_eq!((bulk(&harness, id).await.page, bulk(&harness, id).await.done), (1, 50), "a page a minute");
    let first: Vec<TaskId> = results(&harness, id).await.into_iter().map(|result| result.task).collect();
    for task in &first {
        harness.fail("s0", [no()]);
        harness.run(*task).await.unwrap();
        assert_eq!(harness.state(*task), TaskState::Failed);
    }
    while !bulk(&harness, id).await.state.is_over() {
        harness.skip(15 * SECOND).await;
        run(&harness).await;
    }
    let results = results(&harness, id).await;
    assert_eq!((results.len(), bulk(&harness, id).await.done), (120, 120), "each has one result");
    for task in tasks {
        assert_eq!(trail(&harness, task).await.len(), 1);
    }
    // A bulk action of its own redrives them again.
    harness.skip(SECOND).await;
    let again = start(&harness, &redrive(status(TaskStatus::Error), 10_000)).await;
    run(&harness).await;
    assert_eq!(bulk(&harness, again).await.done, 50);
    assert_eq!(trail(&harness, first[0]).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_runs_at_a_time_share_the_pages() {
    let harness = graph(&[&[]], &[0], MANUAL).call_by_call();
    let tasks = failed_tasks(&harness, 500);
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 10_000)).await;
    let (one, other) = tokio::join!(run(&harness), run(&harness));
    assert_eq!((one.tasks + other.tasks, one.open, other.open), (500, 1, 1));
    let after = bulk(&harness, id).await;
    assert_eq!((after.state, after.done, results(&harness, id).await.len()), (BulkState::Complete, 500, 500));
    for task in tasks {
        assert_eq!(trail(&harness, task).await.len(), 1);
    }
    assert_eq!(harness.sent().len(), 500);
}

#[tokio::test(start_paused = true)]
async fn trail_says_who_why_and_which_bulk_action() {
    let harness = graph(&[&[]], &[0], MANUAL);
    let [task] = failed_tasks(&harness, 1)[..] else { panic!("one task") };
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 10_000)).await;
    run(&harness).await;
    let trail = trail(&harness, task).await;
    let said: Vec<_> = trail.iter().map(|action| (action.what, action.who.as_str(), action.why.as_str())).collect();
    assert_eq!(said, [(ActionKind::Redrive, actor().who(), actor().why())]);
    assert_eq!(trail[0].bulk, Some(BulkPage { id, page: 1 }));
}

#[tokio::test(start_paused = true)]
async fn stopped_bulk_action_acts_on_no_other_page() {
    let harness = graph(&[&[]], &[0], MANUAL);
    failed_tasks(&harness, 120);
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 50)).await;
    run(&harness).await;
    let stopping = harness.client().stop_bulk(id, &actor()).await.unwrap();
    assert_eq!(stopping.state, BulkState::Stopping);
    assert_eq!(
        harness.client().stop_bulk(id, &actor()).await.unwrap().state,
        BulkState::Stopping,
        "it may be repeated"
    );
    harness.skip(MINUTE).await;
    run(&harness).await;
    let after = bulk(&harness, id).await;
    assert_eq!((after.state, after.done, after.finished_at.is_some()), (BulkState::Stopped, 50, true));
    assert_eq!(run(&harness).await, BulkReport::default(), "nothing is open");
    assert_eq!(harness.sent().len(), 50);
    let other = Actor::new("somebody else", "a test").unwrap();
    let error = harness.client().stop_bulk(id, &other).await.unwrap_err();
    assert_eq!(error.to_string(), "the bulk action is stopped, so it cannot be stopped");
    let unknown = BulkId::from(TaskId::new());
    assert!(matches!(harness.client().stop_bulk(unknown, &other).await, Err(BulkError::NotFound(id)) if id == unknown));
}

#[tokio::test(start_paused = true)]
async fn page_of_a_dead_run_is_recorded_and_not_acted_on_after_a_stop() {
    let harness = graph(&[&[]], &[0], MANUAL).call_by_call();
    let tasks = failed_tasks(&harness, 3);
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 50)).await;
    // A run that dies after the first of three tasks.
    let runner = runner(&harness);
    let record = bulk(&harness, id).await;
    let taken = runner.taken(&record).await.unwrap();
    assert!(runner.engine.apply(&bulk::take_page(&record, &taken)).await.unwrap().is_written());
    assert_eq!(runner.act_on(&taken, tasks[0]).await.unwrap(), Some(BulkResult { task: tasks[0], refused: None }));
    harness.client().stop_bulk(id, &actor()).await.unwrap();
    run(&harness).await;
    assert_eq!(bulk(&harness, id).await.page, 1, "its lease is not over");
    assert!(results(&harness, id).await.is_empty());
    harness.skip(MINUTE).await;
    run(&harness).await;
    let after = bulk(&harness, id).await;
    let refused = BTreeMap::from([(BulkRefusal::Stopped, 2)]);
    assert_eq!((after.state, after.done, after.refused), (BulkState::Stopped, 1, refused));
    assert_eq!(results(&harness, id).await[0], BulkResult { task: tasks[0], refused: None });
    assert_eq!(harness.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bulk_action_is_refused_if_more_match_than_expected_or_the_filter_is_empty() {
    let harness = graph(&[&[]], &[0], MANUAL);
    failed_tasks(&harness, 40);
    harness.skip(MINUTE).await;
    let client = harness.client();
    let until = harness.now() + MINUTE;
    let agreed = |expected| NewBulk { expected, or_more: false, ..redrive(status(TaskStatus::Error), 50) };
    let error = client.start_bulk(&agreed(29), &actor(), until).await.unwrap_err();
    assert_eq!(error.to_string(), "40 tasks match, and 29 were expected; nothing was started");
    client.start_bulk(&agreed(30), &actor(), until).await.unwrap();
    let empty = client.start_bulk(&redrive(Filter::default(), 50), &actor(), until).await;
    assert!(matches!(empty, Err(BulkError::EmptyFilter)));
    let impossible = client.count_bulk(BulkAction::Compensate, &status(TaskStatus::Complete), until).await.unwrap_err();
    assert_eq!(impossible.to_string(), "cannot compensate tasks in complete status");
    assert_eq!(client.bulks().await.unwrap().len(), 1, "nothing else was started");
}

#[tokio::test(start_paused = true)]
async fn count_that_has_no_time_says_that_there_may_be_more() {
    let harness = graph(&[&[]], &[0], MANUAL);
    failed_tasks(&harness, 1_500);
    harness.skip(MINUTE).await;
    let failed = status(TaskStatus::Error);
    let count = harness.client().count_bulk(BulkAction::Redrive, &failed, harness.now()).await.unwrap();
    assert!(count.or_more && count.tasks < 1_500, "{}", count.tasks);
}

#[test_case(BulkAction::Cancel, TaskStatus::Pending, TaskState::Running, TaskState::Cancelled; "running tasks are cancelled")]
#[test_case(BulkAction::Cancel, TaskStatus::Error, TaskState::Failed, TaskState::Cancelled; "failed tasks are cancelled")]
#[test_case(BulkAction::Compensate, TaskStatus::Error, TaskState::Failed, TaskState::Compensating(End::Error); "failed tasks are compensated")]
#[tokio::test(start_paused = true)]
async fn other_actions_are_done_to_all_that_match(
    action: BulkAction,
    of: TaskStatus,
    from: TaskState,
    expected: TaskState,
) {
    let harness = graph(&[&[]], &[0], MANUAL);
    harness.memory().queue.purge();
    for _ in 0..3 {
        if from == TaskState::Failed {
            harness.fail("s0", [no()]);
        }
        let task = harness.begin().await;
        if from == TaskState::Failed {
            harness.run(task).await.unwrap();
        }
    }
    harness.skip(MINUTE).await;
    let id = start(&harness, &NewBulk { action, ..redrive(status(of), 10_000) }).await;
    run(&harness).await;
    assert_eq!(bulk(&harness, id).await.done, 3);
    for result in results(&harness, id).await {
        assert_eq!(harness.state(result.task), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn only_completed_tasks_with_a_warning_are_redriven() {
    let workflow = "{name: graph, namespace_name: tests, step_templates: [{name: s0}, {name: s1, depends_on_step: s0, optional: true}]}";
    let workflow = Workflow::from_yaml(workflow).unwrap();
    let harness = Harness::new(workflow).with_all(crate::testing::Returns("null"));
    let good = harness.begin().await;
    harness.run(good).await.unwrap();
    harness.fail("s1", [no()]);
    let warned = harness.begin().await;
    harness.run(warned).await.unwrap();
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Complete), 10_000)).await;
    run(&harness).await;
    assert_eq!(results(&harness, id).await, [BulkResult { task: warned, refused: None }]);
    harness.run(warned).await.unwrap();
    assert_eq!(harness.snapshot(warned).await.unwrap().warnings().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn outage_of_the_store_repeats_the_page_and_an_unreadable_task_disturbs_no_other() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], MANUAL).call_by_call();
    failed_tasks(&harness, 2);
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 10_000)).await;
    harness.fail_call("redrive", [FailureKind::Throttled; 5]);
    assert_eq!(run(&harness).await, BulkReport { open: 1, failed: 1, ..BulkReport::default() });
    assert_eq!(log.lines("ERROR message=the task could not be acted on").len(), 5);
    harness.skip(MINUTE).await;
    run(&harness).await;
    let after = bulk(&harness, id).await;
    assert_eq!((after.state, after.done, after.seen()), (BulkState::Complete, 2, 2));
    assert_eq!(harness.sent().len(), 2);

    let harness = graph(&[&[]], &[0], MANUAL).call_by_call();
    failed_tasks(&harness, 2);
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 10_000)).await;
    harness.fail_call("redrive", [FailureKind::Refused; 5]);
    run(&harness).await;
    let after = bulk(&harness, id).await;
    assert_eq!((after.done, after.refused.get(&BulkRefusal::Failed), after.state), (1, Some(&1), BulkState::Complete));

    // A message that could not be sent is left to the watchdog.
    let harness = graph(&[&[]], &[0], MANUAL).call_by_call();
    let [task] = failed_tasks(&harness, 1)[..] else { panic!("one task") };
    harness.skip(MINUTE).await;
    start(&harness, &redrive(status(TaskStatus::Error), 10_000)).await;
    harness.fail_call("send", [FailureKind::Unavailable; 9]);
    run(&harness).await;
    assert_eq!(harness.state(task), TaskState::Running);
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Completed);
}

#[tokio::test(start_paused = true)]
async fn bulk_action_of_a_newer_version_is_left_to_it() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[]], &[0], MANUAL);
    failed_tasks(&harness, 2);
    harness.skip(MINUTE).await;
    let id = start(&harness, &redrive(status(TaskStatus::Error), 10_000)).await;
    renew(&harness, &Key::Bulk(id), NEWER, Vec::new());
    assert_eq!(run(&harness).await, BulkReport { open: 1, ..BulkReport::default() });
    assert_eq!(log.lines("code=\"NEWER_FORMAT\"").len(), 1);
    assert!(matches!(harness.client().stop_bulk(id, &actor()).await, Err(BulkError::Newer(_))));
    assert_eq!(bulk(&harness, id).await.state, BulkState::Running, "it is shown");
}
