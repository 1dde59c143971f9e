//! Versions after one another, in memory: what version 1 wrote is acted on today, and what is written today is what version 1
//! knows.

use super::{START, cases};
use crate::{events::message, locked::Locked, sim::MemoryTable, steps::Script};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
    time::Duration,
};
use stepwell::{
    Ambient, TaskId, Timestamp,
    core::{
        item::{Item, Key},
        message::Message,
        state::TaskState,
        transition::{Answer, Condition, Effect, Transition, Write},
    },
    ports::{Queue, QueueError, Store},
    runtime::{
        watchdog::{Bounds, Watchdog},
        worker::{Invocation, Worker},
    },
};

/// DynamoDB's own JSON without the types that it names.
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

/// The items of a fixture, with their keys.
fn items(fixture: &str) -> Vec<Item> {
    super::read(fixture).as_array().unwrap().iter().map(|item| plain_fields(item.as_object().unwrap())).collect()
}

/// The names of the fixtures that hold items.
fn fixtures() -> Vec<String> {
    let files = fs::read_dir(super::path("x").parent().unwrap()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap().replace(".json", ""));
    names.filter(|name| name != "messages").collect()
}

#[tokio::test]
async fn items_of_today_are_those_of_version_1() {
    let written: Arc<Locked<BTreeMap<(String, String), Item>>> = Arc::default();
    let kept = written.clone();
    let table = MemoryTable::observed_by(move |write| {
        kept.lock().insert((write.key.partition(), write.key.sort()), write.after.clone());
    });
    let cases = cases::write_all(&table).await;
    for (name, of) in cases {
        let mut today: Vec<Item> = Vec::new();
        for ((partition, sort), item) in written.lock().iter().filter(|((partition, _), _)| *partition == of) {
            let mut item = item.clone();
            item.insert("pk".to_owned(), partition.as_str().into());
            item.insert("sk".to_owned(), sort.as_str().into());
            today.push(item);
        }
        assert_eq!(today, items(name), "{name}");
    }
}

/// Where an item has which kind of value: all that a reader of it relies on.
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

fn kind(sort: &str) -> &str {
    sort.split('#').next().unwrap()
}

/// A moment, and the messages that were sent.
#[derive(Clone, Debug)]
struct Hands {
    now: Arc<Locked<Timestamp>>,
    sent: Arc<Locked<Vec<Message>>>,
}

impl Ambient for Hands {
    fn now(&self) -> Timestamp {
        self.now.get()
    }

    fn draw(&self) -> f64 {
        0.5
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::new()
    }
}

impl Queue for Hands {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.sent.lock().push(message.clone());
        Ok(())
    }

    async fn hide(&self, _: &str, _: &str, _: Duration) -> Result<(), QueueError> {
        Ok(())
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        panic!("{body} was rejected: {reason}");
    }
}

/// Puts the items of a fixture into a table. Answers with their task.
async fn put(table: &MemoryTable, fixture: &str) -> TaskId {
    let mut task = None;
    for mut item in items(fixture) {
        let [partition, sort] = ["pk", "sk"].map(|name| item.remove(name).unwrap().as_str().unwrap().to_owned());
        let of = Key::task_of(&partition).unwrap();
        let key = match sort.strip_prefix(Key::STEP_PREFIX) {
            Some(step) => Key::Step(of, step.to_owned()),
            None => Key::Task(of),
        };
        task = Some(of);
        let write = Write {
            key,
            event: None,
            condition: Condition::NoItem,
            guard: Condition::ALWAYS,
            effect: Effect::Create(item),
            made_before: None,
            optional: false,
            answer: Answer::Nothing,
        };
        table.apply(&Transition { name: "put", writes: vec![write] }).await.unwrap();
    }
    task.unwrap()
}

/// The watchdog wakes what is open, and workers do what it asks for, until nothing more happens by itself.
async fn bring_to_its_end(table: &MemoryTable) {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let hands = Hands { now: Arc::new(Locked::new(START)), sent: Arc::default() };
    for hour in 1..100 {
        hands.now.set(START + HOUR * hour);
        let watchdog = Watchdog::new(table.clone(), hands.clone(), hands.clone());
        watchdog.run(Bounds { until: hands.now() + HOUR, tasks: 10 }).await.unwrap();
        loop {
            let Some(sent) = hands.sent.lock().pop() else { break };
            let done = Script::new(|_| Ok(serde_json::json!({})));
            let worker = Worker::new(sent.step.clone(), done, table.clone(), hands.clone(), hands.clone());
            let invocation = Invocation::new(format!("request-{hour}"), hands.now() + HOUR, hands.now());
            let body = serde_json::to_string(&sent).unwrap();
            worker.handle(&[message("message", &body)], &invocation).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_of_version_1_come_to_their_end_and_stay_readable_for_it() {
    let mut known = BTreeSet::new();
    for item in fixtures().iter().flat_map(|fixture| items(fixture)) {
        shape(kind(item["sk"].as_str().unwrap()), &Value::Object(item.clone()), &mut known);
    }
    assert!(known.contains("STEP.attempts[].error.code: text"), "{known:?}");
    let mut acted_on = 0;
    for fixture in fixtures() {
        // Steps without a task, and a key, are not brought anywhere.
        if !items(&fixture).iter().any(|item| item["sk"] == Key::TASK) {
            continue;
        }
        let written: Arc<Locked<Vec<(Key, Item)>>> = Arc::default();
        let kept = written.clone();
        let table = MemoryTable::observed_by(move |write| kept.lock().push((write.key.clone(), write.after.clone())));
        let task = put(&table, &fixture).await;
        let put = written.lock().len();
        bring_to_its_end(&table).await;
        for (key, item) in written.lock().iter() {
            let mut shapes = BTreeSet::new();
            shape(kind(&key.sort()), &Value::Object(item.clone()), &mut shapes);
            let unknown: Vec<&String> = shapes.difference(&known).collect();
            assert_eq!(unknown, [""; 0], "{fixture}: {key}");
        }
        acted_on += usize::from(written.lock().len() > put);
        let state = table.with_task(task, |task| task.state).unwrap();
        let open = matches!(state, TaskState::Running | TaskState::Compensating(_));
        assert_eq!(open, fixture == "task-compensating-failed", "{fixture}: {state:?}; that one waits for somebody");
    }
    assert!(acted_on > 10, "only {acted_on} were acted on");
}
