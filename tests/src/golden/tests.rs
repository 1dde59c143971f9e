//! Reads each fixture through the engine, and compares it with the expected text.

use super::{
    START, at,
    cases::{self, busy, declined, exhausted, longest_failure},
    id,
    server::Server,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt::Display, fs, time::Duration};
use stepwell::{
    TaskId, Timestamp,
    core::{
        index::{IndexEntry, IndexPartition, Page},
        message::{Message, Outgoing},
        plan::StepPlan,
        record::{Action, AttemptRecord, Failure, KeyRecord, StepRecord, TaskRecord},
        snapshot::Loaded,
        task,
    },
    ports::{Queue, Store},
};

/// The expected texts, in the order of the cases, separated by empty lines.
const EXPECTED: &str = include_str!("../../fixtures/v1.txt");

// ---- Formatting what is read

fn moment(moment: Timestamp) -> f64 {
    moment.since(START).as_secs_f64()
}

/// A field with its value; empty without a value.
fn field(name: &str, value: Option<impl Display>) -> String {
    value.map(|value| format!(", {name} {value}")).unwrap_or_default()
}

fn set<'a>(members: impl IntoIterator<Item = &'a String>) -> String {
    members.into_iter().map(String::as_str).collect::<Vec<_>>().join("+")
}

fn non_empty(members: &BTreeSet<String>) -> Option<String> {
    Some(set(members)).filter(|text| !text.is_empty())
}

/// The compensations, of which each waits for the one before it: a task of version 1 has no others.
fn order(compensations: &[StepPlan]) -> String {
    let names: Vec<String> = compensations.iter().map(|compensation| compensation.name.clone()).collect();
    let before = [vec![]].into_iter().chain(names.iter().map(|name| vec![name.clone()]));
    for (compensation, before) in compensations.iter().zip(before) {
        assert_eq!(compensation.depends_on, before, "{}", compensation.name);
    }
    set(&names)
}

fn said_of_error(error: &Failure) -> String {
    let known =
        [("busy", busy()), ("declined", declined()), ("exhausted", exhausted()), ("longest", longest_failure())];
    known
        .into_iter()
        .find(|(_, known)| known == error)
        .map_or_else(|| format!("{error:?}"), |(name, _)| name.to_owned())
}

fn said_of_action(Action { at, what, step, who, why, bulk, rerun_as }: &Action) -> String {
    assert_eq!((*bulk, *rerun_as), (None, None), "no fixture of version 1 has one");
    let of = step.as_ref().map(|step| format!(" of {step}")).unwrap_or_default();
    format!("\n    {what:?} at {}{of} by {who}: {why}", moment(*at))
}

fn said_of_attempt(attempt: &AttemptRecord) -> String {
    let AttemptRecord { number, started_at, finished_at, outcome, error, next_retry_at, .. } = attempt;
    let AttemptRecord { request_id, throttled, refused, .. } = attempt;
    assert!(!throttled && !refused, "no fixture of version 1 has one");
    assert_eq!(*request_id, format!("request-{}", moment(*started_at)));
    let end = finished_at.map(|at| moment(at).to_string()).unwrap_or_default();
    let error = error.as_ref().map(|error| format!(" {}", said_of_error(error))).unwrap_or_default();
    format!(
        "\n    #{number} {}-{end} {outcome:?}{error}{}",
        moment(*started_at),
        field("next", next_retry_at.map(moment))
    )
}

fn said_of_step(step: &StepRecord) -> String {
    let StepRecord { name, state, attempt, uncounted_attempts, owner, started_at, lease_until, next_retry_at, .. } =
        step;
    let StepRecord { finished_at, done_deps, result, error, attempts, omitted_attempts, newer, .. } = step;
    assert!(omitted_attempts.is_empty(), "no fixture of version 1 has any");
    assert_eq!(*newer, None);
    let fields = [
        field("exempt", Some(uncounted_attempts).filter(|uncounted_attempts| **uncounted_attempts > 0)),
        field("owner", owner.as_ref()),
        field("started", started_at.map(moment)),
        field("until", lease_until.map(moment)),
        field("next", next_retry_at.map(moment)),
        field("finished", finished_at.map(moment)),
        field("done", non_empty(done_deps)),
        field("result", result.as_ref()),
        field("error", error.as_ref().map(said_of_error)),
    ];
    let attempts: String = attempts.iter().map(said_of_attempt).collect();
    format!("\n  {name}: {state:?}, attempt {attempt}{}{attempts}", fields.concat())
}

fn said_of_task(task: &TaskRecord, listed: &IndexEntry) -> String {
    let fields = [
        field("finished", task.finished_at.map(moment)),
        field("failed", non_empty(&task.failed_steps)),
        field("done", non_empty(&task.done_deps)),
        field("order", task.compensations.as_deref().map(order)),
    ];
    let actions: String = task.actions.iter().map(said_of_action).collect();
    let place = format!(", listed {:?} {}", listed.place.partition, moment(listed.place.at));
    format!("\n  {:?}{}{place}{actions}", task.state, fields.concat())
}

/// The index entry of a fixture's task. There has to be exactly one.
async fn listed(table: &impl Store, task: TaskId) -> IndexEntry {
    let mut found = Vec::new();
    for partition in IndexPartition::ALL {
        let page = Page { partition, shard: IndexPartition::shard(task), until: None, after: None, limit: 10 };
        found.extend(table.list(&page).await.unwrap());
    }
    let [only] = found.try_into().unwrap_or_else(|found| panic!("{task} is listed once: {found:?}"));
    only
}

