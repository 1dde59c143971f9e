use super::{TestShop, line, now};
use crate::{
    CancelOrderError, CancelledOrder, CreateOrderError, Money, Order, OrderStatus, Orders, Priority, Resend,
    ResendError, ShipError, Shipping, Storefront,
};
use futures::future::join_all;
use std::time::Duration;
use stepwell::TaskId;

pub fn order() -> Order {
    Order {
        order_id: TaskId::new(),
        order_number: String::new(),
        status: OrderStatus::Confirmed,
        items: vec![line(1, "Lamp", 2)],
        subtotal: Money::from_cents(8796),
        tax: Money::from_cents(704),
        shipping: Money::from_cents(500),
        total_amount: Money::from_cents(10_000),
        currency: "USD".to_owned(),
        payment_id: "pay_1".to_owned(),
        simulated: true,
        customer_email: Some("test@example.com".to_owned()),
        customer_name: None,
        shipping_info: [("city".to_owned(), "Springfield".to_owned())].into(),
        priority: Priority::Express,
        placed_at: now(),
        created_at: now(),
        estimated_delivery: now() + Priority::Express.delivery_time(),
        cancelled_at: None,
        shipped_at: None,
    }
}

pub async fn twenty_concurrent_requests_make_one_order<S: TestShop>() {
    let shop = S::with(&[]).await;
    let order = order();
    let made = join_all((0..20).map(|_| shop.tables().create(order.clone()))).await;
    let first = made[0].clone().unwrap();
    assert!(made.iter().all(|order| order.as_ref() == Ok(&first)));
    assert!(first.order_number.starts_with("ORD-20231114-"), "{}", first.order_number);
    shop.assert_count("orders", 2).await;

    let found = shop.tables().find_order(&order.order_id.to_string()).await.unwrap();
    assert_eq!(found, Some(first), "the round trip keeps every field");
}

pub async fn unknown_order_is_not_found<S: TestShop>() {
    let shop = S::with(&[]).await;
    let number = shop.tables().create(order()).await.unwrap().order_number;
    for id in [&TaskId::new().to_string(), "", "../orders", &number, &format!("number:{number}")] {
        assert_eq!(shop.tables().find_order(id).await, Ok(None), "{id}");
    }
}

pub async fn cancelled_order_is_shown_and_not_made_again<S: TestShop>() {
    let shop = S::with(&[]).await;
    let order = shop.tables().create(order()).await.unwrap();
    let id = order.order_id;
    let expected = CancelledOrder {
        order_id: Some(id),
        order_number: Some(order.order_number.clone()),
        cancelled_at: now(),
        customer_email: order.customer_email.clone(),
    };
    for cancelled in join_all((0..20).map(|_| shop.tables().cancel(id, now()))).await {
        assert_eq!(cancelled.as_ref(), Ok(&expected));
    }
    let again = shop.tables().cancel(id, now() + Duration::from_secs(60)).await;
    assert_eq!(again, Ok(expected), "a repeated cancellation keeps its time");

    let found = shop.tables().find_order(&id.to_string()).await.unwrap();
    let cancelled = Order { status: OrderStatus::Cancelled, cancelled_at: Some(now()), ..order.clone() };
    assert_eq!(found, Some(cancelled), "the other fields are unchanged");
    assert_eq!(shop.tables().create(order).await, Err(CreateOrderError::Void));
    shop.assert_count("orders", 2).await;
}

pub async fn order_after_its_cancellation_is_refused<S: TestShop>() {
    let shop = S::with(&[]).await;
    let order = order();
    let id = order.order_id;
    let expected = CancelledOrder::new(None, now());
    assert_eq!(shop.tables().cancel(id, now()).await.as_ref(), Ok(&expected));
    assert_eq!(shop.tables().create(order).await, Err(CreateOrderError::Void));
    assert_eq!(shop.tables().cancel(id, now() + Duration::from_secs(60)).await, Ok(expected));
    assert_eq!(shop.tables().find_order(&id.to_string()).await, Ok(None), "a mark without an order is not an order");
    shop.assert_count("orders", 1).await;
}

pub fn shipping() -> Shipping {
    Shipping { at: now(), who: "ann".to_owned(), why: "parcel 17".to_owned() }
}

