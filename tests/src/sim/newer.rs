//! What a newer version has written, in the hands of this one: acted on where it allows that, else shown and left alone.

use super::scene::Scene;
use crate::{
    alarm::Log,
    graph::Graph,
    steps::{Script, name},
};
use serde_json::json;
use stepwell::{
    ActionError, By, Filter,
    core::{
        format::{NEWER_FORMAT, READS},
        item::{Item, Key, attribute},
        state::{StepState, TaskState, TaskStatus},
        transition::{Applied, Change, Condition, Effect, Transition, Write},
    },
    permanent,
    ports::Store,
};
use test_case::test_case;

const NEWER: i64 = READS + 1;

fn by() -> By {
    By::new("somebody", "a test").unwrap()
}

fn done() -> Script {
    Script::new(|_| Ok(json!("done")))
}

impl Scene {
    fn task_key(&self) -> Key {
        Key::Task(self.task)
    }

    fn step_key(&self, number: usize) -> Key {
        Key::Step(self.task, name(number))
    }

    /// The item as it is stored.
    async fn item(&self, key: Key) -> Item {
        let nothing = Change::Remove("no such attribute");
        let write = Write {
            key,
            event: None,
            condition: Condition::Any(Vec::new()),
            guard: Condition::ALWAYS,
            effect: Effect::Change(vec![nothing]),
            made_before: None,
            optional: false,
            answer: stepwell::core::transition::Answer::Nothing,
        };
        match self.table.apply(&Transition { name: "look", writes: vec![write] }).await.unwrap() {
            Applied::Refused(item) => item,
            Applied::Written(item) => panic!("nothing was to be written: {item:?}"),
        }
    }

    /// A newer version changes the item: it needs this reader now, and these attributes are new to us.
    fn renew(&self, key: Key, needs: i64, more: Vec<Change>) {
        let format = [Change::Set(attribute::V, NEWER.into()), Change::Set(attribute::NEEDS, needs.into())];
        let unknown = Change::Set("priority", json!({"level": 3}));
        self.table.force(key, format.into_iter().chain([unknown]).chain(more).collect()).unwrap();
    }
}

#[tokio::test]
async fn field_that_is_not_known_stays_where_the_item_lets_this_version_act() {
    let scene = Scene::new(Graph::chain(1)).await;
    scene.renew(scene.task_key(), READS, Vec::new());
    scene.renew(scene.step_key(0), READS, Vec::new());
    assert!(!scene.deliver(0, done()).await);
    assert_eq!(scene.table.task(scene.task, |task| task.state), TaskState::Completed);
    for key in [scene.task_key(), scene.step_key(0)] {
        let item = scene.item(key).await;
        assert_eq!(item["priority"], json!({"level": 3}));
        assert_eq!(
            (&item["v"], &item["needs"]),
            (&json!(NEWER), &json!(READS)),
            "who made it stays, and what it needs"
        );
    }
}

/// The lines of the alarm.
fn alarms(log: &Log) -> Vec<String> {
    let lines = log.lines().into_iter().filter(|line| line["code"] == NEWER_FORMAT);
    lines.map(|line| format!("{} {}", line["level"].as_str().unwrap(), line["error"].as_str().unwrap())).collect()
}

