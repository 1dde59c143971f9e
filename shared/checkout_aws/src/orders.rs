//! The port [`Orders`] on the `orders` table.

use crate::{
    Tables,
    items::{self, AttributeItem, unreadable},
    tables::{Transacted, store_error},
};
use aws_sdk_dynamodb::types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use checkout::{CancelledOrder, CreateOrderError, Order, OrderStatus, Orders, StoreError, order_numbers};
use stepwell::{TaskId, Timestamp};

pub(crate) const ORDERS: &str = "orders";

impl Orders for Tables {
    /// Writes the order and an item for its number in one transaction, on the condition that neither exists.
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        for order_number in order_numbers(order.order_id, order.placed_at) {
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

    /// Marks the order as cancelled in one write without a condition. If there is no order, the mark alone becomes the
    /// item and keeps a later order out.
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
            .map_err(|error| store_error(&error))?;
        let item: AttributeItem = marked.attributes.unwrap_or_default();
        let cancelled_at = item.get("cancelled_at").cloned();
        let cancelled_at = cancelled_at.ok_or_else(|| unreadable("a cancelled order without a time"))?;
        let (order_id, order_number) = read(item)?.map(|order| (order.order_id, order.order_number)).unzip();
        Ok(CancelledOrder { order_id, order_number, cancelled_at: items::from_attribute(cancelled_at)? })
    }
}

/// Reads the order of an item; `None` for a mark without an order.
pub(crate) fn read(item: AttributeItem) -> Result<Option<Order>, StoreError> {
    if item.contains_key("order_id") { items::from_item(item).map(Some) } else { Ok(None) }
}

impl Tables {
    fn order_writes(&self, order: &Order) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut item = items::to_item(order)?;
        item.insert("id".to_owned(), items::text(order.order_id));
        let number = AttributeItem::from([
            ("id".to_owned(), items::text(format!("number:{}", order.order_number))),
            ("order_id".to_owned(), items::text(order.order_id)),
        ]);
        [item, number].into_iter().map(|item| self.put_new(item)).collect()
    }

    fn put_new(&self, item: AttributeItem) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(self.name(ORDERS))
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().put(put.build().map_err(unreadable)?).build())
    }
}
