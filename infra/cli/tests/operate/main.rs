//! The commands for operators, as a person types them: on a shop of one machine that runs, and against AWS as its answers are scripted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod console;
mod logs;
mod reconcile;
mod replay;
mod secrets;
mod shop;

use serde_json::{Value, json};
use shop::{Scripted, Shop, command, repository, run, until};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Read},
    process::{Command, Stdio},
};
use test_case::test_case;

/// A valid id without a task.
const UNKNOWN: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

#[test]
fn list_and_show_print_tasks_for_people_and_the_answers_of_the_api_as_json() {
    let shop = Shop::start();
    let (bought, declined) = (shop.buy("success"), shop.buy("card_declined"));
    let all = shop.operate(&["list"]).expect(0).says("2 tasks");
    let rows: Vec<&str> = all.stdout.lines().collect();
    assert!(rows.len() == 2 && rows[0].starts_with(&bought) && rows[1].starts_with(&declined), "{rows:?}");
    assert!(rows[1].contains("  failed: process_payment"), "{rows:?}");
    let failed = shop.operate(&["list", "--status", "error", "--failed-step", "process_payment"]).expect(0);
    assert_eq!(failed.stdout.lines().count(), 1);
    let failed =
        shop.operate(&["list", "--step", "process_payment:error", "--error-code", "PAYMENT_DECLINED"]).expect(0);
    assert!(failed.stdout.contains("  process_payment: error, attempt 1, PAYMENT_DECLINED\n"), "{failed:?}");
    let number = shop.operate(&["show", &bought, "--json"]).expect(0).json();
    let number = number["steps"].as_array().unwrap().iter().find_map(|step| step["result"]["order_number"].as_str());
    let found = shop.operate(&["list", "--key", &format!("order_number:{}", number.unwrap())]).expect(0);
    assert!(found.stdout.starts_with(&bought) && found.stdout.lines().count() == 1, "{found:?}");
    shop.operate(&["list", "--needs", "person"]).expect(0).says("0 tasks");
    shop.operate(&["list", "--older-than", "1"]).expect(2).says("\n  --older-than: ");
    let unknown = ["list", "--workflow", "chekout", "--failed-step", "pay", "--step", "ship:error"];
    shop.operate(&unknown)
        .expect(0)
        .says("no workflow chekout; stepwell workflows --data ")
        .says("No workflow of this deployment has a step pay;")
        .says("has a step ship;");
    shop.operate(&["list", "--workflow", "checkout", "--failed-step", "process_payment"]).expect(0).says("1 task");
    shop.operate(&["show", "ORD-2026-1"]).expect(1).says("--key order_number:ORD-2026-1");
    assert_eq!(shop.operate(&["list", "--limit", "1"]).expect(0).stdout.lines().count(), 1);
    let listed = shop.operate(&["list", "--json"]).expect(0).json();
    assert_eq!((&listed["count"], &listed["tasks"][1]["task_id"]), (&json!(2), &json!(declined)));

    let shown = shop.operate(&["show", &declined]).expect(0);
    for text in [
        &*format!("task       {declined}\n"),
        "status     error\n",
        "\nsteps\n  validate_cart        complete\n",
        "permanent_error",
        "PAYMENT_DECLINED: ",
    ] {
        assert!(shown.stdout.contains(text), "{text}: {shown:?}");
    }
    // As it came, to the digit.
    let raw = shop.operate(&["show", &bought, "--json"]).expect(0).prints(r#""amount_charged":100.00"#);
    assert_eq!(raw.json()["status"], "complete");
}

#[test]
fn analytics_print_a_table_of_the_steps_or_the_answer_of_the_api() {
    let shop = Shop::start();
    shop.operate(&["analytics"]).expect(0).prints("0 tasks\n");
    let bought = shop.buy("success");
    shop.buy("card_declined");
    let shown = shop.operate(&["analytics"]).expect(0).prints("2 tasks, started ");
    for text in [
        "commerce/checkout: 2 tasks: 1 complete, 1 error\n",
        "of the ended ones 50.0 % are complete, and 50.0 % failed\n",
        &format!("slowest: {bought} ("),
    ] {
        assert!(shown.stdout.contains(text), "{text}: {shown:?}");
    }
    let row = shown.stdout.lines().find(|line| line.starts_with("process_payment ")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((&words[1..5], &words[11..]), (&["2", "2", "0", "1"][..], &["1", "PAYMENT_DECLINED"][..]), "{row}");
    let one = shop.operate(&["analytics", "--tasks", "1", "--json"]).expect(0).json();
    assert_eq!(one["workflows"][0]["statuses"], json!({"error": 1}));
    shop.operate(&["analytics", "--tasks", "2000"]).expect(2).says("\n  --tasks: has to be");
}

#[test]
fn graph_is_printed_as_text_in_mermaid_and_as_json() {
    let shop = Shop::start();
    let task = shop.buy("card_declined");
    let text = shop.operate(&["graph", &task]).expect(0).stdout;
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows[..2], ["steps", "  validate_cart      complete"], "{text}");
    assert!(text.contains("  process_payment    error     after validate_cart\n"), "{text}");
    let mermaid = shop.operate(&["graph", &task, "--mermaid"]).expect(0).stdout;
    let lines: Vec<&str> = mermaid.lines().map(str::trim).collect();
    assert_eq!(lines[0], "flowchart LR", "{mermaid}");
    assert!(lines.iter().any(|line| line.contains(r#"["process_payment<br>error"]:::error"#)), "{mermaid}");
    assert_eq!(shop.operate(&["graph", &task, "--json"]).expect(0).json()["nodes"][0]["name"], "validate_cart");
}

#[test]
fn workflows_and_health_are_printed_as_text_and_as_json() {
    let shop = Shop::start();
    shop.buy("card_declined");
    let text = shop.operate(&["workflows"]).expect(0).stdout;
    for line in [
        "ecommerce/checkout@1.0.0  From a cart to a confirmed order\n",
        "  process_payment           3 attempts, 30 s each, after validate_cart, waits on payment_gateway\n",
        "  cancel_order              no last attempt, 15 s each, compensates create_order\n",
        "deadline   1800 s after the start, until create_order is done\n",
        "found by   email, order_number\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let json = shop.operate(&["workflows", "--json"]).expect(0).json();
    assert_eq!(json["workflows"][0]["steps"][0]["name"], "validate_cart");
    let text = shop.operate(&["health"]).expect(0).stdout;
    assert!(
        text.contains("        1  of them failed, and are redriven or compensated later; the oldest was started "),
        "{text}"
    );
    let json = shop.operate(&["health", "--json"]).expect(0).json();
    assert_eq!((&json["open"]["tasks"], &json["open"]["or_more"]), (&json!(1), &json!(false)));
    assert!(json["open"]["oldest_at"].is_string(), "{json}");
}

#[test]
fn actions_on_a_task_say_what_it_is_now_and_the_audit_trail_has_who_and_why() {
    let shop = Shop::start();
    let task = shop.buy_later();
    let run_now = ["run-now", &task, "--reason", "the gateway is back"];
    shop.operate(&run_now).expect(0).prints(&format!("{task} is in_progress now"));
    shop.operate(&["show", &task]).expect(0).prints("run_now process_payment  by ann: the gateway is back");
    until("it is complete", || shop.operate(&["show", &task]).stdout.contains("status     complete"));
    let task = shop.buy_later();
    shop.operate(&["cancel", &task, "--reason", "she called"]).expect(0).prints(&format!("{task} is compensating now"));
    shop.operate(&["show", &task]).expect(0).prints("  cancel  by ann: she called");
    until("it is cancelled", || shop.operate(&["show", &task]).stdout.contains("status     cancelled"));
    let refused = shop.operate(&["resolve", &task, "--reason", "why", "--json"]).expect(1).says("(409)");
    assert_eq!(refused.json()["success"], json!(false), "the answer is printed as well");

    let failed = shop.buy("card_declined");
    let answer = shop.operate(&["redrive", &failed, "--reason", "why", "--json"]).expect(0).json();
    assert_eq!((&answer["task_id"], &answer["success"]), (&json!(failed), &json!(true)));
    until("it has failed again", || shop.operate(&["show", &failed]).stdout.contains("status     error"));
    let refused = shop.operate(&["run-now", &failed, "--reason", "why"]).expect(1);
    refused.says("No step of the task waits for a retry: it is error (409)");
    shop.operate(&["compensate", &failed, "--reason", "why"]).expect(0).prints("is compensating now");

    until("it is compensated", || shop.operate(&["show", &failed]).stdout.contains("compensated: closed for good"));
    let token = "test_success_never_printed";
    let card = format!(r#"{{"payment_info": {{"token": "{token}"}}}}"#);
    let rerun = |patch: &str| shop.operate(&["rerun", &failed, "--patch", patch, "--reason", "another card"]);
    let wrong = rerun(&card[1..]).expect(2).says("--patch: it is not JSON");
    let no_card = rerun("{}").expect(1).says("/input/payment_info: \"token\" is a required property");
    let rerun = rerun(&card).expect(0).prints(&format!(" is the rerun of {failed}, and pending now"));
    let copy = shop.operate(&["copy", &failed, "--patch", &card, "--reason", "once more"]).expect(0);
    let copy = copy.prints(&format!(" is a copy of {failed}, and pending now"));
    for printed in [&wrong, &no_card, &rerun, &copy] {
        assert!(!printed.stdout.contains(token) && !printed.stderr.contains(token), "{printed:?}");
    }
    let new = &rerun.stdout[..failed.len()];
    shop.operate(&["show", new]).expect(0).prints(&format!("rerun of   {failed}\n"));
    let old = shop.operate(&["show", &failed]).expect(0).prints(&format!("rerun as   {new}\n"));
    assert!(old.stdout.contains("  rerun  by ann: another card"), "{old:?}");

    let other = shop.buy("card_declined");
    let resolve = |result: &str| {
        shop.operate(&[
            "resolve-step",
            &other,
            "process_payment",
            "--result",
            result,
            "--reason",
            "why",
            "--attempts-checked",
        ])
    };
    resolve("{paid}").expect(2).says("--result {paid}: is not JSON");
    resolve("@no/such/file").expect(2).says("--result @no/such/file: No such file");
    resolve(r#"{"paid": 1}"#).expect(1).says("/result").says("(422)");
    shop.operate(&["resolve", &other, "--reason", "settled by phone"]).expect(0).prints("is resolved_manually now");
}

#[test]
fn paused_step_waits_until_it_is_resumed_and_both_say_so() {
    let shop = Shop::start();
    let pause = ["pause", "process_payment", "--reason", "the gateway is down"];
    let paused = shop.operate(&pause).expect(0).says("stepwell resume process_payment --workflow checkout --data ");
    assert!(paused.stdout.starts_with("process_payment of checkout is paused since 20"), "{paused:?}");
    shop.operate(&["workflows"]).expect(0).prints("waits on payment_gateway, paused since 20");
    shop.operate(&["health"]).expect(0).prints("Paused: process_payment of checkout, paused since 20");
    let task = shop.begin("success");
    until("it waits", || {
        shop.operate(&["show", &task]).stdout.contains("waits      for process_payment of checkout, paused since 20")
    });
    assert!(!shop.operate(&["show", &task]).stdout.contains("  process_payment      complete"));

    shop.operate(&["pause", "process_payment", "--reason", "it charges twice"]).expect(0);
    let resume = ["resume", "process_payment", "--workflow", "checkout", "--reason", "it is back", "--json"];
    shop.operate(&resume).expect(1).says("it charges twice; if all of that is over, say --all");
    let resumed = shop.operate(&[&resume[..], &["--all"]].concat()).expect(0).json();
    assert_eq!((&resumed["paused"], &resumed["told"]), (&Value::Null, &json!(true)));
    until("it is complete", || shop.operate(&["show", &task, "--json"]).json()["status"] == "complete");

    shop.operate(&["pause", "no_such_step", "--reason", "why"]).expect(1).says("no workflow has a step no_such_step");
    shop.operate(&["pause", "process_payment", "--workflow", "w", "--reason", "why"])
        .expect(1)
        .says("no workflow w has a step process_payment");
    shop.operate(&["pause", "process_payment"]).expect(2).says("--reason");
}

#[test]
fn result_given_by_hand_keeps_its_digits_and_wants_the_attempts_checked() {
    let shop = Shop::start();
    let (bought, failed) = (shop.buy("success"), shop.buy("card_declined"));
    let steps = shop.operate(&["show", &bought, "--json"]).expect(0).json()["steps"].clone();
    let paid =
        steps.as_array().unwrap().iter().find(|step| step["name"] == "process_payment").unwrap()["result"].clone();
    let file = shop.data.path().join("result.json");
    fs::write(&file, paid.to_string()).unwrap();
    let given = format!("@{}", file.display());
    let arguments =
        ["resolve-step", &failed, "process_payment", "--result", &given, "--reason", "by hand", "--attempts-checked"];
    let unchecked = arguments.split_last().unwrap().1;
    shop.operate(unchecked).expect(1).says("Make sure that no attempt had an effect");
    shop.operate(&arguments).expect(0).prints(&failed);
    shop.operate(&["show", &failed, "--json"]).expect(0).prints(r#""amount_charged":100.00"#);
}

#[test]
fn order_is_shipped_once_and_its_e_mail_sent_again() {
    let shop = Shop::start();
    let order = shop.buy("success");
    let resend = ["resend", &order, "--reason", "a mistyped address", "--email", "ann@example.org"];
    shop.operate(&resend)
        .expect(0)
        .prints(&format!("ann@example.org was sent an e-mail that order {order} is confirmed"));
    shop.operate(&["ship", &order, "--reason", "parcel 17"]).expect(0).prints("cannot be cancelled any more");
    let shipped = shop.operate(&["ship", &order, "--reason", "again", "--json"]).expect(0).json();
    assert_eq!(shipped["order_id"], json!(order));
    shop.operate(&["ship", UNKNOWN, "--reason", "parcel 18"]).expect(1).says("(404)");
}

#[test_case(&["show", UNKNOWN])]
#[test_case(&["watch", UNKNOWN])]
#[test_case(&["graph", UNKNOWN])]
#[test_case(&["show", "no id"])]
#[test_case(&["redrive", UNKNOWN, "--reason", "why"])]
#[test_case(&["resolve-step", UNKNOWN, "process_payment", "--result", "1", "--reason", "why"])]
#[test_case(&["bulk", UNKNOWN])]
#[test_case(&["results", UNKNOWN])]
#[test_case(&["cost", "--task", UNKNOWN])]
#[test_case(&["stop", UNKNOWN, "--reason", "why"])]
fn what_does_not_exist_ends_with_1(arguments: &[&str]) {
    let shop = Shop::start();
    shop.operate(arguments).expect(1).says("(404)");
}

#[test]
fn watch_prints_what_happens_to_a_task_once_until_it_has_ended() {
    let shop = Shop::start();
    let task = shop.buy_later();
    let mut watch = shop.command(&["watch", &task]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen: Vec<String> = Vec::new();
    let runs = format!("{task} is in_progress");
    while seen.last() != Some(&runs) {
        seen.push(lines.next().unwrap_or_else(|| panic!("it ends too early: {seen:?}")));
    }
    shop.operate(&["cancel", &task, "--reason", "why"]).expect(0);
    seen.extend(lines);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "nothing is printed twice: {seen:?}");
    assert!(seen.iter().any(|line| line.starts_with("refund_payment ") && line.contains("  complete (")), "{seen:?}");
    assert_eq!(seen.last().unwrap(), &format!("{task} is cancelled"));
    let last: Value = serde_json::from_str(shop.operate(&["watch", &task, "--json"]).expect(0).stdout.trim()).unwrap();
    assert_eq!(last["status"], "cancelled", "one line, because it has ended");
}

#[cfg(target_os = "linux")]
#[test]
fn watch_is_redrawn_on_a_terminal_until_the_task_has_ended() {
    let shop = Shop::start();
    let task = shop.buy_later();
    // `script` of util-linux runs a command on a terminal of its own, and prints what that shows.
    let watch = shop.command(&["watch", &task]);
    let words = [watch.get_program()].into_iter().chain(watch.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]).env("TERM", "xterm");
    let mut script = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(script.stdout.take().unwrap());
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("retrying  until") {
        assert!(shown.read_until(b'\n', &mut text).unwrap() > 0, "it ends too early: {text:?}");
    }
    shop.operate(&["cancel", &task, "--reason", "why"]).expect(0);
    shown.read_to_end(&mut text).unwrap();
    assert_eq!(script.wait().unwrap().code(), Some(0));
    let text = String::from_utf8(text).unwrap();
    // Each begins at the upper left corner, and clears what is below.
    let screens: Vec<&str> = text.split("\u{1b}[H\u{1b}[J").collect();
    let [nothing, first, .., last] = screens.as_slice() else { panic!("{text:?}") };
    assert_eq!(*nothing, "");
    assert!(first.contains("status     in_progress\r\n"), "{first:?}");
    assert!(last.starts_with(&format!("task       {task}\r\n")), "{last:?}");
    assert!(last.contains("status     cancelled"), "{last:?}");
    assert!(screens.iter().all(|screen| screen.lines().count() < 24), "no more than fits: {screens:?}");
}

#[test]
fn watch_goes_on_without_news_and_asks_with_what_it_has_seen() {
    let event = |id: &str, status: &str| {
        let task = format!(
            r#"{{"task_id": "T", "status": "{status}", "workflow": "w", "started_at": "s", "compensated": false,"#
        );
        format!(
            "retry: 100\nid: {id}\ndata: {task}\ndata: \"steps\": [], \"compensations\": [], \"actions\": [], \"warnings\": []}}\n\n"
        )
    };
    let (first, second) = (event("e1", "pending"), event("e2", "complete"));
    let api = Scripted::new(&[
        (200, &*first),
        (200, "retry: 100\n\n"),
        (200, &*first),
        (502, ""),
        (200, &*second),
        (204, ""),
    ]);
    let told = run(command().args(["watch", "T", "--token", "x", "--url", &api.url, "--json"])).expect(0);
    let statuses: Vec<Value> = told.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    assert_eq!(statuses.iter().map(|task| &task["status"]).collect::<Vec<_>>(), ["pending", "complete"]);
    let seen =
        |request: &String| request.lines().find_map(|line| line.strip_prefix("last-event-id: ").map(str::to_owned));
    let seen: Vec<Option<String>> = api.requests().iter().map(seen).collect();
    assert_eq!(
        seen,
        [None, Some("e1"), Some("e1"), Some("e1"), Some("e1"), Some("e2")].map(|id| id.map(str::to_owned))
    );
}

#[test]
fn watch_of_the_shop_counts_what_is_open() {
    let mut shop = Shop::start();
    shop.buy_later();
    let mut watch = shop.command(&["watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "running: 1 task; compensating: 0 tasks; needs a person: 0 tasks");
    shop.kill();
    assert_eq!(watch.wait().unwrap().code(), Some(3), "the shop is gone");
}

#[test]
fn empty_page_is_no_end_and_no_task_is_listed_twice() {
    let listed = |id: &str| {
        format!(
            r#"{{"task_id": "{id}", "workflow": "w", "status": "error", "created_at": "c", "failed_steps": [], "compensated": false,
               "needs_person": false}}"#
        )
    };
    let page = |tasks: &[&str], next: &str| {
        let tasks: Vec<String> = tasks.iter().map(|id| listed(id)).collect();
        format!(r#"{{"tasks": [{}], "next": {next}}}"#, tasks.join(","))
    };
    let (first, second, last) = (page(&[], r#""p2""#), page(&["A"], r#""p3""#), page(&["A", "B"], "null"));
    let answers = [(200, &*first), (200, &*second), (200, &*last)];
    let api = Scripted::new(&answers);
    let list = run(command().args(["list", "--token", "x", "--url", &api.url])).expect(0).says("2 tasks");
    assert_eq!(list.stdout.lines().count(), 2, "{list:?}");
    let api = Scripted::new(&answers);
    let mut watch = command();
    watch.args(["watch", "--token", "x", "--url", &api.url]).stdout(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let line = BufReader::new(watch.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(line.starts_with("running: 2 tasks; "), "{line}");
}

/// A second copy would charge a second time.
#[test]
fn copy_of_which_nobody_knows_goes_on_with_its_key() {
    let unconfirmed =
        json!({"success": true, "task_id": UNKNOWN, "copy_of": UNKNOWN, "status": "unconfirmed"}).to_string();
    let api = Scripted::new(&[(202, &unconfirmed)]);
    let copy = ["copy", UNKNOWN, "--reason", "once more", "--url", &api.url, "--token", "x"];
    let lost = run(command().args(copy)).expect(3);
    let (_, key) = lost.stderr.split_once("--idempotency-key ").unwrap();
    let key = key.split(' ').next().unwrap();
    run(command().args(copy).args(["--idempotency-key", key])).expect(3).says(key);
    let requests = api.requests();
    assert_eq!(requests.len(), 4, "each was sent again");
    for request in requests {
        assert!(request.contains(&format!("idempotency-key: {key}\r\n")), "{request}");
    }
}

#[test]
fn local_stack_that_does_not_run_ends_with_3_and_says_how_to_start_it() {
    let mut list = command();
    list.args(["list", "--stage", "local"]).env("STEPWELL_PORT", "4598").current_dir(repository());
    run(&mut list).expect(3).says("infra/local.sh up");
}

#[test]
fn shop_that_does_not_run_ends_with_3_and_says_how_to_start_it() {
    let mut shop = Shop::start();
    let path = shop.data.path().display().to_string();
    let start = format!("Start it: cargo run -p checkout_local -- serve --data {path}");
    shop.stop();
    shop.operate(&["list"]).expect(3).says(&format!("no shop runs with the data folder {path}")).says(&start);
    // What a killed process leaves behind.
    fs::write(shop.data.path().join("operators-url"), "http://127.0.0.1:9").unwrap();
    shop.operate(&["list"]).expect(3).says("nothing answers at http://127.0.0.1:9").says(&start);
    run(command().arg("list").current_dir(shop.data.path()))
        .expect(3)
        .says("/stepwell-data: there is no file operators-url");
}

#[test]
fn token_that_is_not_the_shops_ends_with_4_and_is_not_printed() {
    let shop = Shop::start();
    let token = "0123456789abcdef".repeat(4);
    fs::write(shop.data.path().join("operator-token"), &token).unwrap();
    let refused = shop.operate(&["list"]).expect(4).says("(401)").says("operator-token");
    assert!(!format!("{refused:?}").contains(&token));
    let help = run(command().args(["list", "--help"]).env("STEPWELL_TOKEN", &token)).expect(0);
    assert!(!help.stdout.contains(&token), "{help:?}");
}

#[test_case(&["list", "--stats", "error"], "unexpected argument '--stats'")]
#[test_case(&["list", "--stage", "Dev"], "a stage is 1 to 10 small letters and digits")]
#[test_case(&["list", "--stage", "dev", "--url", "http://x"], "cannot be used with")]
#[test_case(&["list", "--data", "x", "--token", "secret"], "cannot be used with")]
#[test_case(&["list", "--data", "x", "--region", "eu-west-1"], "cannot be used with")]
#[test_case(&["list", "--token", "secret"], "required")]
#[test_case(&["graph", UNKNOWN, "--mermaid", "--json"], "cannot be used with")]
#[test_case(&["list", "--limit", "0"], "invalid value '0'")]
#[test_case(&["redrive", "--reason", "why"], "required")]
#[test_case(&["redrive", UNKNOWN], "--reason <WHY>")]
#[test_case(&["redrive", UNKNOWN, "--status", "error", "--reason", "why"], "cannot be used with")]
#[test_case(&["redrive", UNKNOWN, "--reason", "why", "--pace", "50"], "cannot be used with")]
#[test_case(&["cancel", "--status", "pending"], "--reason <WHY>")]
#[test_case(&["show", UNKNOWN, "--reason", "why"], "unexpected argument '--reason'")]
#[test_case(&["list", "--url", "ftp"], "'ftp' is no URL")]
#[test_case(&["logs", "--url", "http://x"], "say --stage STAGE for those of a stack, --data FOLDER")]
#[test_case(&["demo"], "checkout_local -- demo")]
#[test_case(&["cost"], "required")]
#[test_case(&["cost", "workflow.yaml", "--task", UNKNOWN], "cannot be used with")]
#[test_case(&["cost", "--task", UNKNOWN, "--runs", "5"], "cannot be used with")]
#[test_case(&["cost", "workflow.yaml", "--stage", "dev"], "cannot be used with")]
#[test_case(&["logs", "no id", "--stage", "dev"], "is not a task id")]
fn command_that_makes_no_sense_ends_with_2(arguments: &[&str], why: &str) {
    run(command().args(arguments).args(["--token", "x"].iter().take(if arguments.contains(&"ftp") { 2 } else { 0 })))
        .expect(2)
        .says(why);
}

/// A file that takes nothing, and a pipe that nobody reads any more.
fn full() -> Stdio {
    fs::File::options().write(true).open("/dev/full").unwrap().into()
}

fn unread() -> Stdio {
    io::pipe().unwrap().1.into()
}

#[test_case(full, 3, "stepwell: the output cannot be written: No space left on device")]
#[test_case(unread, 0, "")]
fn output_that_cannot_be_written_is_a_failure_unless_nobody_reads_it(stdout: fn() -> Stdio, code: i32, why: &str) {
    let api = Scripted::new(&[(200, r#"{"tasks": [], "next": null}"#)]);
    let list = ["list", "--json", "--token", "x", "--url", &api.url];
    run(command().args(list).stdout(stdout())).expect(code).says(why);
    run(command().args(["completions", "bash"]).stdout(stdout())).expect(code).says(why);
    // A refusal stays one.
    let api = Scripted::new(&[(409, r#"{"error": "it has ended"}"#)]);
    let redrive = ["redrive", UNKNOWN, "--reason", "why", "--json", "--token", "x", "--url", &api.url];
    run(command().args(redrive).stdout(stdout())).expect(1).says(why).says("stepwell: it has ended (409)");
}

#[test]
fn bulk_action_is_counted_asked_about_and_carried_out_without_whoever_has_started_it() {
    let shop = Shop::start();
    let task = shop.buy("card_declined");
    let filter = ["redrive", "--error-code", "PAYMENT_DECLINED"];
    let with = |more: &[&'static str]| [&filter, more].concat();
    shop.operate(&with(&["--dry-run"])).expect(0).says("1 task to redrive").says(&task);
    assert_eq!(shop.operate(&with(&["--dry-run", "--json"])).expect(0).json()["count"], json!(1));
    shop.operate(&with(&["--reason", "why"])).expect(1).says("there is no terminal to ask on");
    assert_eq!(shop.operate(&["bulk"]).expect(0).stdout, "", "nothing was started");
    shop.operate(&["redrive", "--status", "complete", "--reason", "why", "--yes"]).expect(0).says("0 tasks to redrive");

    let arguments = with(&["--reason", "the bank is back", "--yes"]);
    let following = shop.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    until("it is started", || !shop.operate(&["bulk"]).stdout.is_empty());
    // The next process carries it on at once.
    let shop = shop.restart();
    let followed = following.wait_with_output().unwrap();
    let said = String::from_utf8(followed.stderr).unwrap();
    assert_eq!(followed.status.code(), Some(3), "{said}");
    assert!(said.contains("The bulk action goes on without you. See stepwell bulk "), "{said}");
    let mut all = String::new();
    until("it is over", || {
        all = shop.operate(&["bulk"]).expect(0).stdout;
        all.contains("complete: 1 of 1 done")
    });
    assert!(all.contains("redrive compensated=false") && all.contains("by ann: the bank is back"), "{all}");
    let id = all.split(' ').next().unwrap();
    assert!(said.contains(&format!("stepwell stop {id} --data ")), "{said}");
    shop.operate(&["results", id]).expect(0).prints(&format!("{task}  done\n"));
    assert_eq!(shop.operate(&["results", id, "--json"]).expect(0).json()["results"][0]["task_id"], json!(task));
    assert_eq!(shop.operate(&["bulk", id, "--json"]).expect(0).json()["done"], json!(1));
    shop.operate(&["stop", id, "--reason", "why"]).expect(1).says("(409)");
}

const BULK: &str = r#"{"bulk_id": "B", "action": "redrive", "filter": {"status": "error"}, "status": "STATUS", "who": "w",
    "why": "y", "started_at": "2026-11-26T00:00:00Z", "expected_count": 3, "done": DONE, "refused": REFUSED, "expected_end": null}"#;

fn bulk(status: &str, done: &str, refused: &str) -> String {
    BULK.replace("STATUS", status).replace("DONE", done).replace("REFUSED", refused)
}

#[test]
fn bulk_action_is_followed_to_its_end_and_refused_tasks_end_with_1() {
    let (begun, over) = (bulk("running", "1", "{}"), bulk("complete", "2", r#"{"status": 1}"#));
    let counted = r#"{"count": 3, "or_more": false, "sample": []}"#;
    // The first answer to the start is lost, and the repeated request has the same key.
    let api = Scripted::new(&[(200, counted), (502, "lost"), (202, &begun), (200, &begun), (200, &over)]);
    let mut redrive = command();
    redrive.args(["redrive", "--status", "error", "--reason", "why", "--pace", "50", "--yes", "--token", "secret"]);
    let followed = run(redrive.args(["--url", &api.url])).expect(1);
    let expected = "running: 1 of 3 done\ncomplete: 2 of 3 done, 1 refused: status\nstepwell results B --url";
    let followed = followed.says("3 tasks to redrive").says(expected);
    assert_eq!(followed.stdout, "");
    let requests = api.requests();
    let key = |request: &str| request.lines().find(|line| line.starts_with("idempotency-key: ")).map(str::to_owned);
    assert!(key(&requests[1]).is_some() && key(&requests[1]) == key(&requests[2]), "{requests:?}");
    let body: Value = serde_json::from_str(requests[2].split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let expected = json!({"action": "redrive", "filter": {"status": "error"}, "reason": "why", "pace": 50, "dry_run": false,
        "expected_count": 3, "or_more": false});
    assert_eq!(body, expected);
    assert!(requests.iter().all(|request| request.contains("authorization: Bearer secret\r\n")), "{requests:?}");
}

#[test]
fn bulk_action_whose_start_is_not_answered_says_how_to_look_whether_it_goes_on() {
    let api = Scripted::new(&[(200, r#"{"count": 3, "or_more": false, "sample": []}"#), (502, "lost")]);
    let redrive = ["redrive", "--status", "error", "--reason", "why", "--yes", "--token", "secret", "--url", &api.url];
    let look =
        format!("(502)\n  stepwell bulk --url {} lists what was begun. Look whether it was done before", api.url);
    run(command().args(redrive)).expect(3).says(&look);
    // A count changes nothing.
    let count = ["redrive", "--status", "error", "--dry-run", "--token", "secret", "--url", &api.url];
    assert!(!run(command().args(count)).expect(3).says("(502)").stderr.contains("Look whether"));
}

#[test_case(502)]
#[test_case(429)]
fn look_goes_on_after_an_answer_that_is_lost_or_put_off(status: u16) {
    let api = Scripted::new(&[(status, "lost"), (200, &bulk("complete", "3", "{}"))]);
    let look = ["bulk", "B", "--token", "secret", "--url", &api.url];
    run(command().args(look)).expect(0).says("Asking again in 1 s").prints("complete: 3 of 3 done");
}

#[test]
fn bulk_action_goes_on_after_ctrl_c_and_the_command_says_so() {
    let counted = r#"{"count": 3, "or_more": false, "sample": []}"#;
    let api = Scripted::new(&[(200, counted), (202, &bulk("running", "0", "{}"))]);
    let mut cancel = command();
    cancel.args(["cancel", "--status", "pending", "--reason", "why", "--yes", "--token", "secret", "--url", &api.url]);
    let mut following = cancel.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(following.stderr.take().unwrap()).lines().map(Result::unwrap);
    // It looks from then on, so it also hears of signals.
    until("the progress is looked at", || api.requests().len() > 2);
    assert!(Command::new("kill").args(["-INT", &following.id().to_string()]).status().unwrap().success());
    let last = said.by_ref().last().unwrap();
    assert_eq!(following.wait().unwrap().code(), Some(130), "{last}");
    let expected = format!(
        "stepwell: The bulk action goes on without you. See stepwell bulk B --url {url}, or end it",
        url = api.url
    );
    assert!(last.starts_with(&expected), "{last}");
}

/// The answer of CloudFormation to the question for the stack.
const STACK: &str = "<DescribeStacksResponse><Outputs><member><OutputKey>ApiUrl</OutputKey><OutputValue>URL</OutputValue></member>\
                     </Outputs></DescribeStacksResponse>";

fn on_aws(aws: &Scripted, arguments: &[&str]) -> shop::Ended {
    let mut command = command();
    command.args(arguments).env("AWS_ENDPOINT_URL", &aws.url).env("AWS_REGION", "eu-west-1");
    run(command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "sesame"))
}

#[test]
fn stack_in_aws_is_looked_up_and_asked_with_a_signature() {
    let throttled = "<Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error>";
    let aws = Scripted::new(&[(400, throttled), (200, STACK), (200, r#"{"tasks": [], "count": 0, "next": null}"#)]);
    on_aws(&aws, &["list", "--stage", "dev", "--created-from", "2026-11-23T07:00:00Z"]).expect(0).says("0 tasks");
    let requests = aws.requests();
    assert!(requests[1].ends_with("Action=DescribeStacks&Version=2010-05-15&StackName=stepwell-dev"), "{requests:?}");
    let path = "/tasks?created_from=2026-11-23T07%3A00%3A00Z&order=status&limit=200";
    assert!(requests[2].starts_with(&format!("GET {path} ")), "{requests:?}");
    for (request, service) in [(1, "cloudformation"), (2, "execute-api")] {
        let signature = format!("/eu-west-1/{service}/aws4_request, SignedHeaders=");
        let signed = |line: &str| {
            line.starts_with("authorization: AWS4-HMAC-SHA256 Credential=AKID/") && line.contains(&signature)
        };
        assert!(requests[request].lines().any(signed), "{requests:?}");
    }
}

#[test]
fn credentials_that_expire_are_asked_for_again() {
    let aws = Scripted::new(&[(200, STACK), (200, r#"{"tasks": [], "next": null}"#)]);
    let folder = tempfile::TempDir::new().unwrap();
    let (config, script) = (folder.path().join("config"), folder.path().join("credentials.sh"));
    // Each time another key, for half a minute.
    let text = r#"echo >>"$0.count"
printf '{"Version": 1, "AccessKeyId": "KEY%d", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "%s"}' \
    "$(wc -l <"$0.count")" "$(date -u -d '+30 seconds' +%FT%TZ)"
"#;
    fs::write(&script, text).unwrap();
    fs::write(&config, format!("[default]\ncredential_process = sh {}\n", script.display())).unwrap();
    let mut list = command();
    list.args(["list", "--stage", "dev"]).env("AWS_ENDPOINT_URL", &aws.url).env("AWS_REGION", "eu-west-1");
    run(list.env("AWS_CONFIG_FILE", &config).env("AWS_SHARED_CREDENTIALS_FILE", folder.path().join("none"))).expect(0);
    let key = |request: &str| request.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let keys: Vec<String> = aws.requests().iter().map(|request| key(request)).collect();
    assert_eq!(keys, ["KEY2", "KEY3"], "the first was asked for when nothing was to be signed yet");
}

#[test_case(
    400,
    "<Error><Message>Stack with id stepwell-dev does not exist</Message></Error>",
    3,
    "there is no stack stepwell-dev in eu-west-1, or it is still being made"
)]
#[test_case(
    403,
    "<Error><Code>AccessDenied</Code><Message>no right</Message></Error>",
    4,
    "AWS (cloudformation) answered 403: no right"
)]
fn stack_that_cannot_be_looked_up_is_not_asked(status: u16, answer: &str, code: i32, why: &str) {
    let aws = Scripted::new(&[(status, answer)]);
    on_aws(&aws, &["list", "--stage", "dev"]).expect(code).says(why);
    assert_eq!(aws.requests().len(), 1);
}

#[test]
fn logs_of_a_stack_are_printed_by_time_with_the_step_that_they_are_of() {
    let task = "01a21c3d-8cce-7055-87c2-93a141c249a5";
    let page = |moment: u32, next: &str| {
        let message = format!(r#"{{\"step\":\"validate_cart\",\"task\":\"{task}\"}}"#);
        format!(r#"{{"events": [{{"logStreamName": "s", "timestamp": {moment}, "message": "{message}\n"}}], {next}}}"#)
            .replace(", }", "}")
    };
    let aws = Scripted::new(&[
        (200, &page(2_000, r#""nextToken": "more""#)),
        (200, &page(1_000, "")),
        (200, r#"{"events": []}"#),
    ]);
    let logs = on_aws(&aws, &["logs", task, "--function", "validate_cart", "--stage", "dev"]).expect(0);
    let lines: Vec<&str> = logs.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{logs:?}");
    assert!(lines[0].starts_with("1970-01-01T00:00:01.000Z validate_cart "), "{logs:?}");
    let requests = aws.requests();
    assert!(requests[0].contains(r#""logGroupName":"/aws/lambda/stepwell-dev-checkout""#), "{requests:?}");
    assert!(requests[0].contains(&format!(r#""filterPattern":"\"{task}\"""#)), "{requests:?}");
    assert!(requests[1].contains(r#""nextToken":"more""#), "{requests:?}");
    let aws = Scripted::new(&[(200, &page(1_000, "")), (200, r#"{"events": []}"#)]);
    let line =
        on_aws(&aws, &["logs", task, "--json", "--function", "validate_cart", "--stage", "dev"]).expect(0).json();
    assert_eq!((&line["at"], &line["function"]), (&json!("1970-01-01T00:00:01.000Z"), &json!("validate_cart")));
    on_aws(&aws, &["logs", "--function", "no_such", "--stage", "dev"])
        .expect(2)
        .says("There are: checkout-validate_cart, ");
}

#[test]
fn cost_of_a_task_is_that_which_show_prints() {
    let shop = Shop::start();
    let task = shop.buy("success");
    let cost = shop.operate(&["cost", "--task", &task]).expect(0).stdout;
    assert!(cost.contains(" US dollars on AWS: ") && cost.ends_with(" invocations\n"), "{cost}");
    shop.operate(&["show", &task]).expect(0).prints(&format!("\ncost       {cost}"));
    let as_json = shop.operate(&["cost", "--task", &task, "--json"]).expect(0).json();
    assert_eq!(as_json, shop.operate(&["show", &task, "--json"]).expect(0).json()["cost"]);
    assert!(as_json["dollars"].is_string() && as_json["write_units"].as_u64() > Some(10), "{as_json}");
}

#[test]
fn demo_takes_six_checkouts_through_a_shop_and_says_what_becomes_of_each() {
    let shop = Shop::start();
    let demo = run(command().args(["demo", "--url", &format!("http://{}", shop.customers)])).expect(0);
    assert_eq!(demo.stdout.matches("   As it should be: ").count(), 6, "{demo:?}");
    assert!(demo.stdout.ends_with("\nAll 6 checkouts went as they should.\n"), "{demo:?}");
    assert!(demo.stdout.contains("process_payment    attempt 3  done ("), "{demo:?}");
    let nobody = Scripted::new(&[(404, r#"{"error": "There is no such path"}"#)]);
    run(command().args(["demo", "--url", &nobody.url])).expect(1).says("6 of 6 checkouts did not go as they should");
}

#[test_case("bash", "complete -F _stepwell")]
#[test_case("zsh", "#compdef stepwell")]
#[test_case("fish", "complete -c stepwell")]
fn completions_are_printed(shell: &str, text: &str) {
    run(command().args(["completions", shell])).expect(0).prints(text).prints("resolve-step");
}

#[test_case(&["check"])]
#[test_case(&["render"])]
#[test_case(&["cost"])]
fn help_of_what_is_derived_has_the_exit_codes(command_of: &[&str]) {
    let help = run(command().args(command_of).arg("--help")).expect(0).stdout;
    let codes: Vec<&str> = help.lines().skip_while(|line| *line != "Exit codes:").skip(1).collect();
    let codes: Vec<&str> = codes.iter().map(|line| line.trim().split_once(' ').unwrap().0).collect();
    assert!(codes.starts_with(&["0", "1", "2", "3"]), "{help}");
}

#[test]
fn problem_of_the_repository_ends_with_1_and_a_full_output_with_3() {
    let workflow = "shared/checkout/src/checkout.yaml";
    let cost = |file| [&["cost", file][..], &["--root"]].concat();
    run(command().args(cost(workflow)).arg(repository()).current_dir(repository()).stdout(full())).expect(3);
    run(command().args(cost("no_such.yaml")).arg(repository())).expect(1).says("no_such.yaml");
    run(command().args(["check", "--root", "/"])).expect(1);
    run(command().args(["render", "--check", "--root", "/"])).expect(1);
}

/// What every Linux with glibc has. `libgcc_s` and `libm` are part of what Rust links each program to there, and the loader loads them all.
#[cfg(target_os = "linux")]
#[test]
fn program_needs_no_library_but_that_of_c() {
    let mut readelf = Command::new("readelf");
    let found = run(readelf.arg("--dynamic").arg(env!("CARGO_BIN_EXE_stepwell"))).expect(0).stdout;
    let needed = found.lines().filter(|line| line.contains("(NEEDED)"));
    let needed: Vec<&str> = needed.filter_map(|line| line.split_once('[')?.1.split(".so").next()).collect();
    assert!(needed.contains(&"libc"), "{found}");
    let is_of_c = |library: &&str| ["libc", "libm", "libgcc_s"].contains(library) || library.starts_with("ld-linux-");
    assert!(needed.iter().all(is_of_c), "{needed:?}");
}

#[test]
fn readme_has_the_exit_codes_of_the_help() {
    let help = run(command().args(["list", "--help"])).expect(0).stdout;
    let codes: Vec<&str> = help.lines().skip_while(|line| *line != "Exit codes:").skip(1).collect();
    assert_eq!(codes.len(), 6, "{help}");
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    for (code, meaning) in codes.iter().map(|line| line.trim().split_once(' ').unwrap()) {
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(readme.contains(&row), "README.md lacks: {row}");
    }
}
