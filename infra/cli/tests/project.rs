//! The command on this repository, and on broken copies of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
};
use stepwell_cli::{Project, check, project, render, sizes};
use tempfile::TempDir;
use test_case::test_case;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// A copy of all files that the command reads.
fn copy() -> TempDir {
    let copy = TempDir::new().unwrap();
    copy_into(&repository(), copy.path(), Path::new(""));
    copy
}

fn copy_into(from: &Path, to: &Path, path: &Path) {
    for entry in fs::read_dir(from.join(path)).unwrap() {
        let path = path.join(entry.unwrap().file_name());
        let read = ["infra", "events", "functions", "shared/checkout"];
        let wanted = read.iter().any(|read| path.starts_with(read) || Path::new(read).starts_with(&path));
        if from.join(&path).is_dir() {
            if wanted && !path.ends_with("cli") {
                copy_into(from, to, &path);
            }
        } else if wanted && !path.ends_with("tests.rs") {
            fs::create_dir_all(to.join(&path).parent().unwrap()).unwrap();
            fs::copy(from.join(&path), to.join(&path)).unwrap();
        }
    }
}

/// All findings of `stepwell check`.
fn found(root: &Path) -> Vec<String> {
    let checked = Project::read(root).and_then(|project| check::check(&project));
    let findings = checked.err().map(stepwell_cli::Findings::into_vec).unwrap_or_default();
    findings.iter().map(ToString::to_string).collect()
}

/// Replaces a text in a file of the project, which has to contain it.
fn replace(root: &Path, file: &str, old: &str, new: &str) {
    let text = fs::read_to_string(root.join(file)).unwrap();
    assert!(text.contains(old), "{file} has {old}");
    fs::write(root.join(file), text.replacen(old, new, 1)).unwrap();
}

const WORKFLOW: &str = "shared/checkout/src/checkout.yaml";

#[test]
fn this_repository_is_rendered_and_passes_the_check() {
    let project = Project::read(&project::root(None, &repository().join("infra/cli")).unwrap()).unwrap();
    let (files, _) = render::render(&project).unwrap();
    assert_eq!(render::stale(&project.root, &files), []);
    assert!(check::check(&project).unwrap().starts_with("ok: "));
}

#[test]
fn rendering_is_idempotent_and_updates_stale_files() {
    let copy = copy();
    replace(copy.path(), render::TEMPLATE, "VisibilityTimeout: 20", "VisibilityTimeout: 21");
    let told = found(copy.path());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("infra/template.yaml: is stale: line "), "{told:?}");
    assert!(told[0].contains("is `VisibilityTimeout: 21`, and should be `VisibilityTimeout: 20`"), "{told:?}");

    let project = Project::read(copy.path()).unwrap();
    let (files, _) = render::render(&project).unwrap();
    let written = render::write(&project.root, &files).unwrap();
    assert!(written.starts_with("infra/template.yaml: written\ninfra/functions.txt: as it was\n"), "{written}");
    assert_eq!(written.matches("written").count(), 1, "{written}");
    assert_eq!(found(copy.path()), [""; 0]);
    assert!(!render::write(&project.root, &files).unwrap().contains("written"));
}

