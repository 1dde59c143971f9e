//! The checkout request: the context of a checkout task.

use crate::{Money, PersonName, ProductId, lenient};
use redaction::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, time::Duration};

/// The most lines of a cart. DynamoDB takes 100 items in a transaction and in a `BatchGetItem`, so 50 leave room.
pub const MAX_LINES: usize = 50;

/// The most units in one line of a cart.
pub const MAX_QUANTITY: u32 = 1_000;

/// The fields of the client's request that the steps read. The schema in `checkout.yaml` has all fields and their
/// limits.
///
/// Deserialization is lenient: a field of the wrong type counts as missing. The API has checked the request against the
/// schema, but tasks can be started in other ways, so each step checks again the fields that it needs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CheckoutRequest {
    /// The lines of the cart.
    #[serde(deserialize_with = "lenient::list")]
    pub cart_items: Vec<CartItem>,
    /// The card and the agreed amount.
    #[serde(deserialize_with = "lenient::or_default")]
    pub payment_info: PaymentInfo,
    /// The customer's address and name.
    #[serde(deserialize_with = "lenient::or_default")]
    pub customer_info: CustomerInfo,
    /// The delivery address: its lines by name, because addresses differ by country.
    #[serde(deserialize_with = "lenient::or_default")]
    pub shipping_info: BTreeMap<String, String>,
    /// The speed of the delivery.
    #[serde(deserialize_with = "lenient::or_default")]
    pub priority: Priority,
}

/// One line of a cart.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CartItem {
    /// The product's number; `None` where it is missing or invalid.
    #[serde(deserialize_with = "lenient::or_default")]
    pub product_id: Option<ProductId>,
    /// The number of units; `None` where it is missing or not a whole number.
    #[serde(deserialize_with = "lenient::whole")]
    pub quantity: Option<u32>,
    /// The price of one unit that the customer saw. It stays JSON, so that an invalid price is a mismatch and not
    /// absent.
    pub price: Option<Value>,
}

/// The payment part of a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PaymentInfo {
    /// The gateway's token for the card.
    #[serde(deserialize_with = "lenient::or_default")]
    pub token: Option<Token>,
    /// The total that the customer has agreed to pay.
    #[serde(deserialize_with = "lenient::or_default")]
    pub amount: Option<Money>,
    /// The currency of the amount; `None` stands for [`CURRENCY`](crate::CURRENCY).
    #[serde(deserialize_with = "lenient::text")]
    pub currency: Option<String>,
}

/// The customer part of a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CustomerInfo {
    /// The address for the confirmation. `send_confirmation` parses it as an [`EmailAddress`](crate::EmailAddress), so
    /// that an invalid address and a missing one are different errors.
    #[serde(deserialize_with = "lenient::secret")]
    pub email: Option<Secret>,
    /// The customer's name, for the order.
    #[serde(deserialize_with = "lenient::or_default")]
    pub name: Option<PersonName>,
}

/// The speed of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Five days.
    #[default]
    Standard,
    /// Two days. The checkout has fewer attempts and shorter timeouts.
    Express,
    /// One day.
    Overnight,
}

impl Priority {
    /// Returns the time from the order to its delivery.
    pub const fn delivery_time(self) -> Duration {
        const DAY: u64 = 24 * 60 * 60;
        Duration::from_secs(match self {
            Self::Standard => 5 * DAY,
            Self::Express => 2 * DAY,
            Self::Overnight => DAY,
        })
    }
}

/// A card's token. It is enough to charge the card, so no log and no error shows it, as of every [`Secret`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Token(Secret);

impl Token {
    /// Returns the token's text, for the gateway only.
    pub fn reveal(&self) -> &str {
        self.0.expose()
    }

    /// Whether the token is empty or blank.
    pub fn is_empty(&self) -> bool {
        self.reveal().trim().is_empty()
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self(token.into())
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
    fn token_is_hidden_in_debug_output() {
        let request = read(json!({"payment_info": {"token": "test_success_visa", "amount": 1}}));
        assert_eq!(request.payment_info.token.as_ref().unwrap().reveal(), "test_success_visa");
        assert!(!format!("{request:?}").contains("visa"));
    }

    #[test]
    fn field_of_the_wrong_type_is_absent_and_the_rest_is_read() {
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
        assert_eq!(
            (request.customer_info.email.as_ref().map(Secret::expose), request.customer_info.name),
            (Some("5"), None)
        );
        assert_eq!(request.priority, Priority::Standard);
    }

    #[test]
    fn amounts_that_share_a_float_are_read_exactly() {
        for text in ["133610627515675.62", "133610627515675.63"] {
            let value: Value = serde_json::from_str(text).unwrap();
            let request = read(json!({"cart_items": [{"price": value}], "payment_info": {"amount": value}}));
            assert_eq!(request.payment_info.amount.unwrap().to_string(), text);
            assert_eq!(request.cart_items[0].price.as_ref().unwrap().to_string(), text);
        }
    }

    #[test]
    fn whole_numbers_follow_json_schema() {
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
