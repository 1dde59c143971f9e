//! The deployed steps of the checkout, over a shop that costs nothing. So the inputs that they load and the results that they
//! leave have the size that they have in earnest.

use crate::poller::Poller;
use checkout::{
    CancelledOrder, Catalogue, Charge, ChargeRequest, ConfigError, CreateOrderError, Gateway, GatewayError,
    InventoryChange, Letter, LineItem, MailError, Mailer, Order, Orders, Pricing, Product, ProductId, RefundRequest,
    Release, Reservation, ReserveError, Reversal, Shop, Stock, StoreError, UpdatedProduct,
};
use serde_json::Value;
use std::collections::BTreeMap;
use stepwell::{TaskId, Timestamp};

/// With the five steps of the checkout.
pub(super) fn with_checkout(poller: Poller<'_>) -> Poller<'_> {
    const READY: &str = "the shop's prices";
    poller
        .with("validate_cart", checkout_validate_cart::step(&FreeShop).expect(READY))
        .with("process_payment", checkout_process_payment::step(&FreeShop).expect(READY))
        .with("update_inventory", checkout_update_inventory::step(&FreeShop).expect(READY))
        .with("create_order", checkout_create_order::step(&FreeShop).expect(READY))
        .with("send_confirmation", checkout_send_confirmation::step(&FreeShop).expect(READY))
}

/// A request as the demo has it, without the wrapping that the API takes off.
///
/// # Panics
/// Where there is no such file in `events/requests`.
pub(super) fn request(name: &str) -> Value {
    let path = format!("{}/../events/requests/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut event: Value = serde_json::from_str(&text).expect("a request is JSON");
    event["checkout"].take()
}

/// Has every product, charges every card, and calls nobody.
struct FreeShop;

/// The names and prices of `infra/products.json`.
fn product(id: ProductId) -> Product {
    let path = format!("{}/../infra/products.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let products: Vec<Value> = serde_json::from_str(&text).expect("products are JSON");
    let found = products.into_iter().find(|product| product["id"] == id.0);
    serde_json::from_value(found.expect("a product of the sample data")).expect("a product")
}

impl Shop for FreeShop {
    type Catalogue = Self;
    type Stock = Self;
    type Orders = Self;
    type Gateway = Self;
    type Mailer = Self;

    fn catalogue(&self) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn stock(&self) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn orders(&self) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn gateway(&self) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn mailer(&self) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn pricing(&self) -> Result<Pricing, ConfigError> {
        Pricing::from_env()
    }
}

impl Catalogue for FreeShop {
    async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        Ok(ids.iter().map(|id| (*id, product(*id))).collect())
    }
}

impl Gateway for FreeShop {
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        Ok(Charge {
            payment_id: "pay_0123456789abcdef0123456789abcdef".to_owned(),
            transaction_id: "txn_0123456789abcdef0123456789abcdef".to_owned(),
            amount: request.amount,
            currency: request.currency.to_owned(),
            card: "visa".to_owned(),
            charged_at: request.at,
        })
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        Ok(Reversal::Voided { at: request.at })
    }
}

impl Stock for FreeShop {
    async fn reserve(&self, _: &str, lines: &[LineItem], _: Timestamp) -> Result<Reservation, ReserveError> {
        Ok(Reservation {
            updated_products: lines.iter().map(updated).collect(),
            total_items_reserved: lines.iter().map(|line| line.quantity).sum(),
            inventory_changes: lines.iter().map(change).collect(),
        })
    }

    async fn release(&self, _: &str, at: Timestamp) -> Result<Release, StoreError> {
        let (released_products, inventory_changes) = (Vec::new(), Vec::new());
        Ok(Release { released_products, total_items_released: 0, inventory_changes, released_at: at })
    }
}

fn updated(line: &LineItem) -> UpdatedProduct {
    UpdatedProduct {
        product_id: line.product_id,
        name: line.name.clone(),
        previous_stock: 100_000,
        new_stock: 100_000 - line.quantity,
        quantity_reserved: line.quantity,
    }
}

fn change(line: &LineItem) -> InventoryChange {
    let change_type = "reservation".to_owned();
    InventoryChange { product_id: line.product_id, change_type, quantity: -i64::from(line.quantity) }
}

impl Orders for FreeShop {
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        Ok(Order { order_number: "ORD-20260101-0123ABCD".to_owned(), ..order })
    }

    async fn cancel(&self, _: TaskId, at: Timestamp) -> Result<CancelledOrder, StoreError> {
        Ok(CancelledOrder { order_id: None, order_number: None, cancelled_at: at })
    }
}

impl Mailer for FreeShop {
    async fn send(&self, _: &Letter) -> Result<String, MailError> {
        Ok("0123456789abcdef-01234567-89ab-cdef-0123-456789abcdef-000000".to_owned())
    }
}