pub async fn shipped_order_is_shown_and_not_cancelled<S: TestShop>() {
    let shop = S::with(&[]).await;
    let order = shop.tables().create(order()).await.unwrap();
    let id = order.order_id;
    assert_eq!(shop.tables().ship(id, &shipping()).await, Ok(now()));
    let later = Shipping { at: now() + Duration::from_secs(60), ..shipping() };
    assert_eq!(shop.tables().ship(id, &later).await, Ok(now()), "a repeated call keeps the first time");
    assert_eq!(shop.tables().cancel(id, now()).await, Err(CancelOrderError::Shipped(now())));
    let found = shop.tables().find_order(&id.to_string()).await.unwrap();
    assert_eq!(found, Some(Order { shipped_at: Some(now()), ..order }), "the other fields are unchanged");
}

pub async fn cancelled_or_missing_order_is_not_shipped<S: TestShop>() {
    let shop = S::with(&[]).await;
    let id = shop.tables().create(order()).await.unwrap().order_id;
    shop.tables().cancel(id, now()).await.unwrap();
    assert_eq!(shop.tables().ship(id, &shipping()).await, Err(ShipError::Cancelled(now())));
    let ruled_out = TaskId::new();
    shop.tables().cancel(ruled_out, now()).await.unwrap();
    for missing in [TaskId::new(), ruled_out] {
        assert_eq!(shop.tables().ship(missing, &shipping()).await, Err(ShipError::NotFound));
    }
}

/// A resend that tells of this status.
pub fn resend(tells: OrderStatus, corrected: Option<&str>) -> Resend {
    let corrected = corrected.map(|address| address.parse().unwrap());
    Resend { at: now(), who: "ann".to_owned(), why: "she called".to_owned(), corrected, tells }
}

pub async fn corrected_address_is_the_order_s<S: TestShop>() {
    let shop = S::with(&[]).await;
    let order = shop.tables().create(order()).await.unwrap();
    let id = order.order_id;
    let unchanged = shop.tables().record_resend(id, &resend(OrderStatus::Confirmed, None)).await;
    assert_eq!(unchanged.as_ref(), Ok(&order));
    let corrected = Order { customer_email: Some("ann@example.org".to_owned()), ..order };
    for address in [Some("ann@example.org"), None] {
        let recorded = shop.tables().record_resend(id, &resend(OrderStatus::Confirmed, address)).await;
        assert_eq!(recorded.as_ref(), Ok(&corrected), "the other fields are unchanged");
    }
    assert_eq!(shop.tables().find_order(&id.to_string()).await, Ok(Some(corrected)));
    let cancelled = shop.tables().cancel(id, now()).await.unwrap();
    assert_eq!(cancelled.customer_email.as_deref(), Some("ann@example.org"));
}

pub async fn resend_is_refused_by_an_order_of_another_status<S: TestShop>() {
    let shop = S::with(&[]).await;
    let order = shop.tables().create(order()).await.unwrap();
    let id = order.order_id;
    let corrected = Some("ann@example.org");
    let record = async |order, tells| shop.tables().record_resend(order, &resend(tells, corrected)).await;
    assert_eq!(record(id, OrderStatus::Cancelled).await, Err(ResendError::Status(OrderStatus::Confirmed)));
    shop.tables().cancel(id, now()).await.unwrap();
    assert_eq!(record(id, OrderStatus::Confirmed).await, Err(ResendError::Status(OrderStatus::Cancelled)));
    let found = shop.tables().find_order(&id.to_string()).await.unwrap().unwrap();
    assert_eq!(found.customer_email, order.customer_email, "a refused resend changes nothing");
    let recorded = record(id, OrderStatus::Cancelled).await.unwrap();
    assert_eq!((recorded.status, recorded.customer_email.as_deref()), (OrderStatus::Cancelled, corrected));
    let ruled_out = TaskId::new();
    shop.tables().cancel(ruled_out, now()).await.unwrap();
    for missing in [TaskId::new(), ruled_out] {
        assert_eq!(record(missing, OrderStatus::Cancelled).await, Err(ResendError::NotFound));
    }
}

pub async fn resend_needs_an_address_and_an_order_takes_so_many<S: TestShop>() {
    let shop = S::with(&[]).await;
    let order = shop.tables().create(Order { customer_email: None, ..order() }).await.unwrap();
    let record = async |corrected| {
        let resend = resend(OrderStatus::Confirmed, corrected);
        shop.tables().record_resend(order.order_id, &resend).await
    };
    assert_eq!(record(None).await, Err(ResendError::NoAddress));
    for _ in 0..Resend::MOST {
        assert!(record(Some("ann@example.org")).await.is_ok());
    }
    assert_eq!(record(Some("bob@example.org")).await, Err(ResendError::TooMany));
    let found = shop.tables().find_order(&order.order_id.to_string()).await.unwrap().unwrap();
    assert_eq!(found.customer_email.as_deref(), Some("ann@example.org"));
}