#[test_case("infra/settings.yaml", "validate_cart:", "validate_crat:", "did you mean `validate_cart`?"; "a setting of no step")]
#[test_case("infra/settings.yaml", "table: orders", "table: order", "CreateOrderRole refers to OrderTable, which is not there; did you mean `OrdersTable`?"; "a right on no table")]
#[test_case("infra/settings.yaml", "index: by_status", "index: by_statu", "the table `tasks` has no index `by_statu`; did you mean `by_status`?"; "a right on no index")]
#[test_case("infra/settings.yaml", "dynamodb:PutItem", "dynamodb:PutItm", "did you mean `dynamodb:PutItem`?"; "an action that is none")]
#[test_case("infra/settings.yaml", "checkout/src/checkout.yaml", "checkout/checkout.yaml", "shared/checkout/checkout.yaml: cannot be read"; "no workflow file")]
#[test_case("infra/settings.yaml", "  watchdog:", "  watch_dog:", "`watch_dog` has no folder functions/watch_dog"; "a function without a folder")]
#[test_case(WORKFLOW, "depends_on_step: process_payment", "depends_on_step: proces_payment", "proces_payment"; "a dependency that is no step")]
#[test_case(WORKFLOW, "name: send_cancellation", "name: send_cancellations", "`send_cancellations` has no folder functions/checkout/send_cancellations with a Cargo.toml; did you mean `functions/checkout/send_cancellation`?"; "a step without a folder")]
#[test_case(WORKFLOW, "name: send_cancellation", "name: send_cancellations", "functions/checkout/send_cancellation: is neither a step of a workflow nor a function of the settings"; "a folder without a step")]
#[test_case(WORKFLOW, "name: send_cancellation", "name: send_cancellations", "events/send_cancellations.json: is not there"; "a step without a sample")]
#[test_case(WORKFLOW, "timeout_seconds: 15", "timeout_seconds: 896", "`validate_cart` has a timeout of 896 s\n    Give it 895 s at most"; "a timeout beyond Lambda")]
#[test_case(WORKFLOW, "timeout_seconds: 15", "timeout_seconds: 16", "is `VisibilityTimeout: 20`, and should be `VisibilityTimeout: 21`"; "a template that is stale")]
#[test_case("infra/base.yaml", "stepwell-${Stage}-dead_letters", "stepwell-${Stage}-undeliverable", "DeadLettersQueue and UndeliverableQueue would both be called `stepwell-abcdefghij-undeliverable`"; "two of one name")]
#[test_case("infra/base.yaml", "stepwell-${Stage}-undeliverable", "stepwell-${Stage}-undeliver+able", "UndeliverableQueue would be called `stepwell-abcdefghij-undeliver+able`"; "a name that AWS does not take")]
#[test_case("infra/base.yaml", "!GetAtt CheckoutApiFunction.Arn", "!GetAtt CheckoutApFunction.Arn", "ApiIntegration refers to CheckoutApFunction, which is not there; did you mean `CheckoutApiFunction`?"; "a reference to nothing")]
#[test_case("infra/base.yaml", "{{ functions.dead_letters.timeout_seconds }}", "{{ functions.dead_leters.timeout_seconds }}", "infra/base.yaml: cannot be rendered in line"; "a value that is not there")]
#[test_case("infra/base.yaml", "Resources:", "Ressources:", "has no resources"; "no resources")]
#[test_case("infra/fragments/step.yaml", "Type: AWS::SQS::Queue", "Type: [AWS", "infra/template.yaml: is not YAML"; "a template that is no YAML")]
#[test_case("infra/functions.txt", "WatchdogCode", "WatchDogCode", " is `watchdog watchdog WatchDogCode engine watchdog`, and should be `watchdog watchdog WatchdogCode engine watchdog`"; "a stale list")]
#[test_case(WORKFLOW, "name: send_cancellation", "name: send_cancellations", "events/send_cancellation.json: is the sample event of no step"; "a sample without a step")]
#[test_case("functions/checkout/create_order/src/main.rs", "\"create_order\"", "\"create_orders\"", "functions/checkout/create_order/src/main.rs: does not serve `create_order` of `checkout`\n    Call `serve(\"checkout\", \"create_order\", step)` in it"; "a function of another step")]
#[test_case("functions/checkout/validate_cart/src/lib.rs", "Context<CheckoutRequest>", "(Context<CheckoutRequest>, stepwell::ResultOf<checkout::Payment>)", "functions/checkout/validate_cart/src/lib.rs: step `validate_cart` takes the result of `process_payment`, which it does not wait for: it waits for no step\n    Add that dependency in shared/checkout/src/checkout.yaml"; "a result of a later step")]
#[test_case("functions/watchdog/Cargo.toml", "name = \"watchdog\"", "name = \"watch\"", "its package is called watch\n    Name it watchdog"; "a package of another name")]
#[test_case("events/process_payment.json", "\"md5OfBody\": \"", "\"md5OfBody\": \"x", "events/process_payment.json: is stale: line "; "a sample event that is stale")]
fn mismatch_is_found(file: &str, old: &str, new: &str, finding: &str) {
    let copy = copy();
    replace(copy.path(), file, old, new);
    let found = found(copy.path());
    assert!(found.iter().any(|told| told.contains(finding)), "{found:#?}");
}

#[test]
fn all_findings_are_reported_together() {
    let copy = copy();
    replace(copy.path(), "events/process_payment.json", "\"md5OfBody\": \"", "\"md5OfBody\": \"x");
    replace(copy.path(), "functions/watchdog/Cargo.toml", "name = \"watchdog\"", "name = \"watch\"");
    replace(copy.path(), "infra/settings.yaml", "validate_cart:", "validate_crat:");
    assert_eq!(found(copy.path()).len(), 3);
}

