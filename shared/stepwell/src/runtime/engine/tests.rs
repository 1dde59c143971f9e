//! What a newer version has written, in the hands of this one: acted on where it allows that, else shown and left alone.

use super::*;
use crate::{
    ActionError, Filter,
    core::{
        format::{NEWER_FORMAT, READS},
        item::{Item, attribute},
        message::DEAD_LETTERS,
        state::{StepState, TaskStatus},
        transition::Change,
    },
    runtime::watchdog::{Bounds, Report, Watchdog},
    testing::{
        Harness,
        fixtures::staged::{Log, by, graph, no},
    },
};
use serde_json::json;
use std::sync::Arc;
use test_case::test_case;
use uuid::Uuid;

const NEWER: i64 = READS + 1;
const MINUTE: Duration = Duration::from_secs(60);

fn step(task: TaskId, name: &str) -> Key {
    Key::Step(task, name.to_owned())
}

/// A newer version changes the item: it needs this reader now, and these attributes are new to us.
fn renew(harness: &Harness, key: &Key, needs: i64, more: Vec<Change>) {
    let format = [Change::Set(attribute::V, NEWER.into()), Change::Set(attribute::NEEDS, needs.into())];
    let unknown = Change::Set("priority", json!({"level": 3}));
    harness.memory().store.force(key.clone(), format.into_iter().chain([unknown]).chain(more).collect()).unwrap();
}

fn items<const N: usize>(harness: &Harness, keys: &[Key; N]) -> [Item; N] {
    keys.each_ref().map(|key| harness.memory().store.item(key))
}

/// Each of these queues hands out one message about a step, and has to keep it.
async fn is_kept(harness: &Harness, messages: &[(&str, TaskId, &str)]) {
    harness.lose_messages();
    for (queue, task, step) in messages {
        harness.put_message(queue, json!({ "task_id": task, "step": step }).to_string());
        harness.run_for(Duration::ZERO).await.unwrap();
        assert!(harness.memory().queue.holds_any_of(*task), "{queue} keeps its message");
        harness.lose_messages();
    }
}

async fn watch(harness: &Harness) -> Report {
    harness.skip(MINUTE).await;
    let clock = harness.memory().ambient.clone();
    let watchdog = Watchdog::new(harness.ports(), harness.ports(), clock);
    watchdog.run(Bounds { until: harness.now() + MINUTE, tasks: 100 }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn field_that_is_not_known_stays_where_the_item_lets_this_version_act() {
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

#[test_case("pending", TaskStatus::Pending; "in a state that is known")]
#[test_case("error", TaskStatus::Error; "in a state in which it could be retried")]
#[test_case("suspended", TaskStatus::Pending; "in a state that is not known")]
#[tokio::test(start_paused = true)]
async fn newer_task_is_shown_and_left_alone(word: &str, shown: TaskStatus) {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[], &[0]], &[0], "");
    let task = harness.begin().await;
    let key = [Key::Task(task)];
    renew(&harness, &key[0], NEWER, vec![Change::Set(attribute::STATUS, word.into())]);
    let before = items(&harness, &key);

    is_kept(&harness, &[("s0", task, "s0"), (DEAD_LETTERS, task, "s0")]).await;
    let step = harness.step(task, "s0");
    assert_eq!((step.state, step.attempt, step.exempt), (StepState::Pending, 1, 1), "the claim costs no attempt");
    let report = watch(&harness).await;
    assert_eq!((report.looked_at, report.failed, report.sent), (1, 1, 0));

    let client = harness.client();
    let refused = [
        client.retry(task, &by()).await.map(drop),
        client.cancel(task, &by()).await.map(drop),
        client.compensate(task, &by()).await,
        client.resolve(task, &by()).await,
        client.resolve_step(task, "s0", "1", &by()).await,
    ];
    for refused in refused {
        let Err(ActionError::Newer(newer)) = refused else { panic!("{refused:?}") };
        assert_eq!((newer.v, newer.needs), (NEWER, NEWER));
    }
    let history = client.history(task).await.unwrap().unwrap();
    assert_eq!((history.status(), history.newer().map(|newer| newer.needs)), (shown, Some(NEWER)));
    assert_eq!(client.find(&Filter::default(), None, 10).await.unwrap().tasks.len(), 1, "it is listed");

    assert_eq!((items(&harness, &key), harness.woken()), (before, vec!["s0".to_owned()]), "nothing is written or sent");
    let alarm = format!(
        "code=\"{NEWER_FORMAT}\" error=TASK#{task} was written in format {NEWER} and needs a reader of format {NEWER}, but \
         this version reads up to format {READS}: deploy the newer version again, which goes on with the task"
    );
    let alarms = log.lines(&alarm);
    assert!(alarms.len() == 3 && alarms.iter().all(|line| line.starts_with("ERROR")), "of all three: {alarms:?}");
}

#[tokio::test(start_paused = true)]
async fn newer_step_is_not_claimed_and_its_task_is_left_alone() {
    let (log, _guard) = Log::new();
    let harness = graph(&[&[], &[0]], &[], "");
    let task = harness.begin().await;
    let keys = [Key::Task(task), step(task, "s0")];
    renew(&harness, &keys[1], NEWER, vec![Change::Set(attribute::STATE, "suspended".into())]);
    let before = items(&harness, &keys);
    is_kept(&harness, &[("s0", task, "s0"), ("s1", task, "s1"), (DEAD_LETTERS, task, "s0")]).await;
    assert!(matches!(harness.client().cancel(task, &by()).await, Err(ActionError::Newer(_))));
    watch(&harness).await;
    assert_eq!(items(&harness, &keys), before);
    assert_eq!(log.lines(NEWER_FORMAT).len(), 4, "the one that waits for it does not run either");
}

#[tokio::test(start_paused = true)]
async fn step_does_not_fail_in_a_task_that_has_become_newer_while_it_ran() {
    let harness = Arc::new(graph(&[&[]], &[], ""));
    let task = harness.begin().await;
    harness.fail("s0", [no()]);
    let there = Arc::clone(&harness);
    harness.meanwhile("fail", async move { renew(&there, &Key::Task(task), NEWER, Vec::new()) });
    harness.run_for(Duration::ZERO).await.unwrap();
    assert!(harness.memory().queue.holds_any_of(task), "the message is kept");
    let states = (harness.state(task), harness.step(task, "s0").state);
    assert_eq!(states, (TaskState::Running, StepState::InProgress), "neither without the other");
}

#[tokio::test(start_paused = true)]
async fn watchdog_comes_to_what_is_behind_a_page_of_newer_tasks() {
    let harness = graph(&[&[]], &[], "");
    let task = harness.begin().await;
    harness.lose_messages();
    let store = &harness.memory().store;
    let mut newer = store.item(&Key::Task(task));
    newer.insert(attribute::NEEDS.to_owned(), NEWER.into());
    newer.insert(attribute::LISTED_AT.to_owned(), harness.now().to_string().into());
    // More than a page of them, in the same part of the index and before the other one.
    for number in 1..=30 {
        let other = Uuid::from_u128(u128::from_be_bytes(*task.as_bytes()) + (number << 8));
        store.put(Key::Task(TaskId::from(other)), newer.clone()).unwrap();
    }
    let report = watch(&harness).await;
    assert_eq!((report.looked_at, report.failed, report.unfinished), (31, 30, false));
    assert_eq!(harness.woken(), ["s0", "s0"], "the one that is not newer");
}
