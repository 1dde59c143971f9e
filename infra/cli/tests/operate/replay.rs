//! Steps of stored tasks, run once more on a shop in memory.

use crate::{
    UNKNOWN,
    shop::{Scripted, Shop, command, repository, run, until},
};
use serde_json::{Value, json};

/// The beginnings of the calls that a replay has made.
fn calls(report: &Value) -> Vec<&str> {
    let calls = report["calls"].as_array().unwrap();
    calls.iter().map(|call| call["call"].as_str().unwrap().split('(').next().unwrap()).collect()
}

#[test]
fn replayed_step_of_a_completed_checkout_has_the_stored_result_and_shows_its_calls() {
    let shop = Shop::start();
    let task = shop.buy("success");
    let stored = shop.operate(&["show", &task, "--json"]).expect(0).json();
    let replayed = shop.replay(&task, &["create_order", "--json"]).expect(0).json();
    assert_eq!((&replayed["task_id"], &replayed["attempt"]), (&json!(task), &json!(1)));
    assert_eq!((calls(&replayed), &replayed["differences"]), (vec!["orders.create"], &json!([])));
    let result = &replayed["answer"]["result"];
    assert_eq!((result, &result["customer_email"]), (&stored["steps"][3]["result"], &json!("***")));
    let steps: Vec<_> = replayed["before"].as_array().unwrap().iter().map(|before| &before["step"]).collect();
    assert_eq!(steps, ["validate_cart", "process_payment", "update_inventory"]);

    let told = shop.replay(&task, &["create_order"]).expect(0);
    for text in [
        &*format!("create_order, attempt 1 of task {task}, on a shop in memory\n"),
        "missing here unless a patch gives it: /payment_info/token\n",
        "\nrun before it:\n  validate_cart\n  process_payment\n",
        "\n  1. orders.create(Order {",
        "\nthe same is stored\n",
    ] {
        assert!(told.stdout.contains(text), "{text}: {told:?}");
    }
    // Each step and each compensation of the file has its handler here, and what it left is there for those after it.
    let cancelled = shop.buy("success");
    shop.operate(&["cancel", &cancelled, "--reason", "a test"]).expect(0);
    until("it is cancelled", || shop.operate(&["show", &cancelled]).stdout.contains("status     cancelled"));
    let stored = shop.operate(&["show", &cancelled, "--json"]).expect(0).json();
    let all = ["steps", "compensations"].iter().flat_map(|list| stored[list].as_array().unwrap());
    let names: Vec<&str> = all.map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 9);
    for name in names {
        // The token of the card is deleted, so a payment is replayed with another.
        let card = r#"{"payment_info": {"token": "test_success_visa"}}"#;
        let replayed = shop.replay(&cancelled, &[name, "--patch", card, "--json"]).expect(0).json();
        let differences = replayed["differences"].as_array().unwrap();
        let at: Vec<&str> = differences.iter().map(|difference| difference["at"].as_str().unwrap()).collect();
        // The service names each e-mail.
        let expected: &[&str] = if name.starts_with("send_") { &["/message_id"] } else { &[] };
        assert_eq!(at, expected, "{name}: {replayed}");
    }
    assert_eq!(shop.operate(&["show", &cancelled, "--json"]).json(), stored, "nothing was done to it");
}

#[test]
fn declined_payment_is_replayed_without_its_card_and_succeeds_with_another() {
    let shop = Shop::start();
    let task = shop.buy("card_declined");
    let without = shop.replay(&task, &["process_payment", "--json"]).expect(1).says("process_payment failed");
    let without = without.json();
    assert_eq!(without["answer"]["error"]["code"], "MISSING_PAYMENT_TOKEN");
    assert_eq!(
        without["differences"][0],
        json!({"at": "/code", "stored": "PAYMENT_DECLINED", "now": "MISSING_PAYMENT_TOKEN"})
    );
    let with = |token: &str| {
        let patch = json!({"payment_info": {"token": token}}).to_string();
        shop.replay(&task, &["process_payment", "--patch", &patch, "--json"])
    };
    let same = with("test_declined_visa").expect(1);
    assert_eq!(same.json()["differences"], json!([]), "{same:?}");
    let paid = with("test_success_amex").expect(0);
    assert!(!paid.stdout.contains("test_success_amex") && !paid.stderr.contains("test_success_amex"), "{paid:?}");
    let paid = paid.json();
    assert_eq!(paid["answer"]["result"]["amount_charged"], 20.66);
    assert_eq!(calls(&paid).last(), Some(&"card_tokens.forget"));
    assert!(calls(&paid).contains(&"gateway.confirm"), "{paid}");
    assert_eq!(shop.operate(&["show", &task, "--json"]).json()["status"], "error", "no card was charged");
}

#[test]
fn replay_is_refused_with_what_is_wrong() {
    let shop = Shop::start();
    let task = shop.buy("card_declined");
    let unknown = shop.replay(&task, &["proces_payment"]).expect(2);
    unknown.says("there is no step proces_payment; there are validate_cart, process_payment,");
    shop.replay(UNKNOWN, &["validate_cart"]).expect(1).says("There is no such task (404)");
    shop.replay(&task, &["validate_cart", "--patch", "{"]).expect(2).says("--patch: it is not JSON");
    let api = Scripted::new(&[(200, "{}"), (403, r#"{"message": "Forbidden"}"#)]);
    let arguments = ["replay", UNKNOWN, "--step", "validate_cart", "--url", &api.url, "--token", "t"];
    let refused = run(command().args(arguments).current_dir(repository())).expect(4);
    refused.says("Forbidden (403)").says("to see an input tasks.reveal?");
    assert!(api.requests()[1].starts_with(&format!("POST /tasks/{UNKNOWN}/reveal ")), "{:?}", api.requests());
}
