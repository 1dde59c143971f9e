use super::*;
use checkout::testing::MemoryShop;
use serde_json::{Value, json};
use stepwell::{
    Client,
    testing::{Memory, VirtualClock},
};

/// Sends a request to a function whose shop has a hold that no task has made, two hours old.
async fn answer(request: Value) -> Result<Value, String> {
    let clock = VirtualClock::new();
    let lost = clock.new_task_id();
    clock.wait_until(clock.now() + 2 * MIN_AGE).await;
    let (shop, memory) = (MemoryShop::default(), Memory::new(clock.clone()));
    shop.hold(&format!("{lost}:validate_cart"), &checkout::Reservation::default(), clock.now()).await.unwrap();
    let reconciliation = Reconciliation::new(shop.clone(), shop, Client::new(memory.clone(), memory, clock.clone()));
    let request: Request = serde_json::from_value(request).map_err(|error| error.to_string())?;
    let answer = handle(&reconciliation, request, clock.now() + MIN_AGE).await.map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(answer).unwrap())
}

#[tokio::test(start_paused = true)]
async fn request_without_anything_lists_and_one_that_mends_mends() {
    for (request, outcome) in [(json!({}), "listed"), (json!({"mend": true}), "mended")] {
        let answer = answer(request).await.unwrap();
        let finding = &answer["findings"][0];
        assert_eq!((&finding["kind"], &finding["remedy"]), (&json!("stock_without_task"), &json!("release")));
        assert_eq!((&finding["outcome"]["is"], &answer["judged"]), (&json!(outcome), &json!(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_is_not_understood_changes_nothing() {
    let task = "018f4e4e-7c1a-7000-8000-0123456789ab";
    for (request, problem) in [
        (json!({"mends": true}), "unknown field `mends`"),
        (
            json!({"mend": true, "min_age_seconds": 60}),
            "min_age_seconds is 60, and a run that mends needs 3600 at least",
        ),
        (
            json!({"acknowledge": {"id": task, "kind": "refund_failed", "who": "alice", "why": " "}}),
            "acknowledge needs who has settled the finding, and why",
        ),
        (
            json!({"acknowledge": {"id": "pay_1", "kind": "refund_failed", "who": "alice", "why": "a test"}}),
            "refund_failed cannot be about `pay_1`",
        ),
        (
            json!({"acknowledge": {"id": task, "kind": "charge_without_record", "who": "alice", "why": "a test"}}),
            "charge_without_record cannot be about `018f4e4e",
        ),
    ] {
        let refused = answer(request).await.unwrap_err();
        assert!(refused.starts_with(problem), "{refused}");
    }
}
