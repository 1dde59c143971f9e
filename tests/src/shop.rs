//! Checkout requests, and their expected totals.

use checkout::{Money, testing::steps};
use serde_json::{Value, json};
use stepwell::core::names::step_resource;

/// The name of a queue or a function without the stack's name. That of a step contains the workflow's name.
pub fn resource(name: &str) -> String {
    let is_step = steps::workflow().plan().step(name).is_some();
    if is_step { step_resource(&steps::workflow().id().name, name) } else { name.to_owned() }
}

/// A cart's total in cents, by the default rates: 8 % tax, rounded half up, and shipping at half a pound a unit.
///
/// It uses integers and none of the shop's own arithmetic, so that each verifies the other.
pub fn total_cents(lines: &[(i64, i64)]) -> i64 {
    let subtotal: i64 = lines.iter().map(|(price, quantity)| price * quantity).sum();
    let units: i64 = lines.iter().map(|(_, quantity)| quantity).sum();
    let shipping = match units {
        ..=4 => 500,
        5..=20 => 1_000,
        _ => 1_500,
    };
    subtotal + (subtotal * 8 + 50) / 100 + shipping
}

/// A request for these lines of product, price in cents and quantity, paid with this token.
pub fn request(lines: &[(u32, i64, i64)], token: &str, email: &str) -> Value {
    let items: Vec<Value> =
        lines.iter().map(|(id, _, quantity)| json!({"product_id": id, "quantity": quantity})).collect();
    let total = total_cents(&lines.iter().map(|&(_, price, quantity)| (price, quantity)).collect::<Vec<_>>());
    json!({"checkout": {
        "cart_items": items,
        "payment_info": {"token": token, "amount": Money::from_cents(total)},
        "customer_info": {"email": email, "name": "Test Customer"},
    }})
}

/// A product that no other test buys.
#[derive(Clone, Debug)]
pub struct Product {
    /// The product's id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The price of one unit.
    pub price_cents: i64,
}

impl Product {
    /// A product with a random id, which is in no catalogue yet.
    pub fn new(price_cents: i64) -> Self {
        let id = 1_000_000 + fastrand::u32(..4_000_000_000);
        Self { id, name: format!("Test product {id}"), price_cents }
    }

    /// A request for this many units, paid with this token, by a customer of its own.
    pub fn request(&self, quantity: i64, token: &str) -> Value {
        request(&[(self.id, self.price_cents, quantity)], token, &self.email())
    }

    /// The e-mail address of its customers.
    pub fn email(&self) -> String {
        format!("customer-{}@example.com", self.id)
    }

    /// The total of this many units, in cents.
    pub fn total_cents(&self, quantity: i64) -> i64 {
        total_cents(&[(self.price_cents, quantity)])
    }
}

/// A JSON number of dollars in cents.
pub fn cents(amount: &Value) -> i64 {
    Money::from_json(amount).unwrap_or_else(|| panic!("{amount} is not an amount of money")).cents()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_cart_totals_one_hundred() {
        assert_eq!(total_cents(&[(4398, 2)]), 10_000);
    }

    #[test]
    fn tax_is_rounded_half_up_and_shipping_goes_by_weight() {
        assert_eq!(total_cents(&[(131, 1)]), 131 + 10 + 500, "8 % of 1.31 is 0.1048");
        assert_eq!(total_cents(&[(1_894, 1), (1_875, 1)]), 3_769 + 302 + 500, "8 % of 37.69 is 3.0152");
        assert_eq!(total_cents(&[(100, 4)]), 400 + 32 + 500);
        assert_eq!(total_cents(&[(100, 5)]), 500 + 40 + 1_000);
        assert_eq!(total_cents(&[(100, 21)]), 2_100 + 168 + 1_500);
    }
}
