//! Golden fixtures: every kind of item and of message as version 1 of the engine stored it, in `tests/fixtures/v1/`.
//!
//! Tasks stay in the table for 90 days, so a new version has to read what an older one wrote. The fixtures were written by
//! `DynamoTable` into DynamoDB Local ([`write_all`]) and read back raw, in DynamoDB's own JSON. `tests.rs` reads each of them
//! through `DynamoTable`, over a stand-in for DynamoDB (`server.rs`), and compares it with what `tests/fixtures/v1.txt` says.
//! It needs nothing that runs. `tests/tests/it/golden.rs` holds what is written today against them, on a stack.
//!
//! A fixture changes only with a stated change of the stored format. Then the old one stays beside it, as long as there may
//! be items of it. tests/README.md, "Golden fixtures", says how they are written.

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
use stepwell::{TaskId, Timestamp};
use uuid::Uuid;

/// The variable of the environment with which the tests write the fixtures instead of comparing with them.
const WRITE: &str = "STEPWELL_WRITE_GOLDEN";

/// When every task of a fixture was started: 2027-01-15, 08:00 UTC.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// So many seconds after the start.
fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

/// The id of the task with this number. Its last digits say the shard in the index.
fn id(number: u8) -> TaskId {
    TaskId::from(Uuid::from_u128(0x019b_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)))
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "v1", &format!("{name}.json")].iter().collect()
}

/// What a fixture holds.
///
/// # Panics
/// Where there is none of this name.
fn read(name: &str) -> Value {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{}: {error}", path(name).display()));
    serde_json::from_str(&text).expect("a fixture is JSON")
}

/// Holds this against a fixture; or makes it the fixture, where the environment says so.
///
/// # Panics
/// Where it is something else than the fixture.
fn compare(name: &str, today: &Value) {
    if env::var_os(WRITE).is_some() {
        fs::write(path(name), readable(today, "") + "\n").expect("the fixture can be written");
    }
    assert_eq!(*today, read(name), "{name} is not written as it was");
}

/// JSON for people: what fits on a line is on one line.
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

/// Holds the items of a case against its fixture.
///
/// # Panics
/// Where they are something else than the fixture.
pub fn compare_items(name: &str, items: Vec<Item>) {
    compare(name, &items.into_iter().map(items::to_dynamodb_json).collect());
}
