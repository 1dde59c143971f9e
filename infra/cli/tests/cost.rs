//! The command `stepwell cost`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use test_case::test_case;

const CHECKOUT: &str = "shared/checkout/src/checkout.yaml";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn cost(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stepwell")).current_dir(repository()).arg("cost").args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = cost(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The task's item has more than a kilobyte. The 11 read units of a checkout (tests/FIGURES.md) and half a one for the breaker of the payment.
#[test]
fn checkout_is_counted_and_priced_to_the_cent() {
    let cost = json(&[CHECKOUT]);
    let counted = "16 write units on the table and 4 on its indexes, 11.5 read units, 5 sends, 5 deliveries, at most 4 calls in sequence";
    assert_eq!(cost["counted"], counted);
    assert_eq!(cost["rows"][0]["what"], "DynamoDB: 20 write units");
    // 20 x 0.625, 11.5 x 0.125, 15 x 0.40, 6 x 0.20.
    let flat = ["12.50", "1.44", "6.00", "1.20"];
    for (row, dollars) in flat.iter().enumerate() {
        assert_eq!(cost["rows"][row]["dollars"], serde_json::json!([dollars, dollars, dollars, dollars]));
    }
    assert_eq!(cost["step_functions"][0]["what"], "6 state transitions");
    assert_eq!(cost["step_functions"][0]["dollars"][0], "150.00");
}

#[test_case("[{name: a}]", "4 write units on the table and 4 on its indexes, 1 read units, 1 sends", 2; "a single step")]
#[test_case(
    "[{name: a}, {name: b, depends_on_step: a}, {name: c, depends_on_step: a}, {name: d, depends_on_steps: [b, c]}]",
    "12 write units on the table and 4 on its indexes, 8 read units, 4 sends", 6; "a diamond")]
fn graph_is_counted(steps: &str, counted: &str, transitions: usize) {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("workflow.yaml");
    fs::write(&file, format!("{{name: graph, step_templates: {steps}}}")).unwrap();
    let cost = json(&[file.to_str().unwrap()]);
    assert!(cost["counted"].as_str().unwrap().starts_with(counted), "{cost}");
    assert_eq!(cost["step_functions"][0]["what"], format!("{transitions} state transitions"));
}

#[test]
fn default_memory_is_the_cheapest() {
    let cost = json(&[CHECKOUT]);
    assert_eq!(cost["default_mb"], cost["cheapest_mb"], "{cost}");
}

#[test]
fn missing_file_is_an_error_that_names_it() {
    let output = cost(&["no/such/workflow.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.starts_with("no/such/workflow.yaml: cannot be read: ") && output.stdout.is_empty(), "{told}");
}
