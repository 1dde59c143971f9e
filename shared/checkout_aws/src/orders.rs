//! The port [`Orders`] on the `orders` table.

use crate::{
    Tables,
    items::{self, AttributeItem, unreadable},
    tables::{Transacted, store_error},
};
use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem},
};
use checkout::{
    CancelOrderError, CancelledOrder, CreateOrderError, Order, OrderStatus, Orders, ShipError, Shipping, StoreError,
    order_numbers,
};
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

    /// Marks the order as cancelled in one write, on the condition that it was not shipped. If there is no order, the mark alone
    /// becomes the item and keeps a later order out.
    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, CancelOrderError> {
        let marked = self
            .client
            .update_item()
            .table_name(self.name(ORDERS))
            .key("id", items::text(task))
            .update_expression("SET #status = :cancelled, cancelled_at = if_not_exists(cancelled_at, :at)")
            .condition_expression("attribute_not_exists(shipped_at)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":cancelled", items::to_attribute(&OrderStatus::Cancelled)?)
            .expression_attribute_values(":at", items::to_attribute(&at)?)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let item = match marked {
            Ok(marked) => marked.attributes.unwrap_or_default(),
            Err(error) => {
                let shipped = refused_by(&error).map(|item| time(&item, "shipped_at")).transpose()?;
                return Err(shipped.map_or_else(|| store_error(&error).into(), CancelOrderError::Shipped));
            }
        };
        let cancelled_at = time(&item, "cancelled_at")?;
        let (order_id, order_number) = read(item)?.map(|order| (order.order_id, order.order_number)).unzip();
        Ok(CancelledOrder { order_id, order_number, cancelled_at })
    }

    /// Marks the order as shipped in one write, on the condition that there is one and that it was not cancelled.
    async fn ship(&self, order: TaskId, shipping: &Shipping) -> Result<Timestamp, ShipError> {
        let first = |name: &str, value: &str| format!("{name} = if_not_exists({name}, {value})");
        let set =
            [first("shipped_at", ":at"), first("shipped_by", ":who"), first("shipped_because", ":why")].join(", ");
        let shipped = self
            .client
            .update_item()
            .table_name(self.name(ORDERS))
            .key("id", items::text(order))
            .update_expression(format!("SET {set}"))
            .condition_expression("attribute_exists(order_id) AND attribute_not_exists(cancelled_at)")
            .expression_attribute_values(":at", items::to_attribute(&shipping.at)?)
            .expression_attribute_values(":who", items::text(&shipping.who))
            .expression_attribute_values(":why", items::text(&shipping.why))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match shipped {
            Ok(shipped) => return Ok(time(&shipped.attributes.unwrap_or_default(), "shipped_at")?),
            Err(error) => error,
        };
        match refused_by(&error) {
            Some(item) if item.contains_key("order_id") => Err(ShipError::Cancelled(time(&item, "cancelled_at")?)),
            Some(_) => Err(ShipError::NotFound),
            None => Err(store_error(&error).into()),
        }
    }
}

/// The item that refused a write, empty if there was none; `None` for any other error.
fn refused_by(error: &SdkError<UpdateItemError, HttpResponse>) -> Option<AttributeItem> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
            Some(refused.item().cloned().unwrap_or_default())
        }
        _ => None,
    }
}

/// A time among the attributes of an order.
fn time(item: &AttributeItem, name: &str) -> Result<Timestamp, StoreError> {
    let time = item.get(name).cloned().ok_or_else(|| unreadable(format!("an order without `{name}`")))?;
    items::from_attribute(time)
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