/// The findings for a project that has these workflows in addition.
fn with_others(workflows: &[&str]) -> Vec<String> {
    let copy = copy();
    let mut names = "checkout.yaml".to_owned();
    for (number, workflow) in workflows.iter().enumerate() {
        fs::write(copy.path().join(format!("{number}.yaml")), workflow).unwrap();
        names += &format!(", {number}.yaml");
    }
    replace(copy.path(), "infra/settings.yaml", "checkout.yaml", &names);
    let rendered = Project::read(copy.path()).and_then(|project| render::render(&project));
    rendered.err().map(stepwell_cli::Findings::into_vec).unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test_case("name: a\nstep_templates: [{name: b_c}, {name: b-c}]", "the step b_c of a and the step b-c of a would both be ABCFunction"; "two steps of one logical id")]
#[test_case("name: checkout\nstep_templates: [{name: api}]", "the workflow `checkout` is there twice"; "a workflow twice")]
#[test_case("name: engine\nstep_templates: [{name: a}]", "the log engine and the log engine would both be EngineLog"; "a workflow like a function")]
#[test_case("name: Checkout\nstep_templates: [{name: api}]", "the step api of Checkout and the function checkout_api would both be CheckoutApiFunction"; "a step like a function")]
fn names_that_clash_are_refused(workflow: &str, finding: &str) {
    let found = with_others(&[workflow]);
    assert!(found.iter().any(|told| told.contains(finding)), "{found:#?}");
}

#[test]
fn workflows_beyond_a_quota_are_refused_with_the_number() {
    let chain = |name: &str| {
        let steps = (0..55).map(|step| format!("  - {{name: a_step_{step}}}\n"));
        format!("name: {name}\nstep_templates:\n{}", steps.collect::<String>())
    };
    assert_eq!(with_others(&[&chain("one")]), [""; 0]);
    let refused = "infra/template.yaml: resources: 5";
    assert!(with_others(&[&chain("one"), &chain("other")]).iter().any(|told| told.starts_with(refused)));
}

#[test]
fn policies_beyond_a_quota_are_refused_with_the_number() {
    let copy = copy();
    let topics = (0..300).map(|topic| format!("arn:aws:sns:us-east-1:123456789012:a-topic-{topic:03}"));
    let right = format!(
        "    cancel_order:\n      rights:\n        - {{actions: [sns:Publish], resources: [{}]}}\n",
        topics.collect::<Vec<_>>().join(", ")
    );
    replace(copy.path(), "infra/settings.yaml", "    cancel_order:\n      rights:\n", &right);
    let refused = "infra/template.yaml: policy characters of CheckoutCancelOrderRole: 1";
    let found = found(copy.path());
    assert!(found.iter().any(|told| told.starts_with(refused) && told.contains("AWS allows 10240")), "{found:#?}");
}

#[test]
fn workflow_of_100_steps_fits_the_quotas() {
    let project = Project::read(&repository()).unwrap();
    let table = sizes::table(&project).unwrap();
    assert!(table.contains("a chain of 100") && !table.contains("BEYOND"), "{table}");
}

#[test]
fn rights_are_printed_with_the_stage_filled_in() {
    let project = Project::read(&repository()).unwrap();
    let rights: serde_json::Value = serde_json::from_str(&render::rights(&project, "local").unwrap()).unwrap();
    let of = |function: &str, action: &str| -> Vec<String> {
        let all = rights[format!("stepwell-local-{function}")].as_array().unwrap();
        let of_action = all.iter().filter(|allowed| allowed["action"] == action);
        of_action.map(|allowed| allowed["resource"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()).collect()
    };
    let queues = ["stepwell-local-checkout-*", "stepwell-local-undeliverable"];
    assert_eq!(of("checkout-create_order", "sqs:SendMessage"), queues);
    assert_eq!(of("watchdog", "sqs:SendMessage"), ["stepwell-local-checkout-*"]);
    assert_eq!(
        of("watchdog", "dynamodb:Query"),
        ["table/stepwell-local-tasks", "table/stepwell-local-tasks/index/by_status"]
    );
    assert_eq!(
        of("checkout-validate_cart", "dynamodb:BatchGetItem"),
        ["table/stepwell-local-products", "table/stepwell-local-tasks"]
    );
}

/// The template and the scripts limit a stage's name so that no physical name is too long.
#[test]
fn stage_has_one_limit() {
    let pattern = format!("^[a-z][a-z0-9]{{0,{}}}$", stepwell::core::names::MAX_STAGE - 1);
    for file in [render::TEMPLATE, "infra/lib.sh"] {
        let text = fs::read_to_string(repository().join(file)).unwrap();
        assert!(text.contains(&pattern), "{file} has {pattern}");
    }
}
