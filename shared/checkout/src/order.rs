//! Orders, their unique numbers and their cancellation.

use crate::{EmailAddress, LineItem, Money, Priority, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use stepwell::{StepResult, TaskId, Timestamp};

/// An order: an item of the `orders` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Order {
    /// The id of the checkout's task: a task makes one order.
    pub order_id: TaskId,
    /// `ORD-YYYYMMDD-` and eight hexadecimal digits; unique among all orders.
    pub order_number: String,
    /// Whether the order stands or was cancelled.
    pub status: OrderStatus,
    /// The lines of the validated cart.
    pub items: Vec<LineItem>,
    /// The sum of the lines, before tax and shipping.
    pub subtotal: Money,
    /// The sales tax on the subtotal.
    pub tax: Money,
    /// The price of shipping.
    pub shipping: Money,
    /// The amount that was charged.
    pub total_amount: Money,
    /// The currency of all amounts, as ISO 4217 writes it.
    pub currency: String,
    /// The gateway's id of the payment.
    pub payment_id: String,
    /// Whether the payment was made with the simulated gateway, so that nobody has paid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// The customer's e-mail address: the request's, until an operator corrects it; `None` where there is none.
    pub customer_email: Option<String>,
    /// The customer's name; `None` where the request has no valid one.
    pub customer_name: Option<String>,
    /// The delivery address: its lines by name.
    pub shipping_info: BTreeMap<String, String>,
    /// The speed of the delivery.
    pub priority: Priority,
    /// When the customer sent the checkout request. The order number has its date.
    pub placed_at: Timestamp,
    /// When `create_order` made the order.
    pub created_at: Timestamp,
    /// When the order should arrive.
    pub estimated_delivery: Timestamp,
    /// When the order was cancelled; `None` while it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    /// When the order was shipped; `None` until then. A shipped order is not cancelled any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<Timestamp>,
}

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Paid, and its stock reserved.
    Confirmed,
    /// Cancelled by the shop. Its number is not given to another order.
    Cancelled,
}

impl OrderStatus {
    /// The status as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The result of `create_order`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreatedOrder {
    /// The order's id, which is the task's.
    pub order_id: TaskId,
    /// The order's number, as in [`Order::order_number`].
    pub order_number: String,
    /// Always `confirmed`.
    pub status: OrderStatus,
    /// The amount that was charged.
    pub total_amount: Money,
    /// The customer's e-mail address; `None` where the request has none.
    pub customer_email: Option<String>,
    /// When the order was made; a repeated attempt does not change it.
    pub created_at: Timestamp,
    /// When the order should arrive.
    pub estimated_delivery: Timestamp,
}

impl StepResult for CreatedOrder {
    const STEP: &'static str = "create_order";
}

/// The result of `cancel_order`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CancelledOrder {
    /// The order's id; `None` where no order had been made. None can be made later.
    pub order_id: Option<TaskId>,
    /// The order's number; `None` where no order had been made.
    pub order_number: Option<String>,
    /// When the order was cancelled, or ruled out before it was made. A repeated attempt does not change it.
    pub cancelled_at: Timestamp,
    /// The customer's e-mail address, as in [`Order::customer_email`]; `None` also in results that older versions have written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
}

impl StepResult for CancelledOrder {
    const STEP: &'static str = "cancel_order";
}

impl CancelledOrder {
    /// Makes the result of a cancellation: of this order, or of none.
    pub fn new(order: Option<Order>, cancelled_at: Timestamp) -> Self {
        let (order_id, order_number, customer_email) = match order {
            Some(order) => (Some(order.order_id), Some(order.order_number), order.customer_email),
            None => (None, None, None),
        };
        Self { order_id, order_number, cancelled_at, customer_email }
    }
}

impl From<Order> for CreatedOrder {
    fn from(order: Order) -> Self {
        Self {
            order_id: order.order_id,
            order_number: order.order_number,
            status: order.status,
            total_amount: order.total_amount,
            customer_email: order.customer_email,
            created_at: order.created_at,
            estimated_delivery: order.estimated_delivery,
        }
    }
}

