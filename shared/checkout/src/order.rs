//! Orders, each with a number of its own, and their cancellation.

use crate::{LineItem, Money, Priority, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use stepwell::{StepResult, TaskId, Timestamp};

/// An order: an item of the `orders` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The id of the checkout's task: a task makes one order.
    pub order_id: TaskId,
    /// `ORD-YYYYMMDD-` and eight hexadecimal digits; no two orders share one.
    pub order_number: String,
    /// What has become of it.
    pub status: OrderStatus,
    /// What was bought.
    pub items: Vec<LineItem>,
    /// The sum of the lines.
    pub subtotal: Money,
    /// Sales tax.
    pub tax: Money,
    /// Shipping.
    pub shipping: Money,
    /// What was charged.
    pub total_amount: Money,
    /// In which currency.
    pub currency: String,
    /// The gateway's name for the payment.
    pub payment_id: String,
    /// Where to write to.
    pub customer_email: Option<String>,
    /// The customer's name.
    pub customer_name: Option<String>,
    /// Where it goes.
    pub shipping_info: BTreeMap<String, String>,
    /// How soon.
    pub priority: Priority,
    /// When the customer sent the checkout. The date in the order's number is this one's.
    pub placed_at: Timestamp,
    /// When the order was made of it.
    pub created_at: Timestamp,
    /// When it should be there.
    pub estimated_delivery: Timestamp,
    /// When it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
}

/// What has become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Paid, and its stock reserved.
    Confirmed,
    /// Called off by the shop. Its number stays its own.
    Cancelled,
}

/// The result of `create_order`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedOrder {
    /// The order's id.
    pub order_id: TaskId,
    /// The order's number.
    pub order_number: String,
    /// `confirmed`.
    pub status: OrderStatus,
    /// What was charged.
    pub total_amount: Money,
    /// Where to write to.
    pub customer_email: Option<String>,
    /// When the order was made.
    pub created_at: Timestamp,
    /// When it should be there.
    pub estimated_delivery: Timestamp,
}

impl StepResult for CreatedOrder {
    const STEP: &'static str = "create_order";
}

/// The result of `cancel_order`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledOrder {
    /// The order's id; `None` where there was no order, and there will be none.
    pub order_id: Option<TaskId>,
    /// The order's number; `None` where there was no order.
    pub order_number: Option<String>,
    /// When the order was cancelled, or since when it is ruled out; a repeated step changes neither.
    pub cancelled_at: Timestamp,
}

impl StepResult for CancelledOrder {
    const STEP: &'static str = "cancel_order";
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

/// Why there is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateOrderError {
    /// The order was cancelled, maybe before it was made. Its task makes none any more.
    #[error("the order was cancelled, maybe before it was made")]
    Void,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where orders are kept.
pub trait Orders: Send + Sync {
    /// Keeps an order and gives it its number, whatever number is in it. Where its task has made one already, nothing
    /// is written and that one is the answer.
    ///
    /// # Errors
    /// The order was cancelled before, or the table gave no answer.
    fn create(&self, order: Order) -> impl Future<Output = Result<Order, CreateOrderError>> + Send;

    /// Cancels the order of a task. Where there is none, the task never makes one, however late a request for it comes.
    /// Again it changes nothing more and answers as the first time.
    ///
    /// # Errors
    /// The table gave no answer.
    fn cancel(&self, task: TaskId, at: Timestamp) -> impl Future<Output = Result<CancelledOrder, StoreError>> + Send;
}

/// The numbers that a task's order may have, the best first: an order has the first one that no other order has. Nothing in
/// them is left to chance, so a repeated step finds the same numbers in the same order.
pub fn order_numbers(task: TaskId, placed_at: Timestamp) -> impl Iterator<Item = String> {
    /// Of 2^32 numbers a day, so many in a row that are taken means that something else is wrong.
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
    fn a_number_has_its_form_and_comes_from_the_task() {
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
