//! Compatibility of versions, in memory: this version acts on what version 1 wrote, and writes only what version 1
//! knows.

use super::{
    START,
    cases::{self, Case},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, env, time::Duration};
use stepwell::{
    Actor, TaskId, Workflow,
    core::{
        item::{Item, Key, attribute},
        record::{ActionKind, NewTask, RerunAs},
        snapshot::TaskSnapshot,
        state::{End, TaskState},
        task,
    },
    ports::Store,
    testing::{Harness, HarnessError, MemoryStore, VirtualClock},
};
use stepwell_simulation::steps::Script;

/// DynamoDB's JSON without the types.
fn plain(typed: &Value) -> Value {
    let (kind, value) = typed.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), value) {
        ("N", Value::String(number)) => serde_json::from_str(number).unwrap(),
        ("L", Value::Array(entries)) => entries.iter().map(plain).collect(),
        ("M", Value::Object(fields)) => Value::Object(plain_fields(fields)),
        _ => value.clone(),
    }
}

fn plain_fields(fields: &Map<String, Value>) -> Item {
    fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

/// DynamoDB's JSON of a value of this attribute.
fn typed(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => json!({ "M": typed_fields(fields) }),
        Value::Array(members) if attribute::is_set(name) => json!({ "SS": members }),
        Value::Array(entries) => json!({ "L": entries.iter().map(|entry| typed("", entry)).collect::<Value>() }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Bool(yes) => json!({ "BOOL": yes }),
        Value::Null => json!({ "NULL": true }),
    }
}

fn typed_fields(fields: &Item) -> Item {
    fields.iter().map(|(name, value)| (name.clone(), typed(name, value))).collect()
}

/// Compares what is written today for a case of a later format with its fixture. It writes a fixture that is missing, where the
/// environment says so. Answers with the fixture's items.
async fn written_as_before(case: &Case, stored: fn(&str) -> Value) -> Vec<(Key, Item)> {
    let store = MemoryStore::default();
    cases::write(&store, case).await;
    held_to_fixture(&store, case.task(), case.name, stored)
}

/// Compares a task with its fixture, as [`written_as_before`] does.
fn held_to_fixture(store: &MemoryStore, task: TaskId, name: &str, stored: fn(&str) -> Value) -> Vec<(Key, Item)> {
    if env::var_os(super::WRITE).is_some() && !super::path(name).exists() {
        let keys = stored_steps(store, task).into_iter().chain([Key::Task(task)]);
        let with_keys = |key: Key| {
            let [pk, sk] =
                [("pk", key.partition()), ("sk", key.sort())].map(|(name, text)| (name.to_owned(), text.into()));
            Value::Object(typed_fields(&store.item(&key).into_iter().chain([pk, sk]).collect()))
        };
        super::write(name, &keys.map(with_keys).collect());
    }
    let items = keyed(&stored(name));
    for (key, item) in &items {
        assert_eq!(store.item(key), *item, "{key}");
    }
    items
}

fn stored_steps(store: &MemoryStore, task: TaskId) -> Vec<Key> {
    let mut steps: Vec<String> = store.all(task).steps.into_keys().collect();
    steps.sort();
    steps.into_iter().map(|step| Key::Step(task, step)).collect()
}

/// The items of a fixture, by their keys.
fn items(fixture: &str) -> Vec<(Key, Item)> {
    keyed(&super::read(fixture))
}

fn keyed(stored: &Value) -> Vec<(Key, Item)> {
    let keyed = stored.as_array().unwrap().iter().map(|item| {
        let mut item = plain_fields(item.as_object().unwrap());
        let [partition, sort] = ["pk", "sk"].map(|name| item.remove(name).unwrap().as_str().unwrap().to_owned());
        let key = match (Key::task_of(&partition), sort.strip_prefix(Key::STEP_PREFIX)) {
            (Some(task), Some(step)) => Key::Step(task, step.to_owned()),
            (Some(task), None) => Key::Task(task),
            (None, _) => cases::idempotency_key().key_of_item(),
        };
        assert_eq!((key.partition(), key.sort()), (partition, sort));
        (key, item)
    });
    keyed.collect()
}

#[tokio::test]
async fn items_of_today_are_those_of_version_1() {
    let store = MemoryStore::default();
    let mut count = 0;
    for (name, _) in cases::write_all(&store).await {
        for (key, item) in keyed(&super::items_of_today(name)) {
            assert_eq!(store.item(&key), item, "{name}: {key}");
            count += 1;
        }
    }
    assert_eq!(store.count(), count, "and there are no others");
}

#[tokio::test(start_paused = true)]
async fn completed_task_of_format_2_is_written_read_and_redriven() {
    let case = cases::with_warning();
    let harness = an_hour_later().await;
    for (key, item) in written_as_before(&case, super::items_of_today).await {
        harness.memory().store.put(key, item).unwrap();
    }
    let task = case.task();
    let put = harness.snapshot(task).await.unwrap();
    let warned: Vec<&str> = put.warnings().iter().map(|warning| warning.step).collect();
    assert_eq!((put.newer(), put.task.state, warned), (None, TaskState::Completed, vec!["mail"]));
    harness.client().redrive(task, &Actor::new("somebody", "a test").unwrap()).await.unwrap();
    let end = harness.run_until(task, |snapshot| snapshot.step("mail").unwrap().state.is_done()).await.unwrap();
    assert_eq!((end.task.state, end.warnings().len()), (TaskState::Completed, 0));
}

#[tokio::test(start_paused = true)]
async fn task_of_format_2_that_never_starts_is_written_and_read() {
    let (name, written, harness) = ("v2/task-never-starts", MemoryStore::default(), an_hour_later().await);
    let id = super::id(46);
    let action = cases::action(61, ActionKind::Cancel, None);
    written.apply(&task::rule_out(id, "shop/checkout@1.0.0".to_owned(), START, &action)).await.unwrap();
    let [(key, item)] = &keyed(&super::items_of_today(name))[..] else { panic!("one item") };
    assert_eq!((key, written.item(key)), (&Key::Task(id), item.clone()));
    harness.memory().store.put(key.clone(), item.clone()).unwrap();
    let read = harness.run(id).await.unwrap();
    assert!(read.task.never_starts() && read.newer().is_none() && read.steps.is_empty(), "{read:?}");
    assert_eq!((harness.sent(), harness.memory().store.item(key)), (vec![], item.clone()));
}

#[tokio::test(start_paused = true)]
async fn compensating_task_of_format_3_is_written_read_and_finished() {
    let case = cases::with_graph();
    let harness = an_hour_later().await;
    for (key, item) in written_as_before(&case, super::read).await {
        harness.memory().store.put(key, item).unwrap();
    }
    let task = case.task();
    let put = harness.snapshot(task).await.unwrap();
    let graph: Vec<_> =
        put.task.compensations.iter().flatten().map(|step| (&*step.name, step.depends_on.join(" "))).collect();
    let after = || "call_back".to_owned();
    assert_eq!(graph, [("call_back", String::new()), ("refund", after()), ("release", after())]);
    assert_eq!((put.newer(), put.is_held_up("release"), put.is_held_up("refund")), (None, true, false));
    harness.run_until(task, |snapshot| snapshot.step("refund").unwrap().state.is_done()).await.unwrap();
    let actor = Actor::new("somebody", "a test").unwrap();
    harness
        .client()
        .resolve_step(task, "release", stepwell::ManualResult { json: "{}", attempts_checked: true }, &actor)
        .await
        .unwrap();
    assert_eq!(harness.run(task).await.unwrap().task.state, TaskState::Compensated(End::Error));
}

#[tokio::test(start_paused = true)]
async fn task_that_was_rerun_and_its_rerun_are_written_and_read() {
    let case = cases::rerun();
    let harness = an_hour_later().await;
    let (old, new) = (case.task(), super::id(cases::RERUN));
    let store = MemoryStore::default();
    let start = NewTask { correlation_id: None, id: new, ..case.start().unwrap() };
    store.apply(&task::create_rerun(&start, old, &[])).await.unwrap();
    let rerun = held_to_fixture(&store, new, "v3/task-of-a-rerun", super::read);
    for (key, item) in written_as_before(&case, super::read).await.into_iter().chain(rerun) {
        harness.memory().store.put(key, item).unwrap();
    }
    let (old, new) = (harness.snapshot(old).await.unwrap().task, harness.snapshot(new).await.unwrap().task);
    let rerun_as = RerunAs { task: new.id, request_hash: cases::idempotency_key().request_hash };
    assert_eq!((old.rerun_as, old.actions.last().unwrap().rerun_as, old.newer), (Some(rerun_as), Some(new.id), None));
    assert_eq!((new.rerun_of, new.newer), (Some(old.id), None));
}

/// The attributes of an item and the kinds of their values: all that a reader of it relies on.
fn shape(kind: &str, value: &Value, shapes: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| shape(&format!("{kind}.{name}"), value, shapes));
        }
        Value::Array(entries) => {
            shapes.insert(format!("{kind}: list"));
            entries.iter().for_each(|entry| shape(&format!("{kind}[]"), entry, shapes));
        }
        Value::String(_) => drop(shapes.insert(format!("{kind}: text"))),
        Value::Number(_) => drop(shapes.insert(format!("{kind}: number"))),
        Value::Bool(_) | Value::Null => drop(shapes.insert(format!("{kind}: {value}"))),
    }
}

