//! `checkout_local step`: one step by hand, on a copy.

use super::{HOST, PROGRAM, Shop, ask, until};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::tempdir;

/// The file of a sample event or request.
fn sample(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("events").join(file)
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("step").args(arguments).env_remove("RUST_LOG").output().unwrap()
}

/// The exit code, and the JSON object that it prints.
fn report(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(&[arguments, &["--json"]].concat());
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

/// The exit code, and what it says. It prints nothing else.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The changed rows of a table.
fn changes<'a>(report: &'a Value, table: &str) -> Vec<&'a Value> {
    report["changes"].as_array().unwrap().iter().filter(|change| change["table"] == table).collect()
}

/// The values of a field before and after.
fn field<'a>(change: &'a Value, name: &str) -> [&'a Value; 2] {
    let field = change["fields"].as_array().unwrap().iter().find(|field| field["name"] == name);
    let field = field.unwrap_or_else(|| panic!("{name} is not in {change}"));
    [&field["before"], &field["after"]]
}

#[test]
fn every_step_and_compensation_runs_its_sample_event_on_a_new_shop() {
    let workflow = checkout::workflow().unwrap();
    let plan = workflow.plan();
    for step in plan.steps().iter().chain(plan.compensations()) {
        let event = sample(&format!("{}.json", step.name));
        let (code, report) = report(&[&step.name, "--event", event.to_str().unwrap()]);
        assert_eq!((code, &report["attempt"]), (Some(0), &json!(1)), "{report}");
        assert!(report["answer"]["result"].is_object(), "{report}");
        let key = format!("TASK#{} STEP#{}", report["task_id"].as_str().unwrap(), step.name);
        let items = changes(&report, "items");
        let item = items.iter().find(|change| change["key"] == key.as_str()).unwrap_or_else(|| panic!("{report}"));
        assert_eq!(field(item, "item.state")[1], "complete");
    }
}

