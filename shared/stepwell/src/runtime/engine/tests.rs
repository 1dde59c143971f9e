//! Items of newer formats: this version acts on them if `needs` allows it, and only shows them otherwise. And conflicts during
//! compare-and-set.

use super::*;
use crate::{
    ActionError, Filter,
    core::{
        format::{NEWER_FORMAT, READS},
        item::{Item, attribute},
        state::{StepState, TaskStatus},
        transition::Change,
    },
    runtime::watchdog::{RunBudget, Watchdog, WatchdogReport},
    testing::{
        Harness, Memory, VirtualClock,
        fixtures::staged::{Log, NEWER, actor, by_hand, graph, no, renew},
    },
};
use serde_json::json;
use std::{cell::Cell, sync::Arc};
use test_case::test_case;

const MINUTE: Duration = Duration::from_secs(60);

fn step(task: TaskId, name: &str) -> Key {
    Key::Step(task, name.to_owned())
}

fn items<const N: usize>(harness: &Harness, keys: &[Key; N]) -> [Item; N] {
    keys.each_ref().map(|key| harness.memory().store.item(key))
}

/// Delivers a message to each of these steps, and checks that it is kept.
async fn is_kept(harness: &Harness, task: TaskId, steps: &[&str]) {
    harness.lose_messages();
    for step in steps {
        harness.put_message(step, json!({ "task_id": task, "step": step }).to_string());
        harness.run_for(Duration::ZERO).await.unwrap();
        assert!(harness.memory().queue.holds_any_of(task), "{step} keeps its message");
        harness.lose_messages();
    }
}