fn shapes(items: impl IntoIterator<Item = (Key, Item)>) -> BTreeSet<String> {
    let mut shapes = BTreeSet::new();
    for (key, item) in items {
        shape(key.sort().split('#').next().unwrap(), &Value::Object(item), &mut shapes);
    }
    shapes
}

/// A harness that hosts the steps of all fixtures, an hour after their tasks' start.
async fn an_hour_later() -> Harness {
    let workflow = "{name: checkout, namespace_name: shop, step_templates: [{name: charge}]}";
    let steps = ["charge", "mail", "reserve", "ship", "refund", "release", "call_back"];
    let harness = Harness::new(Workflow::from_yaml(workflow).unwrap());
    let harness = steps.into_iter().fold(harness, |harness, step| harness.with(step, Script::new(|_| Ok(json!({})))));
    harness.skip(START.since(VirtualClock::START) + Duration::from_secs(60 * 60)).await;
    harness
}

#[tokio::test(start_paused = true)]
async fn tasks_of_version_1_reach_their_end_and_stay_readable_for_version_1() {
    let cases = cases::all();
    let known = shapes(cases.iter().flat_map(|case| items(case.name)));
    assert!(known.contains("STEP.attempts[].error.code: text"), "{known:?}");
    let mut acted_on = 0;
    // Steps without a task are never run.
    for case in cases.iter().filter(|case| case.start().is_some()) {
        let (name, task, harness) = (case.name, case.task(), an_hour_later().await);
        let store = &harness.memory().store;
        items(name).into_iter().for_each(|(key, item)| store.put(key, item).unwrap());
        let put = harness.snapshot(task).await.unwrap();
        let looked_at = |snapshot: &TaskSnapshot| {
            let steps = snapshot.steps.iter().chain(&snapshot.compensations);
            let keys = steps.map(|step| Key::Step(task, step.name.clone())).chain([Key::Task(task)]);
            let written = shapes(keys.map(|key| (key.clone(), store.item(&key))));
            assert_eq!(written.difference(&known).next(), None, "{name}: version 1 does not know this");
            false
        };
        let Err(HarnessError::NeverThere { snapshot: end, .. }) = harness.run_until(task, looked_at).await else {
            panic!("{name} does not come to rest")
        };
        acted_on += usize::from(*end != put);
        let open = matches!(end.task.state, TaskState::Running | TaskState::Compensating(_));
        assert_eq!(open, name == "task-compensating-failed", "{name}: {end:?}; that one waits for somebody");
    }
    assert!(acted_on > 10, "only {acted_on} were acted on");
}