#[test]
fn changes_are_those_of_the_step_alone_and_name_no_card_token() {
    let event = sample("process_payment.json");
    let output = run(&["process_payment", "--event", event.to_str().unwrap(), "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("test_success_visa"), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let tables: Vec<&str> =
        report["changes"].as_array().unwrap().iter().map(|change| change["table"].as_str().unwrap()).collect();
    assert_eq!(tables, ["card_tokens", "items", "messages", "payment_records", "payments"], "{report}");
    let [token] = changes(&report, "card_tokens")[..] else { panic!("{report}") };
    assert_eq!((&token["what"], field(token, "token")), (&json!("deleted"), [&json!("(a secret)"), &Value::Null]));
    let [payment] = changes(&report, "payments")[..] else { panic!("{report}") };
    assert_eq!((&payment["file"], &payment["what"]), (&json!("gateway.sqlite"), &json!("added")));
    assert_eq!(field(payment, "value.charge.amount")[1].to_string(), "100.00");
    assert_eq!(report["emails"], json!([]));

    let text =
        String::from_utf8(run(&["release_stock", "--event", sample("release_stock.json").to_str().unwrap()]).stdout);
    let text = text.unwrap();
    assert!(text.contains("  shop.sqlite products 1\n      stock  98 -> 100\n"), "{text}");
}

#[test]
fn email_of_the_step_is_shown() {
    let (_, report) = report(&["send_confirmation", "--event", sample("requests/success.json").to_str().unwrap()]);
    let [email] = report["emails"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert!(email["text"].as_str().unwrap().contains("We have charged 100.00 USD"), "{report}");
}

#[test]
fn failed_attempt_is_an_answer_with_its_code_and_exit_code_1() {
    for (request, code, retryable) in
        [("card_declined", "PAYMENT_DECLINED", false), ("gateway_recovers", "GATEWAY_TEMPORARY_FAILURE", true)]
    {
        let request = sample(&format!("requests/{request}.json"));
        let (exit, report) = report(&["process_payment", "--event", request.to_str().unwrap()]);
        let error = &report["answer"]["error"];
        assert_eq!((exit, &error["code"], &error["retryable"]), (Some(1), &json!(code), &json!(retryable)), "{report}");
        assert_eq!(error["next_retry_at"].is_string(), retryable, "{report}");
    }
    // A step after one that fails twice is reached all the same.
    let (exit, _) = report(&["create_order", "--event", sample("requests/gateway_recovers.json").to_str().unwrap()]);
    assert_eq!(exit, Some(0));
}

#[test]
fn step_of_a_stored_task_runs_on_a_copy_beside_the_running_shop() {
    let folder = tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let shop = Shop::start(folder.path());
    let url = shop.buy_later();
    let task = url.split(['/', '?']).nth(2).unwrap();

    let at_work = ["process_payment", "--task", task, "--data", data];
    for _ in 0..2 {
        // Half a minute before its time.
        let (code, report) = report(&at_work);
        assert_eq!((code, &report["attempt"]), (Some(0), &json!(2)), "{report}");
        let [payment] = changes(&report, "payments")[..] else { panic!("{report}") };
        assert_eq!(field(payment, "value.charge.amount")[1].to_string(), "20.66");
    }
    let request = sample("requests/success.json");
    let (code, report_of_email) = report(&["send_confirmation", "--event", request.to_str().unwrap(), "--data", data]);
    assert_eq!((code, report_of_email["emails"].as_array().unwrap().len()), (Some(0), 1));
    // Nothing of that has happened.
    let now = shop.look(&url);
    assert_eq!(now["retrying"]["code"], "GATEWAY_RATE_LIMITED", "{now}");
    assert_eq!(fs::read_dir(folder.path().join("mail")).unwrap().count(), 0);

    for (arguments, what) in [
        (["validate_cart", "--task", task], "cannot run: it is complete already. What can run: process_payment"),
        (["create_order", "--task", task], "cannot run: it waits for update_inventory, which is pending."),
        (["refund_payment", "--task", task], "cannot run: the task is in_progress."),
        (["charge", "--task", task], "there is no step charge; there are validate_cart, process_payment, "),
        (
            ["validate_cart", "--task", "018f4e4e-7c1a-7000-8000-0123456789ab"],
            &format!("there are\n  {task} (pending)"),
        ),
    ] {
        let (code, said) = refused(&[&arguments[..], &["--data", data]].concat());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(what), "{said}");
    }
    assert_eq!(shop.stop(), Some(0));
    assert_eq!(report(&at_work).0, Some(0), "without a running shop");
}

#[test]
fn step_that_is_held_back_while_its_service_is_out_gets_its_attempt() {
    let folder = tempdir().unwrap();
    let mut command = super::command(folder.path(), "0");
    let shop = Shop::start_by(command.args(["--checkouts-per-email", "0"]).stderr(Stdio::null()));
    let start = |request| {
        let (status, started) = ask(&shop.customers, "POST /checkout", HOST, request);
        assert_eq!(status, 202, "{started}");
        started["checkout_url"].as_str().unwrap().to_owned()
    };
    let held_back = |url: &str| shop.look(url)["retrying"]["code"] == "BREAKER_OPEN";
    let failing = [(); 3].map(|()| start(include_str!("../../../../events/requests/gateway_times_out.json")));
    until("the breaker opens", || failing.iter().any(|url| held_back(url)));
    let url = start(super::SUCCESS);
    until("the payment is held back", || held_back(&url));
    let task = url.split(['/', '?']).nth(2).unwrap();
    let (code, report) = report(&["process_payment", "--task", task, "--data", folder.path().to_str().unwrap()]);
    assert_eq!((code, &report["attempt"]), (Some(0), &json!(1)), "{report}");
    assert_eq!(shop.stop(), Some(0));
}

#[test]
fn failed_step_of_a_stored_task_gets_another_attempt() {
    let folder = tempdir().unwrap();
    let shop = Shop::start(folder.path());
    let (_, started) = shop.buy(include_str!("../../../../events/requests/card_declined.json"));
    assert_eq!(started["status"], "failed", "{started}");
    assert_eq!(shop.stop(), Some(0));
    let task = started["task_id"].as_str().unwrap();
    let (code, report) = report(&["process_payment", "--task", task, "--data", folder.path().to_str().unwrap()]);
    let answer = (&report["attempt"], &report["answer"]["error"]["code"]);
    assert_eq!((code, answer), (Some(1), (&json!(2), &json!("PAYMENT_DECLINED"))), "{report}");
}

#[test]
fn what_cannot_be_run_is_refused_with_what_is_wrong() {
    let folder = tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let event = sample("validate_cart.json").to_str().unwrap().to_owned();
    let two = fs::read_to_string(&event).unwrap().parse::<Value>().unwrap();
    let two = json!({"Records": [two["Records"][0], two["Records"][0]]}).to_string();
    let nowhere = folder.path().join("nowhere").to_str().unwrap().to_owned();
    for (arguments, code, what) in [
        (vec!["--event", &nowhere], 6, "nowhere: No such file"),
        (vec!["--event", &event, "--data", &nowhere], 6, "No such file"),
        (vec!["--event", &file("text", "no JSON")], 2, "it is not JSON: "),
        (vec!["--event", &file("other", "{}")], 2, "neither an event with `Records`"),
        (vec!["--event", &file("two", &two)], 2, "it has 2 messages, and a step is handed one"),
        (
            vec!["--event", sample("create_order.json").to_str().unwrap()],
            2,
            "for the step create_order, not for validate_cart",
        ),
        (vec!["--event", sample("requests/invalid.json").to_str().unwrap()], 2, "does not fit the schema:\n  /"),
        (vec!["--task", "018f4e4e-7c1a-7000-8000-0123456789ab"], 2, "--data <FOLDER>"),
        (vec![], 2, "--event <FILE>"),
    ] {
        let (found, said) = refused(&[&["validate_cart"], &arguments[..]].concat());
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(what), "{arguments:?}: {said}");
    }
}
