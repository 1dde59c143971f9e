//! The checkout with the step `check_fraud`, over a shop in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use checkout::testing::MemoryShop;
use serde_json::{Value, json};
use stepwell::{
    core::{
        snapshot::TaskSnapshot,
        state::{End, StepState, TaskState},
    },
    testing::Harness,
};
use stepwell_tests::checkout::{harness, products, request};
use tasks_api::handlers::checkout_steps::check_fraud::CheckFraudResult;

async fn run(request: &Value) -> (MemoryShop, Harness, TaskSnapshot) {
    let shop = MemoryShop::selling(products());
    let harness = harness(&shop);
    let task = harness.start(request).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    (shop, harness, snapshot)
}

#[tokio::test(start_paused = true)]
async fn new_step_is_run_in_its_place_on_an_earlier_result() {
    let (_, harness, snapshot) = run(&request("success")).await;
    assert_eq!(snapshot.task.state, TaskState::Completed);
    let sent: Vec<String> = harness.sent().into_iter().map(|message| message.step).collect();
    assert_eq!(sent[..3], ["validate_cart", "check_fraud", "process_payment"]);
    let result: CheckFraudResult = harness.result(snapshot.task.id, "check_fraud").await.unwrap();
    assert_eq!(result, CheckFraudResult { score: 0 });
}

#[tokio::test(start_paused = true)]
async fn later_step_reads_its_result_and_the_compensation_is_run() {
    let mut greedy = request("success");
    greedy["cart_items"] = json!([{ "product_id": 1, "quantity": 60 }]);
    let (shop, harness, snapshot) = run(&greedy).await;
    let result: CheckFraudResult = harness.result(snapshot.task.id, "check_fraud").await.unwrap();
    assert_eq!(result, CheckFraudResult { score: 60 });
    let error = snapshot.step("process_payment").unwrap().error.as_ref().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("PAYMENT_DECLINED", "fraud, score 60"));
    assert!(shop.charges().is_empty());
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Error));
    assert_eq!(snapshot.step("forget_suspicion").unwrap().state, StepState::Complete);
}
