//! The checkout's workflow file.

use crate::{EmailAddress, PersonName, SingleLine};
use std::{fmt::Display, str::FromStr};
use stepwell::{TextFormat, Workflow, WorkflowError};

/// Reads the checkout's workflow: its steps, their limits, and the schema of a request. Call it once, at start-up.
///
/// # Errors
/// `checkout.yaml` is invalid. A test reads it, so a released version returns no error.
pub fn workflow() -> Result<Workflow, WorkflowError> {
    workflow_from(include_str!("checkout.yaml"))
}

/// Reads a variant of the checkout's workflow, such as one with other limits, from the text of a workflow file.
///
/// # Errors
/// The file is invalid; the error says where.
pub fn workflow_from(file: &str) -> Result<Workflow, WorkflowError> {
    const FORMATS: [TextFormat; 3] = [
        TextFormat { name: "email-address", check: check::<EmailAddress> },
        TextFormat { name: "person-name", check: check::<PersonName> },
        TextFormat { name: "single-line", check: check::<SingleLine> },
    ];
    Workflow::from_yaml_with_formats(file, &FORMATS)
}

/// Checks that a text parses as a `T`; the error says why it does not.
fn check<T: FromStr<Err: Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_LINES, MAX_QUANTITY, testing::steps};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use test_case::test_case;

    fn request() -> Value {
        json!({
            "cart_items": [{"product_id": 1, "quantity": 2}],
            "payment_info": {"token": "test_success_visa", "amount": serde_json::from_str::<Value>("100.00").unwrap()},
            "customer_info": {"email": "test@example.com", "name": "Test Customer"},
        })
    }

    /// The request with another value at a JSON pointer.
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
        let violations = steps::workflow().validate(request).err().unwrap_or_default();
        violations.into_iter().map(|violation| violation.path).collect()
    }

    /// The maximum of attempts and the timeout in seconds of each step.
    fn step_limits(request: &Value) -> BTreeMap<String, (u32, u32)> {
        let plan = steps::workflow().plan_for(request);
        plan.steps().iter().map(|step| (step.name.clone(), (step.max_attempts, step.timeout_seconds))).collect()
    }

    #[test]
    fn file_has_the_agreed_limits_and_timeouts() {
        const AGREED: [(&str, (u32, u32)); 5] = [
            ("validate_cart", (3, 15)),
            ("process_payment", (3, 30)),
            ("update_inventory", (2, 20)),
            ("create_order", (3, 15)),
            ("send_confirmation", (5, 10)),
        ];
        assert_eq!(steps::workflow().id().to_string(), "ecommerce/checkout@1.0.0");
        let standard = step_limits(&request());
        assert_eq!(AGREED.map(|(step, _)| (step, standard[step])), AGREED);
        assert_eq!(step_limits(&with("/priority", json!("overnight"))), standard);
    }

    #[test]
    fn express_order_has_lower_limits_for_payment_and_confirmation_only() {
        let mut expected = step_limits(&request());
        expected.insert("process_payment".to_owned(), (2, 15));
        expected.insert("send_confirmation".to_owned(), (3, 10));
        assert_eq!(step_limits(&with("/priority", json!("express"))), expected);
    }

    #[test]
    fn request_with_every_documented_field_is_valid() {
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
    fn every_violation_has_its_path() {
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
    #[test_case("/cart_items/0/quantity", "2.0", true; "an integer with a decimal point")]
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
    #[test_case("/customer_info/email", "\"test@example.com\"", true; "an address")]
    #[test_case("/customer_info/email", "\"test@localhost\"", false; "an address without a dot")]
    fn limits(pointer: &str, value: &str, good: bool) {
        let expected = if good { vec![] } else { vec![pointer.to_owned()] };
        assert_eq!(paths(&with(pointer, serde_json::from_str(value).unwrap())), expected);
    }

    #[test]
    fn limits_of_the_schema_are_those_of_the_steps() {
        let lines =
            |count: usize| with("/cart_items", vec![json!({"product_id": 1, "quantity": MAX_QUANTITY}); count].into());
        assert_eq!(paths(&lines(MAX_LINES)), [""; 0]);
        assert_eq!(paths(&lines(MAX_LINES + 1)), ["/cart_items"]);
        assert_eq!(paths(&with("/cart_items/0/quantity", (MAX_QUANTITY + 1).into())), ["/cart_items/0/quantity"]);
    }

    /// The messages for a request with this value at a JSON pointer.
    fn messages(pointer: &str, value: &Value) -> Vec<String> {
        let violations = steps::workflow().validate(&with(pointer, value.clone())).err().unwrap_or_default();
        assert!(violations.iter().all(|violation| violation.path == pointer), "{violations:?}");
        violations.into_iter().map(|violation| violation.message).collect()
    }

    #[test_case(
        "/customer_info/email",
        "A <a@example.org>",
        "value has a name or brackets around the address; send the address alone, such as name@example.com"
    )]
    #[test_case("/customer_info/name", " ", "value has no letter or digit in it; write the name as it is to be read"; "a blank name")]
    #[test_case("/customer_info/phone", "1\n2", "value has a line break or another control character in it; write it on one line"; "two phones")]
    fn message_for_an_invalid_text_says_what_to_do(pointer: &str, text: &str, message: &str) {
        assert_eq!(messages(pointer, &text.into()), [message]);
    }

    #[test_case("/payment_info/amount", json!(100.001), "value is not a multiple of 0.01"; "parts of a cent")]
    #[test_case("/cart_items/0/quantity", json!(0), "value is less than the minimum of 1"; "none")]
    #[test_case("/payment_info/amount", json!(-1), "value is less than or equal to the minimum of 0"; "less than nothing")]
    #[test_case("/cart_items", json!({}), "value is not of type \"array\""; "no list")]
    #[test_case("/customer_info/email", json!("test@localhost"), "value has no domain such as example.com after the @"; "an address without a dot")]
    fn message_for_an_invalid_value_says_what_is_wrong(pointer: &str, value: Value, message: &str) {
        assert_eq!(messages(pointer, &value), [message]);
    }

    #[test]
    fn every_free_text_is_a_single_line() {
        for place in
            ["cart_items/0/name", "customer_info/id", "customer_info/phone", "customer_info/tier", "shipping_info"]
        {
            let pointer = format!("/{place}");
            let paths = |text: &str| {
                let address = json!({"street": text});
                let found =
                    if place == "shipping_info" { with(&pointer, address) } else { with(&pointer, json!(text)) };
                paths(&found)
            };
            assert_eq!(paths(""), [""; 0], "{place}");
            for c in ['\n', '\u{85}', '\u{2028}', '\u{202E}', '\u{2069}'] {
                let expected = if place == "shipping_info" { "/shipping_info/street" } else { &pointer };
                assert_eq!(paths(&format!("a{c}b")), [expected], "{place}");
            }
        }
        assert_eq!(paths(&with("/shipping_info", json!({"a\nb": "c"}))), ["/shipping_info"], "the name of a line");
        assert_eq!(paths(&with("/customer_info/name", json!("\u{200B}"))), ["/customer_info/name"]);
    }

    /// Generates texts of letters and of characters that the rules treat specially.
    fn text() -> impl Strategy<Value = String> {
        let odd = "[a-zA-Z0-9.\"+ '<>\\[\\]@:_\u{0}\n\u{7F}\u{85}\u{A0}\u{EB}\u{200B}\u{2028}\u{202D}\u{2066}-]{0,20}";
        prop_oneof![odd, "[a-z0-9.\"+ '\\[-]{1,70}@[a-zA-Z0-9.\\[\\]:-]{1,70}", "\\PC{0,110}", any::<String>()]
    }

    /// An accepted request must not be refused by a later step, after the charge. A refused request gets the message of
    /// the step.
    #[test]
    fn schema_and_types_agree_on_every_text() {
        // Outside of the closure, so that proptest does not record a text as the cause of an invalid workflow file.
        let workflow = steps::workflow();
        let message = |problem: Option<String>| -> Vec<String> {
            problem.map(|problem| format!("value {problem}")).into_iter().collect()
        };
        proptest!(|(text in text())| {
            let email = text.parse::<EmailAddress>().err().map(|error| error.to_string());
            prop_assert_eq!(messages("/customer_info/email", &json!(text)), message(email));
            let name = text.parse::<PersonName>().err().map(|error| error.to_string());
            prop_assert_eq!(messages("/customer_info/name", &json!(text)), message(name));
            let street = workflow.validate(&with("/shipping_info", json!({"street": text}))).is_ok();
            prop_assert_eq!(street, text.parse::<SingleLine>().is_ok() && text.chars().count() <= 200);
        });
    }
}
