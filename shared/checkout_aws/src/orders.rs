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
    types::{AttributeValue, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem},
};
use checkout::{
    CancelOrderError, CancelledOrder, CreateOrderError, Order, OrderStatus, Orders, Resend, ResendError, ShipError,
    Shipping, StoreError, order_numbers,
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
        Ok(CancelledOrder::new(read(item)?, cancelled_at))
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

    /// Appends the resend to the order's list in one write, with the corrected address, on the condition that the order has the status
    /// that the e-mail tells of. A try whose answer was lost may append it twice.
    async fn record_resend(&self, order: TaskId, resend: &Resend) -> Result<Order, ResendError> {
        let list =
            |entries: Vec<AttributeItem>| AttributeValue::L(entries.into_iter().map(AttributeValue::M).collect());
        let address = resend.corrected.as_ref().map(items::text);
        let set_address = if address.is_some() { ", customer_email = :to" } else { "" };
        let has_address = if address.is_some() { "" } else { " AND attribute_type(customer_email, :text)" };
        let recorded = self
            .client
            .update_item()
            .table_name(self.name(ORDERS))
            .key("id", items::text(order))
            .update_expression(format!("SET resent = list_append(if_not_exists(resent, :none), :entry){set_address}"))
            .condition_expression(format!(
                "attribute_exists(order_id) AND #status = :tells \
                 AND (attribute_not_exists(resent) OR size(resent) < :most){has_address}"
            ))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":tells", items::to_attribute(&resend.tells)?)
            .expression_attribute_values(":most", items::number(Resend::MOST))
            .expression_attribute_values(":none", list(Vec::new()))
            .expression_attribute_values(":entry", list(vec![resend_entry(resend)?]));
        let recorded = match address {
            Some(address) => recorded.expression_attribute_values(":to", address),
            None => recorded.expression_attribute_values(":text", items::text("S")),
        };
        let recorded = recorded
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match recorded {
            Ok(recorded) => return read(recorded.attributes.unwrap_or_default())?.ok_or(ResendError::NotFound),
            Err(error) => error,
        };
        let Some(item) = refused_by(&error) else { return Err(store_error(&error).into()) };
        let recorded = item.get("resent").and_then(|list| list.as_l().ok()).map_or(0, Vec::len);
        Err(match read(item)? {
            None => ResendError::NotFound,
            Some(order) if order.status != resend.tells => ResendError::Status(order.status),
            Some(_) if recorded >= Resend::MOST => ResendError::TooMany,
            Some(_) => ResendError::NoAddress,
        })
    }
}

/// The entry of a resend in the list `resent` of its order's item.
fn resend_entry(resend: &Resend) -> Result<AttributeItem, StoreError> {
    let mut entry = AttributeItem::from([
        ("at".to_owned(), items::to_attribute(&resend.at)?),
        ("who".to_owned(), items::text(&resend.who)),
        ("why".to_owned(), items::text(&resend.why)),
    ]);
    entry.extend(resend.corrected.as_ref().map(|address| ("corrected".to_owned(), items::text(address))));
    Ok(entry)
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
