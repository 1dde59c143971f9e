//! Golden fixtures: every kind of item and of message as version 1 of the engine stored it, in `tests/fixtures/v1/`; in
//! `tests/fixtures/v2/` and `tests/fixtures/v3/` tasks of the later formats, which `versions.rs` reads.
//!
//! Tasks stay in the table for 90 days, so a new version has to read what an older one wrote. `DynamoTable` wrote the
//! fixtures into DynamoDB Local ([`write_all`]), and they were read back raw, in DynamoDB's own JSON. `tests.rs` reads
//! each of them through `DynamoTable`, over a stand-in for DynamoDB (`server.rs`), and compares it with the text in
//! `tests/fixtures/v1.txt`. It needs no stack. `tests/tests/it/golden.rs` compares what is written today with them, on
//! a stack.
//!
//! A fixture changes only with a stated change of the stored format. Then the old fixture stays as long as items of its
//! form may exist. tests/README.md, "Golden fixtures", says how they are written.

mod cases;
mod plans;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod versions;

pub use cases::write_all;

use crate::items::{self, Item};
use serde_json::Value;
use std::{env, fs, path::PathBuf, time::Duration};
use stepwell::{TaskId, Timestamp, core::item::Key};
use uuid::Uuid;

/// The environment variable with which the tests write the fixtures instead of comparing with them.
const WRITE: &str = "STEPWELL_WRITE_GOLDEN";

/// The start of every fixture's task: 2027-01-15, 08:00 UTC.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The time this many seconds after the start.
fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

/// The id of the task with this number. Its last digits determine the shard in the index.
fn id(number: u8) -> TaskId {
    TaskId::from(Uuid::from_u128(0x019b_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)))
}

/// The file of a fixture. The name of one that is not of version 1 begins with its folder.
fn path(name: &str) -> PathBuf {
    let (folder, name) = name.split_once('/').unwrap_or(("v1", name));
    [env!("CARGO_MANIFEST_DIR"), "fixtures", folder, &format!("{name}.json")].iter().collect()
}

/// Reads a fixture.
///
/// # Panics
/// There is no fixture of this name.
fn read(name: &str) -> Value {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{}: {error}", path(name).display()));
    serde_json::from_str(&text).expect("a fixture is JSON")
}

/// Compares a value with a fixture, or writes the fixture where the environment says so.
///
/// # Panics
/// The value differs from the fixture.
#[cfg(test)]
fn compare(name: &str, today: &Value) {
    if env::var_os(WRITE).is_some() {
        write(name, today);
    }
    assert_eq!(*today, read(name), "{name} is not written as it was");
}

fn write(name: &str, today: &Value) {
    fs::write(path(name), readable(today, "") + "\n").expect("the fixture can be written");
}

/// Formats JSON for people: an object or list that fits on a line is on one line.
fn readable(value: &Value, indent: &str) -> String {
    const WIDTH: usize = 120;
    let line = value.to_string();
    if indent.len() + line.len() <= WIDTH {
        return line;
    }
    let inner = format!("{indent}  ");
    let lines = |entries: Vec<String>| entries.join(&format!(",\n{inner}"));
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), readable(value, &inner)));
            format!("{{\n{inner}{}\n{indent}}}", lines(fields.collect()))
        }
        Value::Array(entries) => {
            let entries = entries.iter().map(|entry| readable(entry, &inner));
            format!("[\n{inner}{}\n{indent}]", lines(entries.collect()))
        }
        _ => line,
    }
}

/// The items of a fixture as they are written today. They differ in three things. Two mean the same to every version: a step's item
/// expires a week later, so that it never goes before its task's; and the watchdog inspects a failed task only when its redrive, which a
/// message begins, is overdue. And a task that a dead letter has left to a person is listed as such, which an older version does not
/// list, and redrives by its id.
fn items_of_today(name: &str) -> Value {
    let mut items = read(name);
    for item in items.as_array_mut().into_iter().flatten().filter(|item| is_step(item)) {
        let stored: i64 = item["expires_at"]["N"].as_str().and_then(|seconds| seconds.parse().ok()).expect("seconds");
        item["expires_at"]["N"] = (stored + 7 * 24 * 60 * 60).to_string().into();
    }
    for task in items.as_array_mut().into_iter().flatten().filter(|item| !is_step(item)) {
        match name {
            "task-error-restarts-due" => task["listed_at"]["S"] = "2027-01-15T08:03:04.000Z".into(),
            "step-error-delivery-exhausted" => task["status_shard"]["S"] = "needs_person#8".into(),
            _ => {}
        }
    }
    items
}

fn is_step(item: &Value) -> bool {
    item["sk"]["S"].as_str().is_some_and(|key| key.starts_with(Key::STEP_PREFIX))
}

/// Compares the items of a case with its fixture, or writes the fixture where the environment says so.
///
/// # Panics
/// The items differ from the fixture.
pub fn compare_items(name: &str, items: Vec<Item>) {
    let today = items.into_iter().map(items::to_dynamodb_json).collect();
    if env::var_os(WRITE).is_some() {
        write(name, &today);
    } else {
        let mut expected = items_of_today(name);
        expected.as_array_mut().into_iter().flatten().for_each(set_start_shard);
        assert_eq!(today, expected, "{name} is not written as it was");
    }
}

/// DynamoDB's index of the starts has an attribute of its own, which the store adds to a new task, and no version reads.
fn set_start_shard(item: &mut Value) {
    let id = item["pk"]["S"].as_str().filter(|_| item["sk"]["S"] == Key::TASK);
    let digit = id.and_then(|id| id.chars().last()?.to_digit(16));
    if let Some(digit) = digit {
        item["start_shard"] = serde_json::json!({"S": (digit % 4).to_string()});
    }
}
