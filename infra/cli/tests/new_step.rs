//! `stepwell new step` on copies of this repository.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod repository;

use repository::{copy_to, files, set_version};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;
use test_case::test_case;

fn copy() -> TempDir {
    let copy = TempDir::new().unwrap();
    copy_to(copy.path());
    copy
}

/// Runs the command in this repository.
fn stepwell(root: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
    command.args(arguments.split_whitespace()).current_dir(root).output().unwrap()
}

/// The command's output; it has to succeed.
#[track_caller]
fn done(root: &Path, arguments: &str) -> String {
    let output = stepwell(root, arguments);
    assert!(output.status.success(), "stepwell {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The command's findings; it has to fail.
#[track_caller]
fn refused(root: &Path, arguments: &str) -> String {
    let output = stepwell(root, arguments);
    assert!(!output.status.success(), "stepwell {arguments}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

const WORKFLOW: &str = "shared/checkout/src/checkout.yaml";

const NEW: &str =
    "new step checkout check_fraud --after validate_cart --read-by process_payment --compensation forget_suspicion";

#[test]
fn step_is_created_once_and_passes_the_check() {
    let copy = copy();
    let root = copy.path();
    let told = done(root, NEW);
    assert!(told.contains("check_fraud waits for validate_cart."), "{told}");
    assert!(told.contains("process_payment waits for check_fraud; it waited for validate_cart."), "{told}");
    let checked = done(root, "check");
    assert!(checked.contains("11 steps"), "{checked}");

    for (file, line) in [
        ("functions/tasks_api/Cargo.toml", r#"checkout_check_fraud = { path = "../checkout/check_fraud" }"#),
        (
            "functions/tasks_api/src/handlers.rs",
            r#".with("checkout", "check_fraud", checkout_check_fraud::step::<CheckoutShop>)"#,
        ),
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(line), "{file}: {text}");
    }

    let made = files(root);
    let lock = String::from_utf8(made[Path::new("Cargo.lock")].clone()).unwrap();
    assert!(lock.contains("name = \"checkout_check_fraud\"") && lock.contains("name = \"checkout_forget_suspicion\""));
    let told = done(root, NEW);
    assert!(told.starts_with("nothing to do: "), "{told}");
    // Handwritten code is preserved.
    fs::write(root.join("functions/checkout/check_fraud/src/lib.rs"), "//! Mine.\n").unwrap();
    assert!(done(root, NEW).starts_with("nothing to do: "));
    let changed: Vec<PathBuf> =
        files(root).into_iter().filter(|(path, text)| made.get(path) != Some(text)).map(|(path, _)| path).collect();
    assert_eq!(changed, [Path::new("functions/checkout/check_fraud/src/lib.rs")]);
}

#[test]
fn dry_run_writes_nothing_and_shows_what_would_change() {
    let copy = copy();
    let before = files(copy.path());
    let told = done(copy.path(), &format!("{NEW} --dry-run"));
    assert!(told.contains("new: functions/checkout/check_fraud/src/lib.rs"), "{told}");
    assert!(told.contains("-    depends_on_step: validate_cart\n+    depends_on_step: check_fraud\n"), "{told}");
    assert!(files(copy.path()) == before);
}

#[test]
fn step_beside_others_is_reported_as_concurrent() {
    let copy = copy();
    let told = done(copy.path(), "new step checkout check_fraud --after validate_cart --beside");
    assert!(told.contains("process_payment does not wait for check_fraud: the two run side by side."), "{told}");
    assert!(told.contains("say --before process_payment"), "{told}");
    done(copy.path(), "check");
}

#[test]
fn all_obstacles_are_reported_together_and_no_file_changes() {
    let copy = copy();
    let root = copy.path();
    fs::create_dir_all(root.join("functions/checkout/taken/src")).unwrap();
    fs::write(root.join("functions/checkout/taken/src/lib.rs"), "//! Somebody's.\n").unwrap();
    let before = files(root);
    let too_long = "a".repeat(49);
    let after = "--after validate_cart";
    let cases = [
        (format!("checkot check_fraud {after}"), vec!["there is no workflow `checkot`; did you mean `checkout`?"]),
        (
            "checkout Check-Fraud --after validate_crat --before refund_payment --read-by nobody".to_owned(),
            vec![
                "`Check-Fraud` cannot be the name of a step",
                "`--after validate_crat` is not a step of this workflow; did you mean `validate_cart`?",
                "`--before refund_payment` is a compensation",
                "`--read-by nobody` is not a step of this workflow",
            ],
        ),
        (
            format!("checkout {too_long} {after}"),
            vec!["(49 characters) cannot be the name", "Take 1 to 48 small letters"],
        ),
        (
            format!("checkout dead_letters {after}"),
            vec!["`dead_letters` is the name of one of the engine's own queues"],
        ),
        (format!("checkout result {after}"), vec!["would make a handler `Result`"]),
        (
            format!("checkout api {after}"),
            vec![
                "CheckoutApi in the template, as the function `checkout_api` is",
                "the package checkout_api, which functions/checkout_api is already",
            ],
        ),
        (format!("checkout aws {after}"), vec!["the package checkout_aws, which shared/checkout_aws is already"]),
        (format!("checkout watchdog {after}"), vec!["events/watchdog.json: is there already"]),
        (
            format!("checkout taken {after}"),
            vec!["functions/checkout/taken/src/lib.rs: is there already, with other content"],
        ),
        (
            "checkout process_payment --after create_order --compensation cancel_order".to_owned(),
            vec!["`cancel_order` is there already, and does not compensate `process_payment`"],
        ),
        (
            "checkout process_payment --after create_order".to_owned(),
            vec![
                "the step `process_payment` is there already, and waits for validate_cart",
                "and `refund_payment` compensates it",
            ],
        ),
        (
            "checkout check_fraud --after create_order --before process_payment".to_owned(),
            vec!["in a cycle: process_payment -> check_fraud -> create_order -> update_inventory -> process_payment"],
        ),
        (
            "checkout check_fraud --after create_order --read-by process_payment".to_owned(),
            vec!["`process_payment` cannot read the result of `check_fraud`, for which it does not wait"],
        ),
    ];
    for (arguments, expected) in cases {
        let told = refused(root, &format!("new step {arguments}"));
        for expected in expected {
            assert!(told.contains(expected), "{arguments}: {told}");
        }
        assert!(files(root) == before, "{arguments} has changed something");
    }
}

/// A folder has the name of a file to be written, so that writing fails half-way.
#[test]
fn failed_write_restores_every_file() {
    let copy = copy();
    let root = copy.path();
    fs::create_dir(root.join("infra/template.yaml.new-step")).unwrap();
    let before = files(root);
    let told = refused(root, NEW);
    assert!(
        told.contains("infra/template.yaml: cannot be written: ") && told.contains("Nothing was changed"),
        "{told}"
    );
    assert!(files(root) == before);
    assert!(!root.join("functions/checkout/check_fraud").exists());
}

#[test_case("    depends_on_step: validate_cart\n", "    depends_on_steps: [\n      validate_cart]\n"; "dependencies in two lines")]
fn unsupported_workflow_file_is_left_unchanged(old: &str, new: &str) {
    let copy = copy();
    let text = fs::read_to_string(copy.path().join(WORKFLOW)).unwrap();
    fs::write(copy.path().join(WORKFLOW), text.replacen(old, new, 1)).unwrap();
    let before = files(copy.path());
    let told = refused(copy.path(), NEW);
    assert!(told.contains("cannot be changed here") && told.contains("Put the step into the file by hand"), "{told}");
    assert!(files(copy.path()) == before);
}

/// The edits that a person makes after the command.
struct ByHand<'a> {
    root: &'a Path,
    files: BTreeSet<&'a str>,
}

impl<'a> ByHand<'a> {
    fn write(&mut self, file: &'a str, text: &str) {
        fs::write(self.root.join(file), text).unwrap();
        self.files.insert(file);
    }

    fn replace(&mut self, file: &'a str, old: &str, new: &str) {
        let text = fs::read_to_string(self.root.join(file)).unwrap();
        assert!(text.contains(old), "{file} has no longer: {old}");
        self.write(file, &text.replacen(old, new, 1));
    }
}

/// A step in the middle of the checkout, which reads an earlier result and whose result is read by a later step, with a
/// compensation and an additional right.
///
/// It builds the workspace in a copy. The copy stays, so that a second run only builds what has changed.
#[test]
#[ignore = "it builds the workspace: tests/run.sh new_step"]
fn step_in_the_middle_of_the_checkout_needs_three_manual_edits() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let scratch = target.join("new_step");
    let root = scratch.as_path();
    copy_to(root);
    set_version(root, "0.1.0-new-step");
    done(root, NEW);

    let mut by_hand = ByHand { root, files: BTreeSet::new() };
    by_hand.write("functions/checkout/check_fraud/src/lib.rs", include_str!("new_step/check_fraud.rs"));
    let payment = "functions/checkout/process_payment/src/lib.rs";
    by_hand.replace(
        payment,
        "use std::time::Duration;\n",
        "use checkout_check_fraud::CheckFraudResult;\nuse std::time::Duration;\n",
    );
    by_hand.replace(
        payment,
        "ResultOf<ValidatedCart>);",
        "ResultOf<ValidatedCart>, Option<ResultOf<CheckFraudResult>>);",
    );
    by_hand.replace(payment, "ResultOf(cart)): Self::Input", "ResultOf(cart), fraud): Self::Input");
    by_hand.replace(
        payment,
        "        let payment = &request.payment_info;\n",
        "        if let Some(ResultOf(CheckFraudResult { score })) = fraud.filter(|ResultOf(fraud)| fraud.score > 50) {\n            \
             return Err(StepError::new(ShopCode::PaymentDeclined, format!(\"fraud, score {score}\")));\n        }\n        \
         let payment = &request.payment_info;\n",
    );
    let right = "    check_fraud:\n      rights:\n        - {table: products, actions: [dynamodb:BatchGetItem]}\n";
    by_hand.replace("infra/settings.yaml", "    process_payment:\n", &format!("{right}    process_payment:\n"));
    assert!(by_hand.files.len() <= 3, "{:?}", by_hand.files);

    done(root, "render");
    done(root, "check");
    fs::write(root.join("tests/tests/check_fraud.rs"), include_str!("new_step/scenario.rs")).unwrap();
    let cargo = |arguments: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments.split_whitespace()).current_dir(root).env("CARGO_TARGET_DIR", target.parent().unwrap());
        assert!(cargo.status().unwrap().success(), "cargo {arguments}, in {}", root.display());
    };
    cargo("fmt --all --check");
    cargo("clippy --offline --locked --workspace --all-targets --features lambda -- -D warnings");
    let tests = ["architecture", "dependencies", "documentation", "project", "checkout", "check_fraud"]
        .map(|test| format!("--test {test}"));
    cargo(&format!("test --offline --locked --workspace --features lambda --lib {}", tests.join(" ")));
}
