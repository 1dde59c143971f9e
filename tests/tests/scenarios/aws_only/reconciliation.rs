//! What does not fit together is found and mended by the deployed function.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use std::time::Duration;
use stepwell::{Runtime, System, TaskId};
use stepwell_tests::stack::{Item, Stack, is_standing_reservation, kept_charge};
use uuid::Uuid;

/// A little more than the function asks for.
const AGE: Duration = Duration::from_secs(61 * 60);

/// The id of a task that was made so long ago, and is gone.
fn lost_task() -> TaskId {
    let made_at = u64::try_from(System.now().before(AGE).as_millis()).unwrap();
    TaskId::from(Uuid::from_u64_pair(made_at << 16 | 0x7000, fastrand::u64(..) >> 2 | 1 << 63))
}

/// Copies an item under another id, with these attributes changed.
async fn copy(stack: &Stack, table: &str, (from, to): (&str, &str), changed: &[(&str, &str)]) {
    let item = item(stack, table, from).await.unwrap();
    let put = stack.dynamo.put_item().table_name(stack.shop_table(table)).set_item(Some(item));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let put = changed.iter().fold(put.item("id", text(to)), |put, (name, value)| put.item(*name, text(value)));
    put.send().await.unwrap();
}

async fn item(stack: &Stack, table: &str, id: &str) -> Option<Item> {
    let get = stack.dynamo.get_item().table_name(stack.shop_table(table)).consistent_read(true);
    get.key("id", AttributeValue::S(id.to_owned())).send().await.unwrap().item
}

/// Other tests invoke the function, too, so only the effects are sure.
#[tokio::test]
async fn charge_and_units_of_a_task_that_is_gone_are_given_back_and_a_settled_finding_is_recorded() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, ..) = stack.api.run(&product.request(2, "test_success_visa")).await;
    let (lost, payment) = (lost_task(), format!("pay_{}", TaskId::new()));
    let record = item(&stack, "payments", &format!("{task}:process_payment")).await.unwrap();
    let paid = record["payment"].as_s().unwrap();
    let (charge, hold) = (format!("{lost}:process_payment"), format!("{lost}:validate_cart"));
    copy(&stack, "payments", (paid, &payment), &[]).await;
    copy(&stack, "payments", (&format!("{task}:process_payment"), &charge), &[("payment", &payment)]).await;
    copy(&stack, "reservations", (&format!("{task}:validate_cart"), &hold), &[]).await;

    stack.invoke("reconcile", r#"{"mend": true}"#).await;
    assert_eq!(kept_charge(&item(&stack, "payments", &payment).await.unwrap()), None);
    assert!(!is_standing_reservation(&item(&stack, "reservations", &hold).await.unwrap()));
    assert_eq!(product.stock().await, 5, "three were left, and two are put back");
    assert_eq!(stack.charges(&task).await, [product.total_cents(2)], "the checkout that fits together is left alone");

    let lost = lost.to_string();
    let settle = ["reconcile", "acknowledge", &lost, "refund_failed", "--reason", "bank transfer", "--json"];
    let answer: Value = serde_json::from_str(&stack.operate(&settle)).unwrap();
    assert_eq!(answer, json!({ "acknowledged": lost }));
    let kept = item(&stack, "payments", &format!("acknowledged:{lost}:refund_failed")).await.unwrap();
    let who = kept["who"].as_s().unwrap();
    assert!(who.starts_with("arn:aws:"), "{who}");
}
