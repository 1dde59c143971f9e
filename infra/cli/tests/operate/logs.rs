//! The log of one machine, as `stepwell logs` prints it.

use crate::shop::{Ended, Shop, command, run, until};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};
use stepwell::{Runtime, System, Timestamp};
use tempfile::TempDir;

/// `logs` with these arguments, where there is no repository.
fn logs(shop: &Shop, arguments: &[&str]) -> Ended {
    run(shop.command(&[&["logs"], arguments].concat()).current_dir("/"))
}

/// The lines as JSON, and what of each is about the log itself.
fn read(printed: &str) -> Vec<(Value, Value)> {
    let lines = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (serde_json::from_str(line["message"].as_str().unwrap()).unwrap(), line)).collect()
}

#[test]
fn logs_of_one_machine_are_those_of_a_task_or_a_step_also_when_the_shop_is_stopped() {
    let mut shop = Shop::start();
    let (bought, declined) = (shop.buy("success"), shop.buy("card_declined"));
    // Its last line may come after its answer.
    until("its end is logged", || logs(&shop, &[&declined]).stdout.contains("task failed"));
    let printed = logs(&shop, &[&declined]).expect(0).stdout;
    let first: Vec<&str> = printed.lines().next().unwrap().splitn(3, ' ').collect();
    assert!(first[0].ends_with('Z') && first[1] == "stepwell" && first[2].contains("\"task started\""), "{printed}");
    assert!(printed.lines().any(|line| line.contains("Z process_payment {")), "{printed}");
    assert!(printed.contains("PAYMENT_DECLINED") && !printed.contains(&bought), "{printed}");

    let of_step = logs(&shop, &["--function", "process_payment", "--json"]).expect(0);
    let lines = read(&of_step.stdout);
    assert!(lines.iter().all(|(_, line)| line["function"] == "process_payment"), "{of_step:?}");
    let ends: Vec<_> = lines
        .iter()
        .filter(|(message, _)| message["message"] == "attempt ended")
        .map(|(message, _)| (&message["task_id"], &message["code"]))
        .collect();
    assert_eq!(ends, [(&json!(bought), &Value::Null), (&json!(declined), &json!("PAYMENT_DECLINED"))]);
    let (message, line) = &lines[0];
    let (at, logged) = (line["at"].as_str().unwrap(), message["timestamp"].as_str().unwrap());
    assert_eq!(at.trim_end_matches('Z'), &logged[..23], "to the millisecond");

    let none = logs(&shop, &["--function", "no_such"]).expect(0).says("There are lines of: ").says("process_payment");
    assert_eq!(none.stdout, "");
    shop.stop();
    assert_eq!(logs(&shop, &[&declined]).expect(0).stdout, printed, "a task's");
    logs(&shop, &[]).expect(0).prints("\"process started\"").prints("\"stopping: ");
}

#[test]
fn followed_log_of_one_machine_goes_on_with_what_comes() {
    let shop = Shop::start();
    until("the process has logged its start", || logs(&shop, &[]).code == Some(0));
    let mut follow = shop.command(&["logs", "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut printed = vec![lines.next().unwrap()];
    assert!(printed[0].contains("process started"), "{printed:?}");
    let task = shop.buy("success");
    while !printed[printed.len() - 1].contains("task completed") {
        printed.push(lines.next().unwrap());
    }
    let (message, line) = read(&printed[printed.len() - 1]).remove(0);
    assert_eq!((&message["task_id"], &line["function"]), (&json!(task), &json!("send_confirmation")));
    let different: BTreeSet<_> = printed.iter().collect();
    assert_eq!(different.len(), printed.len(), "each line once: {printed:?}");
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn old_lines_of_one_machine_are_printed_if_they_are_asked_for_and_cut_ones_never() {
    let data = TempDir::new().unwrap();
    let line = |at: Timestamp, text: &str| json!({"timestamp": at, "message": text, "target": "a_crate::module"});
    let old = Timestamp::from_millis(1_577_880_000_000);
    fs::create_dir(data.path().join("log")).unwrap();
    let lines = format!("{}\n{{\"cut\n{}\n{{\"amid its write", line(old, "old"), line(System.now(), "new"));
    fs::write(data.path().join("log/00000001.jsonl"), lines).unwrap();
    let logs = |since: &[&str]| {
        let printed = run(command().args(["logs", "--json", "--data"]).arg(data.path()).args(since)).expect(0).stdout;
        read(&printed)
            .into_iter()
            .map(|(message, line)| json!([message["message"], line["function"]]))
            .collect::<Vec<_>>()
    };
    let both = [json!(["old", "a_crate"]), json!(["new", "a_crate"])];
    assert_eq!(logs(&[]), both[1..], "ten minutes");
    assert_eq!(logs(&["--since", "20000000"]), both);
}

#[test]
fn folder_without_a_log_is_no_shop() {
    let data = TempDir::new().unwrap();
    run(command().args(["logs", "--data"]).arg(data.path())).expect(3).says("there is no folder log. Start it: ");
}