async fn watch(harness: &Harness) -> WatchdogReport {
    harness.skip(MINUTE).await;
    let clock = harness.memory().runtime.clone();
    let watchdog = Watchdog::new(harness.ports(), harness.ports(), clock);
    watchdog.run(RunBudget { until: harness.now() + MINUTE, tasks: 100 }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn unknown_field_stays_in_an_item_that_this_version_may_act_on() {
    let harness = graph(&[&[]], &[], "");
    let task = harness.begin().await;
    let keys = [Key::Task(task), step(task, "s0")];
    keys.iter().for_each(|key| renew(&harness, key, READS, Vec::new()));
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
    for item in items(&harness, &keys) {
        let stays = [("priority", json!({"level": 3})), ("v", json!(NEWER)), ("needs", json!(READS))];
        assert!(stays.iter().all(|(name, value)| item[*name] == *value), "{item:?}");
    }
}

#[test_case("pending", TaskStatus::Pending; "in a known state")]
#[test_case("error", TaskStatus::Error; "in a state that allows a redrive")]
#[test_case("suspended", TaskStatus::Pending; "in an unknown state")]
#[tokio::test(start_paused = true)]
async fn newer_task_is_shown_but_not_acted_on(word: &str, shown: TaskStatus) {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[], &[0]], &[0], "");
    let task = harness.begin().await;
    let key = [Key::Task(task)];
    renew(&harness, &key[0], NEWER, vec![Change::Set(attribute::STATUS, word.into())]);
    let before = items(&harness, &key);

    is_kept(&harness, task, &["s0"]).await;
    let step = harness.step(task, "s0");
    assert_eq!(
        (step.state, step.attempt, step.uncounted_attempts),
        (StepState::Pending, 1, 1),
        "the claim costs no attempt"
    );
    let report = watch(&harness).await;
    assert_eq!((report.inspected, report.newer, report.sent), (0, 1, 0));

    let client = harness.client();
    let refused = [
        client.redrive(task, &actor()).await.map(drop),
        client.cancel(task, &actor()).await.map(drop),
        client.compensate(task, &actor()).await,
        client.resolve(task, &actor()).await,
        client.resolve_step(task, "s0", by_hand("1"), &actor()).await,
    ];
    for refused in refused {
        let Err(ActionError::Newer(newer)) = refused else { panic!("{refused:?}") };
        assert_eq!((newer.v, newer.needs), (NEWER, NEWER));
    }
    let snapshot = client.snapshot(task).await.unwrap().unwrap();
    assert_eq!((snapshot.status(), snapshot.newer().map(|newer| newer.needs)), (shown, Some(NEWER)));
    assert_eq!(client.find(&Filter::default(), None, 10).await.unwrap().tasks.len(), 1, "it is listed");

    assert_eq!((items(&harness, &key), harness.woken()), (before, vec!["s0".to_owned()]), "nothing is written or sent");
    let alarm = format!(
        "code=\"{NEWER_FORMAT}\" error=TASK#{task} was written in format {NEWER} and needs a reader of format {NEWER}, but \
         this version reads up to format {READS}: deploy the newer version again, which goes on with the task"
    );
    let alarms = log.lines(&alarm);
    assert!(
        alarms.len() == 2 && alarms.iter().all(|line| line.starts_with("ERROR")),
        "one of the worker and one of the watchdog: {alarms:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn newer_step_is_not_claimed_and_its_task_is_not_acted_on() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[], &[0]], &[], "");
    let task = harness.begin().await;
    let keys = [Key::Task(task), step(task, "s0")];
    renew(&harness, &keys[1], NEWER, vec![Change::Set(attribute::STATE, "suspended".into())]);
    let before = items(&harness, &keys);
    is_kept(&harness, task, &["s0", "s1"]).await;
    assert!(matches!(harness.client().cancel(task, &actor()).await, Err(ActionError::Newer(_))));
    watch(&harness).await;
    assert_eq!(items(&harness, &keys), before);
    assert_eq!(log.lines(NEWER_FORMAT).len(), 3, "its dependent does not run either");
}

#[tokio::test(start_paused = true)]
async fn step_does_not_fail_if_its_task_became_newer_meanwhile() {
    let harness = Arc::new(graph(&[&[]], &[], ""));
    let task = harness.begin().await;
    harness.fail("s0", [no()]);
    let there = Arc::clone(&harness);
    harness.meanwhile("fail", async move { renew(&there, &Key::Task(task), NEWER, Vec::new()) });
    harness.run_for(Duration::ZERO).await.unwrap();
    assert!(harness.memory().queue.holds_any_of(task), "the message is kept");
    let states = (harness.state(task), harness.step(task, "s0").state);
    assert_eq!(
        states,
        (TaskState::Running, StepState::InProgress),
        "the step and the task fail together or not at all"
    );
}

/// The number of reads of the task, whether it was settled, and the time it took.
async fn settled(decide: impl Fn(u32) -> Decision<()>) -> (u32, bool, Duration) {
    let memory = Memory::new(VirtualClock::new());
    let engine = Engine { store: memory.clone(), queue: memory.clone(), runtime: memory.runtime };
    let looks = Cell::new(0);
    let settled = engine.settle_as_read(TaskId::new(), |_| {
        looks.set(looks.get() + 1);
        decide(looks.get())
    });
    let settled = settled.await.unwrap().is_some();
    (looks.get(), settled, engine.now().since(VirtualClock::START))
}

#[tokio::test(start_paused = true)]
async fn compare_and_set_retries_with_growing_waits_up_to_the_maximum() {
    // Half of 10, 20, 40 and 80 ms; then of 160 each time.
    let ms = Duration::from_millis;
    let leave_at = |look: u32| move |number| if number < look { Decision::ReadAgain } else { Decision::Leave(()) };
    assert_eq!(settled(leave_at(1)).await, (1, true, ms(0)));
    assert_eq!(settled(leave_at(2)).await, (2, true, ms(5)));
    assert_eq!(settled(leave_at(6)).await, (6, true, ms(5 + 10 + 20 + 40 + 80)));
    assert_eq!(settled(leave_at(20)).await, (20, true, ms(75 + 15 * 80)));
    assert_eq!(settled(leave_at(21)).await, (20, false, ms(75 + 15 * 80)));

    // There is no such task, so nothing of it is written.
    let refused = |_| Decision::Settle(Settlement::of(task::finish(TaskId::new(), VirtualClock::START)), ());
    assert_eq!(settled(refused).await, (20, false, ms(75 + 15 * 80)));
}