/// The reason why no order was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateOrderError {
    /// The order was cancelled, maybe before it was made. Its task can make no other order.
    #[error("the order was cancelled, maybe before it was made")]
    Void,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why an order was not cancelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelOrderError {
    /// The order has been shipped.
    #[error("the order was shipped at {0}")]
    Shipped(Timestamp),
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The shipping of an order. Its record stays with the order, for operators only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipping {
    /// When the order was handed over.
    pub at: Timestamp,
    /// Who says so.
    pub who: String,
    /// On what grounds.
    pub why: String,
}

/// The reason why an order was not marked as shipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShipError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// The order was cancelled.
    #[error("the order was cancelled at {0}: do not ship it")]
    Cancelled(Timestamp),
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An operator's request to send an order's e-mail again. Its record stays with the order, for operators only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resend {
    /// When the operator asked for it.
    pub at: Timestamp,
    /// Who asked.
    pub who: String,
    /// On what grounds.
    pub why: String,
    /// The address that becomes the order's; `None` leaves the order's as it is.
    pub corrected: Option<EmailAddress>,
    /// The status that the e-mail tells of. An order of another status refuses the resend.
    pub tells: OrderStatus,
}

impl Resend {
    /// The most resends that an order records, whether or not the e-mail was sent. They bound the item, and what one order can send to a stranger.
    pub const MOST: usize = 20;
}

/// The reason why a resend was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResendError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// The order has this status, and the e-mail would tell of another one.
    #[error("the order is {}", .0.as_str())]
    Status(OrderStatus),
    /// The order has no e-mail address, and none was given.
    #[error("the order has no e-mail address: give one")]
    NoAddress,
    /// The order has [`Resend::MOST`] resends.
    #[error("{} resends of its e-mail are recorded, which is the most: tell the customer in another way", Resend::MOST)]
    TooMany,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The port that stores orders.
pub trait Orders: Send + Sync {
    /// Stores an order under a free number; the number in `order` is ignored. If the task has an order already, writes
    /// nothing and returns that one.
    ///
    /// # Errors
    /// The order was cancelled before, or the table gave no answer.
    fn create(&self, order: Order) -> impl Future<Output = Result<Order, CreateOrderError>> + Send;

    /// Cancels the order of a task, unless it has been shipped. If there is none, a mark keeps the task from ever making one,
    /// however late the request comes. A repeated call changes nothing and returns the first answer.
    ///
    /// # Errors
    /// The order has been shipped, or the table gave no answer.
    fn cancel(
        &self,
        task: TaskId,
        at: Timestamp,
    ) -> impl Future<Output = Result<CancelledOrder, CancelOrderError>> + Send;

    /// Marks an order as shipped, unless it was cancelled, and returns when it was. From then on it cannot be cancelled. A repeated
    /// call changes nothing and returns the first time.
    ///
    /// # Errors
    /// There is no order, it was cancelled, or the table gave no answer.
    fn ship(&self, order: TaskId, shipping: &Shipping) -> impl Future<Output = Result<Timestamp, ShipError>> + Send;

    /// Records that an order's e-mail is to be sent again, with the corrected address if there is one, and returns the order as it is
    /// then. A repeated call is another resend.
    ///
    /// # Errors
    /// There is no order, it refuses the resend, or the table gave no answer. Only in the last case anything may have changed.
    fn record_resend(&self, order: TaskId, resend: &Resend) -> impl Future<Output = Result<Order, ResendError>> + Send;
}

/// Returns the candidates for a task's order number: an order takes the first one that no other order has. They derive
/// from the task, so a repeated attempt finds the same candidates in the same order.
pub fn order_numbers(task: TaskId, placed_at: Timestamp) -> impl Iterator<Item = String> {
    /// There are 2^32 numbers a day. If this many in a row are taken, something else is wrong.
    const CANDIDATES: u32 = 16;
    (0..CANDIDATES).map(move |attempt| number(task, placed_at, attempt))
}

fn number(task: TaskId, placed_at: Timestamp, attempt: u32) -> String {
    let digest = Sha256::digest(format!("{task}:{attempt}"));
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02X}")).collect();
    format!("ORD-{}-{digits}", placed_at.yyyymmdd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_number_has_its_form_and_derives_from_the_task() {
        let task: TaskId = "018f4e4e-7c1a-7000-8000-0123456789ab".parse().unwrap();
        let day = Timestamp::from_millis(1_700_000_000_123);
        let first = number(task, day, 0);
        assert_eq!(first, number(task, day, 0));
        assert_ne!(first, number(task, day, 1), "the next candidate is another one");
        assert_ne!(first, number(TaskId::new(), day, 0));
        let digits = first.strip_prefix("ORD-20231114-").unwrap();
        assert!(digits.len() == 8 && digits.chars().all(|c| matches!(c, '0'..='9' | 'A'..='F')), "{first}");
    }
}
