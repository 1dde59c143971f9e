//! The checkout's workflow file.

use stepwell::{Workflow, WorkflowError};

/// The checkout: its steps, their limits, and the schema of a request. Read it once, at start-up.
///
/// # Errors
/// None, unless `checkout.yaml` was changed for the worse; a test reads it.
pub fn workflow() -> Result<Workflow, WorkflowError> {
    Workflow::from_yaml(include_str!("checkout.yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_LINES, MAX_QUANTITY};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::LazyLock;
    use test_case::test_case;

    static WORKFLOW: LazyLock<Workflow> = LazyLock::new(|| workflow().unwrap());

    fn request() -> Value {
        json!({
            "cart_items": [{"product_id": 1, "quantity": 2}],
            "payment_info": {"token": "test_success_visa", "amount": serde_json::from_str::<Value>("100.00").unwrap()},
            "customer_info": {"email": "test@example.com", "name": "Test Customer"},
        })
    }

    /// The request with another value at a place.
    fn with(pointer: &str, value: Value) -> Value {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut request = request();
        match request.pointer_mut(parent).unwrap() {
            Value::Object(fields) => {
                fields.insert(name.to_owned(), value);
            }
            list => list[name.parse::<usize>().unwrap()] = value,
        }
        request
    }

    fn paths(request: &Value) -> Vec<String> {
        let violations = WORKFLOW.validate(request).err().unwrap_or_default();
        violations.into_iter().map(|violation| violation.path).collect()
    }

    #[test]
    fn the_file_has_the_steps_limits_and_timeouts() {
        let workflow = &*WORKFLOW;
        assert_eq!(workflow.id().to_string(), "ecommerce/checkout@1.0.0");
        let limits = |request: &Value| -> Vec<(String, u32, u32)> {
            let plan = workflow.plan_for(request);
            plan.steps().iter().map(|step| (step.name.clone(), step.retry_limit, step.timeout_seconds)).collect()
        };
        let named = |limits: [(&str, u32, u32); 5]| limits.map(|(name, limit, time)| (name.to_owned(), limit, time));
        let standard = named([
            ("validate_cart", 3, 15),
            ("process_payment", 3, 30),
            ("update_inventory", 2, 20),
            ("create_order", 3, 15),
            ("send_confirmation", 5, 10),
        ]);
        assert_eq!(limits(&request()), standard);
        assert_eq!(limits(&with("/priority", json!("overnight"))), standard);
        let [validate, _, inventory, order, _] = standard;
        let [payment, mail] = [("process_payment".to_owned(), 2, 15), ("send_confirmation".to_owned(), 3, 10)];
        assert_eq!(limits(&with("/priority", json!("express"))), [validate, payment, inventory, order, mail]);
    }

    #[test]
    fn a_request_may_carry_all_that_is_documented() {
        assert_eq!(paths(&request()), [""; 0]);
        let full = r#"{
            "cart_items": [{"product_id": 1, "quantity": 2, "price": 43.98, "name": "Lamp"}],
            "payment_info": {"token": "test_success_visa", "amount": 100.00, "method": "credit_card", "currency": "USD"},
            "customer_info": {"email": "test@example.com", "name": "Test Customer", "id": 7, "phone": "+1 555 0100", "tier": "gold"},
            "shipping_info": {"street": "1 Main St", "city": "Springfield", "postal_code": "12345"},
            "priority": "express"
        }"#;
        assert_eq!(paths(&serde_json::from_str(full).unwrap()), [""; 0]);
        assert_eq!(paths(&with("/payment_info/payment_method", json!("debit_card"))), [""; 0]);
        assert_eq!(paths(&with("/customer_info/id", json!("c-7"))), [""; 0]);
    }

    #[test]
    fn every_violation_is_told_with_its_path() {
        let request = json!({
            "cart_items": [{"product_id": 1, "quantity": 0}, {"quantity": 1.5}, 7],
            "payment_info": {"token": "", "amount": "100.00", "card_number": "4242424242424242"},
            "customer_info": {"email": "nobody", "name": ""},
            "shipping_info": {"zip": 12345},
            "priority": "yesterday",
            "coupon": "FREE",
        });
        let mut paths = paths(&request);
        paths.sort_unstable();
        paths.dedup();
        let expected = [
            "",
            "/cart_items/0/quantity",
            "/cart_items/1",
            "/cart_items/1/quantity",
            "/cart_items/2",
            "/customer_info/email",
            "/customer_info/name",
            "/payment_info",
            "/payment_info/amount",
            "/payment_info/token",
            "/priority",
            "/shipping_info/zip",
        ];
        assert_eq!(paths, expected);
    }

    #[test_case("/cart_items/0/quantity", "1000", true)]
    #[test_case("/cart_items/0/quantity", "2.0", true; "an integer all the same")]
    #[test_case("/cart_items/0/quantity", "1001", false)]
    #[test_case("/cart_items/0/quantity", "-1", false)]
    #[test_case("/cart_items/0/quantity", "1e400", false)]
    #[test_case("/cart_items/0/product_id", "4294967295", true)]
    #[test_case("/cart_items/0/product_id", "4294967296", false)]
    #[test_case("/cart_items/0/price", "43.98", true)]
    #[test_case("/cart_items/0/price", "43.985", false)]
    #[test_case("/payment_info/amount", "0", false)]
    #[test_case("/payment_info/amount", "0.01", true)]
    #[test_case("/payment_info/amount", "87.96", true)]
    #[test_case("/payment_info/amount", "100.001", false)]
    #[test_case("/payment_info/amount", "100.000000000000000000000000000000000001", false; "more digits than a float has")]
    #[test_case("/payment_info/amount", "1e300", false)]
    #[test_case("/payment_info/currency", "\"EUR\"", false)]
    #[test_case("/payment_info/token", "\"4242424242424242\"", false; "a card number")]
    #[test_case("/cart_items", "[]", false; "an empty cart")]
    #[test_case("/customer_info/name", "\"Zoë O'Hara\"", true)]
    #[test_case("/customer_info/name", "\"Zoë\\nclick here\"", false; "a second line")]
    fn limits(pointer: &str, value: &str, good: bool) {
        let expected = if good { vec![] } else { vec![pointer.to_owned()] };
        assert_eq!(paths(&with(pointer, serde_json::from_str(value).unwrap())), expected);
    }

    #[test]
    fn the_schemas_limits_are_the_steps_limits() {
        let lines =
            |count: usize| with("/cart_items", vec![json!({"product_id": 1, "quantity": MAX_QUANTITY}); count].into());
        assert_eq!(paths(&lines(MAX_LINES)), [""; 0]);
        assert_eq!(paths(&lines(MAX_LINES + 1)), ["/cart_items"]);
        assert_eq!(paths(&with("/cart_items/0/quantity", (MAX_QUANTITY + 1).into())), ["/cart_items/0/quantity"]);
    }

    /// Who is let in at the door must not be refused by the last step, with the card charged already.
    #[test_case("test@example.com")]
    #[test_case("o'brien+tag@mail.example.com")]
    #[test_case("\"a b\"@example.com"; "quoted")]
    #[test_case("test@localhost"; "no dot")]
    #[test_case("test@[127.0.0.1]"; "an address literal")]
    #[test_case("tëst@example.com"; "not ASCII")]
    #[test_case("test@exämple.com"; "not ASCII either")]
    #[test_case("test@example.com\n"; "a line break")]
    #[test_case("test@-example.com"; "a hyphen first")]
    #[test_case("test@example..com"; "two dots")]
    #[test_case("a@b@example.com"; "two ats")]
    #[test_case("nobody")]
    fn the_door_and_the_step_agree_on_addresses(email: &str) {
        let mut at_the_door = paths(&with("/customer_info/email", json!(email)));
        at_the_door.dedup();
        let expected = if crate::is_email_address(email) { vec![] } else { vec!["/customer_info/email"] };
        assert_eq!(at_the_door, expected);
    }

    proptest! {
        #[test]
        fn what_passes_the_door_passes_the_step(email in r#"[a-z0-9."+ '\[-]{1,70}@[a-zA-Z0-9.\[\]:-]{1,70}"#) {
            let refused = !paths(&with("/customer_info/email", json!(email))).is_empty();
            prop_assert!(refused || crate::is_email_address(&email));
        }
    }
}
