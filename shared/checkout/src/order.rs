//! Orders, each with a number of its own, and their cancellation.

use crate::{
    LineItem, Money, Priority, StoreError, Tables,
    items::{self, Item},
    tables::Transacted,
};
use aws_sdk_dynamodb::types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
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

const ORDERS: &str = "orders";

/// Of 2^32 numbers a day, so many in a row that are taken means that something else is wrong.
const CANDIDATES: u32 = 16;

/// The number of the task's order, unless another order of the day has it: then that of the next attempt. Nothing in it
/// is left to chance, so a repeated step finds the same numbers in the same order.
fn number(task: TaskId, placed_at: Timestamp, attempt: u32) -> String {
    let digest = Sha256::digest(format!("{task}:{attempt}"));
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02X}")).collect();
    format!("ORD-{}-{digits}", placed_at.yyyymmdd())
}

impl Orders for Tables {
    /// One transaction: the order by its task, and its number as an item of its own, each only if it is not there.
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        for attempt in 0..CANDIDATES {
            let order_number = number(order.order_id, order.placed_at, attempt);
            let order = Order { order_number, ..order.clone() };
            match self.transact(self.order_writes(&order)?).await? {
                Transacted::Done => return Ok(order),
                Transacted::Refused(refused) => {
                    if let Some(earlier) = refused.into_iter().next().flatten() {
                        let order = read(earlier)?.filter(|order| order.status != OrderStatus::Cancelled);
                        return order.ok_or(CreateOrderError::Void);
                    }
                }
            }
        }
        Err(StoreError::Busy("no free order number".to_owned()).into())
    }

    /// One write, without a condition: an order that is there is marked, and where none is, the mark alone is written
    /// and takes the order's place.
    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, StoreError> {
        let marked = self
            .client
            .update_item()
            .table_name(self.name(ORDERS))
            .key("id", items::text(task))
            .update_expression("SET #status = :cancelled, cancelled_at = if_not_exists(cancelled_at, :at)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":cancelled", items::to_attribute(&OrderStatus::Cancelled)?)
            .expression_attribute_values(":at", items::to_attribute(&at)?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| StoreError::of(&error))?;
        let item: Item = marked.attributes.unwrap_or_default();
        let cancelled_at = item.get("cancelled_at").cloned();
        let cancelled_at = cancelled_at.ok_or_else(|| StoreError::unreadable("a cancelled order without a time"))?;
        let (order_id, order_number) = read(item)?.map(|order| (order.order_id, order.order_number)).unzip();
        Ok(CancelledOrder { order_id, order_number, cancelled_at: items::from_attribute(cancelled_at)? })
    }
}

/// The order of an item; `None` for the mark that keeps one from being made.
fn read(item: Item) -> Result<Option<Order>, StoreError> {
    if item.contains_key("order_id") { items::from_item(item).map(Some) } else { Ok(None) }
}

impl Tables {
    /// The order with this id, cancelled or not; `None` where there is none or the text is no id.
    pub(crate) async fn get_order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let Ok(id) = id.parse::<TaskId>() else { return Ok(None) };
        self.get(ORDERS, &id.to_string()).await?.map_or(Ok(None), read)
    }

    fn order_writes(&self, order: &Order) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut item = items::to_item(order)?;
        item.insert("id".to_owned(), items::text(order.order_id));
        let number = Item::from([
            ("id".to_owned(), items::text(format!("number:{}", order.order_number))),
            ("order_id".to_owned(), items::text(order.order_id)),
        ]);
        [item, number].into_iter().map(|item| self.put_new(item)).collect()
    }

    fn put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(self.name(ORDERS))
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().put(put.build().map_err(StoreError::unreadable)?).build())
    }
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
