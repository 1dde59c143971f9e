//! The port [`Orders`] on the tables `orders` and `resends`.

use crate::{
    LocalShop,
    rows::{from_json, time, to_json},
};
use checkout::{
    CancelOrderError, CancelledOrder, CreateOrderError, Order, OrderStatus, Orders, Resend, ResendError, ShipError,
    Shipping, StoreError, order_numbers,
};
use rusqlite::{Connection, OptionalExtension};
use stepwell::{TaskId, Timestamp};
use stepwell_local::FileError;

/// A row of the table `orders`.
pub(crate) struct StoredOrder {
    /// `None` for a mark that rules an order out.
    pub(crate) order: Option<Order>,
    /// When the order was cancelled or ruled out.
    cancelled_at: Option<Timestamp>,
}

pub(crate) fn stored(tx: &Connection, task: TaskId) -> Result<Option<StoredOrder>, FileError> {
    let mut get = tx.prepare_cached("SELECT value, cancelled_at FROM orders WHERE task = ?")?;
    let row = get.query_row([task.to_string()], |row| Ok((row.get::<_, Option<String>>(0)?, row.get(1)?)));
    let Some((value, cancelled_at)) = row.optional()? else { return Ok(None) };
    let order = value.map(|value| from_json("orders", task, &value)).transpose()?;
    Ok(Some(StoredOrder { order, cancelled_at: time(cancelled_at) }))
}

fn update(tx: &Connection, order: &Order) -> Result<(), FileError> {
    let mut put = tx.prepare_cached("UPDATE orders SET value = ?2, cancelled_at = ?3 WHERE task = ?1")?;
    put.execute((order.order_id.to_string(), to_json(order)?, order.cancelled_at.map(Timestamp::as_millis)))?;
    Ok(())
}

impl Orders for LocalShop {
    async fn create(&self, order: Order) -> Result<Order, CreateOrderError> {
        self.write(move |tx| create(tx, order)).await?
    }

    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, CancelOrderError> {
        self.write(move |tx| cancel(tx, task, at)).await?
    }

    async fn ship(&self, order: TaskId, shipping: &Shipping) -> Result<Timestamp, ShipError> {
        let shipping = shipping.clone();
        self.write(move |tx| ship(tx, order, &shipping)).await?
    }

    async fn record_resend(&self, order: TaskId, resend: &Resend) -> Result<Order, ResendError> {
        let resend = resend.clone();
        self.write(move |tx| record_resend(tx, order, &resend)).await?
    }
}

fn create(tx: &Connection, order: Order) -> Result<Result<Order, CreateOrderError>, FileError> {
    match stored(tx, order.order_id)? {
        None => {}
        Some(StoredOrder { order: Some(order), cancelled_at: None }) => return Ok(Ok(order)),
        Some(_) => return Ok(Err(CreateOrderError::Void)),
    }
    // The order's own row is new, so only its number can conflict.
    let mut put = tx.prepare_cached("INSERT INTO orders (task, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for order_number in order_numbers(order.order_id, order.placed_at) {
        let order = Order { order_number, ..order.clone() };
        if put.execute((order.order_id.to_string(), to_json(&order)?))? == 1 {
            return Ok(Ok(order));
        }
    }
    Ok(Err(StoreError::Busy("no free order number".to_owned()).into()))
}

fn cancel(tx: &Connection, task: TaskId, at: Timestamp) -> Result<Result<CancelledOrder, CancelOrderError>, FileError> {
    let (order, at) = match stored(tx, task)? {
        Some(StoredOrder { order, cancelled_at: Some(first) }) => (order, first),
        Some(StoredOrder { order: Some(order), .. }) => {
            if let Some(shipped_at) = order.shipped_at {
                return Ok(Err(CancelOrderError::Shipped(shipped_at)));
            }
            let order = Order { status: OrderStatus::Cancelled, cancelled_at: Some(at), ..order };
            update(tx, &order)?;
            (Some(order), at)
        }
        Some(StoredOrder { order: None, cancelled_at: None }) | None => {
            let mut mark = tx.prepare_cached("INSERT INTO orders (task, cancelled_at) VALUES (?1, ?2)")?;
            mark.execute((task.to_string(), at.as_millis()))?;
            (None, at)
        }
    };
    Ok(Ok(CancelledOrder::new(order, at)))
}

fn ship(tx: &Connection, task: TaskId, shipping: &Shipping) -> Result<Result<Timestamp, ShipError>, FileError> {
    let Some(order) = stored(tx, task)?.and_then(|stored| stored.order) else { return Ok(Err(ShipError::NotFound)) };
    if let Some(at) = order.cancelled_at {
        return Ok(Err(ShipError::Cancelled(at)));
    }
    if let Some(first) = order.shipped_at {
        return Ok(Ok(first));
    }
    update(tx, &Order { shipped_at: Some(shipping.at), ..order })?;
    let mut record = tx.prepare_cached("UPDATE orders SET shipped_by = ?2, shipped_because = ?3 WHERE task = ?1")?;
    record.execute((task.to_string(), &shipping.who, &shipping.why))?;
    Ok(Ok(shipping.at))
}

fn record_resend(tx: &Connection, task: TaskId, resend: &Resend) -> Result<Result<Order, ResendError>, FileError> {
    let Some(mut order) = stored(tx, task)?.and_then(|stored| stored.order) else {
        return Ok(Err(ResendError::NotFound));
    };
    if order.status != resend.tells {
        return Ok(Err(ResendError::Status(order.status)));
    }
    let mut count = tx.prepare_cached("SELECT COUNT(*) FROM resends WHERE task = ?")?;
    let recorded: u32 = count.query_row([task.to_string()], |row| row.get(0))?;
    if usize::try_from(recorded).is_ok_and(|recorded| recorded >= Resend::MOST) {
        return Ok(Err(ResendError::TooMany));
    }
    let corrected = resend.corrected.as_ref().map(ToString::to_string);
    if corrected.is_none() && order.customer_email.is_none() {
        return Ok(Err(ResendError::NoAddress));
    }
    let mut put = tx.prepare_cached("INSERT INTO resends VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    put.execute((task.to_string(), recorded, resend.at.as_millis(), &resend.who, &resend.why, &corrected))?;
    if corrected.is_some() {
        order.customer_email = corrected;
        update(tx, &order)?;
    }
    Ok(Ok(order))
}
