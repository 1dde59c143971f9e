//! The checkout request: the context of a checkout task.

use crate::{Money, PersonName, ProductId, lenient};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, time::Duration};

/// The most lines a cart may have: what fits, with room to spare, into one DynamoDB transaction and one `BatchGetItem`.
pub const MAX_LINES: usize = 50;

/// The most units of one product in a line.
pub const MAX_QUANTITY: u32 = 1_000;

/// What the client sent, as far as the steps read it. Which fields there are in all, and what they may hold, is in the
/// schema of `checkout.yaml`.
///
/// Reading it is lenient: the schema has refused bad requests at the door, but a message is not to be trusted, so each
/// step checks again what it needs, and a field of the wrong type is for it the same as a field that is missing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CheckoutRequest {
    /// What is bought.
    #[serde(deserialize_with = "lenient::list")]
    pub cart_items: Vec<CartItem>,
    /// How it is paid.
    #[serde(deserialize_with = "lenient::or_default")]
    pub payment_info: PaymentInfo,
    /// Who buys it.
    #[serde(deserialize_with = "lenient::or_default")]
    pub customer_info: CustomerInfo,
    /// Where it goes: the lines of an address by name, as the customer's country has them.
    #[serde(deserialize_with = "lenient::or_default")]
    pub shipping_info: BTreeMap<String, String>,
    /// How soon it has to be there.
    #[serde(deserialize_with = "lenient::or_default")]
    pub priority: Priority,
}

/// One line of a cart.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CartItem {
    /// The product.
    #[serde(deserialize_with = "lenient::or_default")]
    pub product_id: Option<ProductId>,
    /// How many units of it.
    #[serde(deserialize_with = "lenient::whole")]
    pub quantity: Option<u32>,
    /// The price of one unit that the customer saw. Left as JSON: one that is no amount has to be found to differ.
    pub price: Option<Value>,
}

/// How a checkout is paid.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PaymentInfo {
    /// What the gateway knows the card by.
    #[serde(deserialize_with = "lenient::or_default")]
    pub token: Option<Token>,
    /// What the customer has agreed to pay in all.
    #[serde(deserialize_with = "lenient::or_default")]
    pub amount: Option<Money>,
    /// In which currency.
    #[serde(deserialize_with = "lenient::text")]
    pub currency: Option<String>,
}

/// Who buys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CustomerInfo {
    /// Where the confirmation goes: an [`EmailAddress`](crate::EmailAddress), as the step that writes to it finds. What is
    /// none is an error of its own there, and not the same as nothing.
    #[serde(deserialize_with = "lenient::text")]
    pub email: Option<String>,
    /// How the customer is addressed.
    #[serde(deserialize_with = "lenient::or_default")]
    pub name: Option<PersonName>,
}

/// How soon an order has to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// In five days.
    #[default]
    Standard,
    /// In two days, and the checkout itself gives up sooner.
    Express,
    /// In one day.
    Overnight,
}

impl Priority {
    /// How long delivery takes.
    pub const fn delivery_time(self) -> Duration {
        const DAY: u64 = 24 * 60 * 60;
        Duration::from_secs(match self {
            Self::Standard => 5 * DAY,
            Self::Express => 2 * DAY,
            Self::Overnight => DAY,
        })
    }
}

/// A card's token. Whoever has it can charge the card, so it is shown nowhere: not in a log, not in an error.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The token itself, for the gateway only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self(token.to_owned())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(request: Value) -> CheckoutRequest {
        serde_json::from_str(&request.to_string()).unwrap()
    }

    #[test]
    fn a_token_is_not_printed() {
        let request = read(json!({"payment_info": {"token": "test_success_visa", "amount": 1}}));
        assert_eq!(request.payment_info.token.as_ref().unwrap().reveal(), "test_success_visa");
        assert!(!format!("{request:?}").contains("visa"));
    }

    #[test]
    fn what_does_not_fit_is_absent_and_the_rest_is_read() {
        let request = read(json!({
            "cart_items": [7, {"product_id": "1", "quantity": -2, "price": "cheap"}, {"product_id": 3, "quantity": 2.0}],
            "payment_info": {"token": 5, "amount": 1.005, "currency": 5},
            "customer_info": {"email": 5, "name": "\n"},
            "shipping_info": {"zip": 12345},
            "priority": "yesterday",
        }));
        let [nothing, bad, good] = request.cart_items.as_slice() else { panic!("three lines") };
        assert!(nothing.product_id.is_none() && nothing.quantity.is_none());
        assert!(bad.product_id.is_none() && bad.quantity.is_none() && bad.price.is_some());
        assert_eq!((good.product_id, good.quantity), (Some(ProductId(3)), Some(2)));
        assert!(request.payment_info.token.is_none() && request.payment_info.amount.is_none());
        assert_eq!(request.payment_info.currency.as_deref(), Some("5"));
        assert_eq!((request.customer_info.email.as_deref(), request.customer_info.name), (Some("5"), None));
        assert_eq!(request.priority, Priority::Standard);
    }

    #[test]
    fn an_amount_is_the_one_that_was_given_even_where_a_float_is_two_amounts() {
        for text in ["133610627515675.62", "133610627515675.63"] {
            let value: Value = serde_json::from_str(text).unwrap();
            let request = read(json!({"cart_items": [{"price": value}], "payment_info": {"amount": value}}));
            assert_eq!(request.payment_info.amount.unwrap().to_string(), text);
            assert_eq!(request.cart_items[0].price.as_ref().unwrap().to_string(), text);
        }
    }

    #[test]
    fn whole_numbers_are_read_as_json_schema_reads_them() {
        let quantity = |text: &str| {
            let line = format!(r#"{{"product_id": {text}, "quantity": {text}}}"#);
            let line: CartItem = serde_json::from_str(&line).unwrap();
            assert_eq!(line.product_id.map(|id| id.0), line.quantity);
            line.quantity
        };
        assert_eq!(quantity("2"), Some(2));
        assert_eq!(quantity("2.00"), Some(2));
        assert_eq!(quantity("2e1"), Some(20));
        assert_eq!(quantity("20E-1"), Some(2));
        for wrong in ["2.5", "2e-1", "-1", "4294967296", "1e400", "\"2\"", "null", "true", "[2]"] {
            assert_eq!(quantity(wrong), None, "{wrong}");
        }
    }
}