#[tokio::test]
async fn short_page_is_not_the_last_and_an_unreadable_entry_is_left_out() {
    let ids: Vec<TaskId> = (1..=5u128).map(|number| TaskId::from(uuid::Uuid::from_u128(number << 8))).collect();
    let entry = |pk: String| {
        let text = |value: &str| json!({ "S": value });
        json!({
            "pk": text(&pk), "sk": text("TASK"), "status_shard": text("pending#0"), "status": text("pending"),
            "listed_at": text("2023-11-14T22:13:20.000Z"), "workflow": text("tests/test@1.0.0"),
        })
    };
    let mut items: Vec<Value> = ids.iter().map(|id| entry(format!("TASK#{id}"))).collect();
    items.insert(2, entry("TASK#nobody".to_owned()));
    let table = Server::with_short_pages(items).table().await;
    let page = |after, limit| Page { partition: IndexPartition::Pending, shard: 0, until: None, after, limit };
    let first = table.list(&page(None, 3)).await.unwrap();
    assert_eq!(first.iter().map(|entry| entry.place.task).collect::<Vec<_>>(), ids[..3]);
    let rest = table.list(&page(Some(&first[2].place), 3)).await.unwrap();
    assert_eq!(rest.iter().map(|entry| entry.place.task).collect::<Vec<_>>(), ids[3..]);
}

#[tokio::test]
async fn stored_items_of_version_1_are_read() {
    let (cases, expected) = (cases::all(), EXPECTED.trim_end().split("\n\n").skip(1));
    assert_eq!(cases.len(), expected.clone().count());
    for (case, expected) in cases.iter().zip(expected) {
        let (name, id) = (case.name, case.task());
        let table = Server::of(name).table().await;
        let Loaded { task, steps } = table.load_all(id).await.unwrap();
        let some = table.load(id, &steps.keys().map(String::as_str).collect()).await.unwrap();
        assert_eq!((&some.task, &some.steps), (&task, &steps), "{name}: on the other way on which tasks are read");

        let mut said = name.to_owned();
        if let Some((task, start)) = task.as_ref().zip(case.start()) {
            let listed = listed(&table, id).await;
            said += &said_of_task(task, &listed);
            let TaskRecord { workflow, created_at, failed_steps, .. } = task.clone();
            let place = listed.place.clone();
            assert_eq!(place.task, id);
            let mut to_run = task.compensations.iter().flatten();
            let needs_person =
                task.state.is_compensating() && to_run.any(|compensation| failed_steps.contains(&compensation.name));
            assert_eq!(
                listed,
                IndexEntry { place, workflow, status: task.state.status(), created_at, failed_steps, needs_person }
            );
            let as_started = TaskRecord {
                state: task.state,
                finished_at: task.finished_at,
                failed_steps: task.failed_steps.clone(),
                done_deps: task.done_deps.clone(),
                compensations: task.compensations.clone(),
                actions: task.actions.clone(),
                ..TaskRecord::from(&start)
            };
            assert_eq!(*task, as_started, "{name}: all else is as at its start");
        }
        said.extend(steps.values().map(said_of_step));
        assert_eq!(said, expected);
    }
}

// ---- Idempotency keys and messages

#[tokio::test]
async fn idempotency_key_is_read_by_a_repeated_start() {
    let first = cases::idempotency_key();
    let second = KeyRecord { task: id(99), request_hash: "another".to_owned(), created_at: at(60), ..first.clone() };
    let reserved = Server::of("idempotency-key").table().await.apply(&task::reserve_key(&second)).await.unwrap();
    assert_eq!(task::reserved_key(second, reserved).unwrap(), first);
}

/// A message with each form of the body, by its name in the fixture.
fn messages() -> [(&'static str, Message); 3] {
    let message = |step: &str, load: &[&str], repeat| Message {
        task_id: id(1),
        step: step.to_owned(),
        load: load.iter().map(|&name| name.to_owned()).collect(),
        repeat,
        delayed: false,
        hops: 0,
        hops_since: None,
    };
    [
        ("first", message("charge", &[], false)),
        ("repeat", message("charge", &[], true)),
        ("with-load", message("ship", &["charge", "reserve"], true)),
    ]
}

#[tokio::test]
async fn messages_are_sent_as_version_1_sent_them() {
    let server = Server::default();
    let queue = server.queue().await;
    for (_, message) in messages() {
        queue.send(&Outgoing { workflow: "checkout".to_owned(), message, delay: Duration::ZERO }).await.unwrap();
    }
    queue.reject("", "not a message").await.unwrap();
    let names = messages().map(|(name, _)| name).into_iter().chain(["undeliverable"]);
    // Version 1 named a queue by its step alone. Queue names depend on the deployment, and are not stored.
    let sent = server.sent().into_iter().map(|mut sent| {
        let url = sent["QueueUrl"].as_str().unwrap();
        if !url.ends_with("/undeliverable") {
            let step = url.strip_prefix("http://localhost/queues/checkout-").expect("a queue of the workflow's");
            sent["QueueUrl"] = format!("http://localhost/queues/{step}").into();
        }
        sent
    });
    let sent: Value = names.map(str::to_owned).zip(sent).collect();
    super::compare("messages", &sent);
}

#[test]
fn messages_are_read() {
    let sent = super::read("messages");
    for (name, message) in messages() {
        let body = sent[name]["MessageBody"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Message>(body).unwrap(), message, "{name}");
    }
}

/// No fixture may be forgotten here.
#[test]
fn every_fixture_is_read() {
    let files = fs::read_dir(super::path("x").parent().unwrap()).unwrap();
    let found: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let cases = cases::all();
    let read = cases.iter().map(|case| case.name).chain(["idempotency-key", "messages"]);
    assert_eq!(found, read.map(|name| format!("{name}.json")).collect());
    assert_eq!(found.len(), 31);
}
