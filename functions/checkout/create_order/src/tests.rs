use crate::step;
use checkout::{
    CreatedOrder, Orders, StoreError,
    testing::{MemoryShop, Outage},
};
use serde_json::{Value, json};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

fn task() -> TaskId {
    "018f4e4e-7c1a-7000-8000-0123456789ab".parse().unwrap()
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn results() -> Value {
    let text = r#"{
        "validate_cart": {
            "validated_items": [{"product_id": 1, "name": "Lamp", "price": 43.98, "quantity": 2, "line_total": 87.96}],
            "subtotal": 87.96, "tax": 7.04, "shipping": 5.00, "total": 100.00, "item_count": 2,
            "validated_at": "2023-11-14T22:13:20.123Z"
        },
        "process_payment": {
            "payment_id": "pay_1", "amount_charged": 100.00, "currency": "USD", "payment_method_type": "visa",
            "transaction_id": "txn_1", "processed_at": "2023-11-14T22:13:20.123Z"
        },
        "update_inventory": {
            "updated_products": [
                {"product_id": 1, "name": "Lamp", "previous_stock": 7, "new_stock": 5, "quantity_reserved": 2}
            ],
            "total_items_reserved": 2,
            "inventory_changes": [{"product_id": 1, "change_type": "reservation", "quantity": -2}]
        }
    }"#;
    serde_json::from_str(text).unwrap()
}

async fn run(shop: &MemoryShop, context: Value, results: &Value) -> Result<CreatedOrder, StepError> {
    let results =
        results.as_object().unwrap().iter().map(|(step, result)| (step.clone(), result.to_string())).collect();
    let data = TaskData { context: context.to_string(), results };
    let ctx = StepContext::for_test("create_order", task(), NOW);
    step(shop).unwrap().run(Input::from_data(&data)?, &ctx).await
}

fn customer() -> Value {
    json!({"customer_info": {"email": "test@example.com", "name": "Test Customer"}, "shipping_info": {"city": "Springfield"}})
}

#[tokio::test]
async fn order_is_made_for_the_paid_cart() {
    let shop = MemoryShop::default();
    let created = run(&shop, customer(), &results()).await.unwrap();
    let expected = concat!(
        r#"{"order_id":"018f4e4e-7c1a-7000-8000-0123456789ab","order_number":"ORD-20231114-779DF9F7","status":"confirmed","#,
        r#""total_amount":100.00,"customer_email":"test@example.com","created_at":"2023-11-14T22:13:20.123Z","#,
        r#""estimated_delivery":"2023-11-19T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&created).unwrap(), expected);
    let [order] = shop.all_orders().try_into().unwrap();
    assert_eq!((order.items.len(), order.payment_id.as_str()), (1, "pay_1"));
    assert_eq!(order.shipping_info.get("city").map(String::as_str), Some("Springfield"));
}

#[tokio::test]
async fn order_says_whether_its_payment_was_simulated() {
    for simulated in [true, false] {
        let (shop, mut results) = (MemoryShop::default(), results());
        if simulated {
            results["process_payment"]["simulated"] = json!(true);
        }
        run(&shop, customer(), &results).await.unwrap();
        let [order] = shop.all_orders().try_into().unwrap();
        let said = serde_json::to_value(order).unwrap().get("simulated").cloned();
        assert_eq!(said, simulated.then_some(json!(true)), "a result without the field is of a real payment");
    }
}

#[test_case(json!({}), "2023-11-19T22:13:20.123Z"; "not said")]
#[test_case(json!({"priority": "standard"}), "2023-11-19T22:13:20.123Z"; "standard")]
#[test_case(json!({"priority": "express"}), "2023-11-16T22:13:20.123Z"; "express")]
#[test_case(json!({"priority": "overnight"}), "2023-11-15T22:13:20.123Z"; "overnight")]
#[tokio::test]
async fn delivery_goes_by_priority(context: Value, delivery: &str) {
    let created = run(&MemoryShop::default(), context, &results()).await.unwrap();
    assert_eq!(created.estimated_delivery.to_string(), delivery);
    assert_eq!(created.customer_email, None, "a paid cart is ordered without an address, too");
}

#[test_case("process_payment", "MISSING_PAYMENT_RESULT")]
#[test_case("update_inventory", "MISSING_INVENTORY_RESULT")]
#[tokio::test]
async fn missing_result_of_a_dependency_is_refused(step: &str, code: &str) {
    let mut results = results();
    results.as_object_mut().unwrap().remove(step);
    let error = run(&MemoryShop::default(), customer(), &results).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), (code, false));
}

#[test_case("/process_payment/amount_charged", json!(99); "charged less")]
#[test_case("/process_payment/currency", json!("EUR"); "charged something else")]
#[test_case("/update_inventory/updated_products/0/quantity_reserved", json!(1); "reserved fewer")]
#[test_case("/update_inventory/updated_products/0/product_id", json!(2); "reserved others")]
#[test_case("/update_inventory/updated_products", json!([]); "reserved none")]
#[tokio::test]
async fn charge_or_reservation_that_differs_from_the_cart_is_refused(pointer: &str, value: Value) {
    let mut results = results();
    *results.pointer_mut(pointer).unwrap() = value;
    let shop = MemoryShop::default();
    let error = run(&shop, customer(), &results).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("ORDER_VALIDATION_FAILED", false), "{error}");
    assert!(shop.all_orders().is_empty());
}

#[tokio::test]
async fn busy_table_is_retryable() {
    let busy = StoreError::Busy("TransactionConflict".to_owned());
    let shop = MemoryShop::default();
    shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
    let error = run(&shop, customer(), &results()).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn cancelled_order_is_not_made_again() {
    let shop = MemoryShop::default();
    shop.cancel(task(), NOW).await.unwrap();
    let error = run(&shop, customer(), &results()).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("ORDER_VOID", false));
}