#[test_case("pending", TaskStatus::Pending; "in a state that is known")]
#[test_case("error", TaskStatus::Error; "in a state in which it could be retried")]
#[test_case("suspended", TaskStatus::Pending; "in a state that is not known")]
#[tokio::test]
async fn newer_task_is_shown_and_left_alone(word: &str, shown: TaskStatus) {
    let (log, _guard) = Log::new();
    let scene = Scene::new(Graph::chain(2).undone([0].into())).await;
    scene.renew(scene.task_key(), NEWER, vec![Change::Set(attribute::STATUS, word.into())]);
    let before = scene.item(scene.task_key()).await;

    assert!(scene.deliver(0, Script::new(|_| panic!("it must not run"))).await, "the message is kept");
    let step = scene.table.step(scene.task, "s00");
    assert_eq!((step.state, step.attempt, step.exempt), (StepState::Pending, 1, 1), "the claim costs no attempt");
    assert_eq!(alarms(&log).len(), 1, "by the worker");

    assert!(scene.bury(&scene.body("s00")).await, "the letter is kept");
    assert_eq!(alarms(&log).len(), 2, "by the reader of dead letters");

    let report = scene.minute().await;
    assert_eq!((report.looked_at, report.failed, report.sent), (1, 1, 0));
    assert_eq!(alarms(&log).len(), 3, "by the watchdog");

    let client = scene.client();
    let refused = [
        client.retry(scene.task, &by()).await.map(drop),
        client.cancel(scene.task, &by()).await.map(drop),
        client.compensate(scene.task, &by()).await,
        client.resolve(scene.task, &by()).await,
        client.resolve_step(scene.task, "s00", "1", &by()).await,
    ];
    for refused in refused {
        let Err(ActionError::Newer(newer)) = refused else { panic!("{refused:?}") };
        assert_eq!((newer.v, newer.needs), (NEWER, NEWER));
    }
    let history = client.history(scene.task).await.unwrap().unwrap();
    assert_eq!((history.status(), history.newer().map(|newer| newer.needs)), (shown, Some(NEWER)));
    let found = client.find(&Filter::default(), None, 10).await.unwrap();
    assert_eq!(found.tasks.len(), 1, "it is listed");

    assert_eq!(scene.item(scene.task_key()).await, before, "nothing is written");
    let text = format!(
        "ERROR TASK#{} was written in format {NEWER} and needs a reader of format {NEWER}, but this version reads up to \
         format {READS}: deploy the newer version again, which goes on with the task",
        scene.task
    );
    assert!(alarms(&log).iter().all(|line| *line == text), "{:?}", alarms(&log));
    assert_eq!(scene.sent(), [""; 0]);
}

#[tokio::test]
async fn newer_step_is_not_claimed_and_its_task_is_left_alone() {
    let (log, _guard) = Log::new();
    let scene = Scene::new(Graph::chain(2)).await;
    scene.renew(scene.step_key(0), NEWER, vec![Change::Set(attribute::STATE, "suspended".into())]);
    let before = [scene.item(scene.task_key()).await, scene.item(scene.step_key(0)).await];
    assert!(scene.deliver(0, Script::new(|_| panic!("it must not run"))).await);
    assert!(scene.deliver(1, Script::new(|_| panic!("it waits for what is not understood"))).await);
    assert!(scene.bury(&scene.body("s00")).await);
    assert!(matches!(scene.client().cancel(scene.task, &by()).await, Err(ActionError::Newer(_))));
    scene.minute().await;
    assert_eq!([scene.item(scene.task_key()).await, scene.item(scene.step_key(0)).await], before);
    assert_eq!(alarms(&log).len(), 4, "{:?}", log.lines());
}

#[tokio::test]
async fn step_does_not_fail_in_a_task_that_has_become_newer_while_it_ran() {
    let scene = Scene::new(Graph::chain(1)).await;
    let there = scene.clone();
    let script = Script::new(move |_| {
        there.renew(there.task_key(), NEWER, Vec::new());
        Err(permanent("NO", "never"))
    });
    assert!(scene.deliver(0, script).await, "the message is kept");
    let (task, step) = (scene.table.task(scene.task, |task| task.state), scene.table.step(scene.task, "s00"));
    assert_eq!((task, step.state), (TaskState::Running, StepState::InProgress), "neither without the other");
}

#[tokio::test]
async fn watchdog_comes_to_what_is_behind_a_page_of_newer_tasks() {
    let scene = Scene::new(Graph::chain(1)).await;
    let place = scene.table.listed(scene.task).unwrap();
    let item = scene.item(scene.task_key()).await;
    // More than a page of them, in the same part of the index and before the other one.
    let last = *scene.task.as_bytes().last().unwrap();
    for number in 0..30u128 {
        let id = (number << 8) | u128::from(last);
        let task = stepwell::TaskId::from(uuid::Uuid::from_u128((0x019b_0000_0000_7000_8000 << 48) | id));
        let mut newer = item.clone();
        newer.insert(attribute::NEEDS.to_owned(), NEWER.into());
        newer.insert(attribute::LISTED_AT.to_owned(), "2027-01-15T08:00:00.000Z".into());
        let write = Write {
            key: Key::Task(task),
            event: None,
            condition: Condition::NoItem,
            guard: Condition::ALWAYS,
            effect: Effect::Create(newer),
            made_before: None,
            optional: false,
            answer: stepwell::core::transition::Answer::Nothing,
        };
        scene.table.apply(&Transition { name: "put", writes: vec![write] }).await.unwrap();
    }
    assert_eq!(scene.table.first_listed(|_| true).unwrap().listing, place.listing);
    let report = scene.watch(100).await;
    assert_eq!((report.looked_at, report.failed, report.unfinished), (31, 30, false));
    assert_eq!(scene.sent(), ["s00"], "the one that is not newer");
}
