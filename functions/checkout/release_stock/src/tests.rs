use crate::step;
use checkout::{
    HoldError, LineItem, Money, Product, ProductId, Release, Reservation, Stock, StoreError,
    testing::{MemoryShop, Outage},
};
use stepwell::{Step, StepContext, StepError, Timestamp};

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:validate_cart";
/// The key of a task whose plan reserves in `update_inventory`, as older versions planned it.
const OLDER_KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:update_inventory";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn wanted() -> Reservation {
    let line = |id: u32, name: &str| LineItem {
        product_id: ProductId(id),
        name: name.to_owned(),
        price: Money::from_cents(4398),
        quantity: 2,
        line_total: Money::from_cents(8796),
    };
    Reservation::of(&[line(1, "Lamp"), line(2, "Chair")], &[(ProductId(1), 7), (ProductId(2), 7)].into())
}

/// Two of seven lamps and of seven chairs are held under this key.
async fn two_held(key: &str) -> MemoryShop {
    let product = |id: u32, name: &str| {
        let (id, name) = (ProductId(id), name.to_owned());
        Product { id, name, price: Money::from_cents(4398), stock: 7, active: true }
    };
    let shop = MemoryShop::selling([product(1, "Lamp"), product(2, "Chair")]);
    shop.hold(key, &wanted(), NOW).await.unwrap();
    shop
}

async fn run(shop: &MemoryShop, compensates: &str) -> Result<Release, StepError> {
    let mut ctx = StepContext::for_test("release_stock", TASK.parse().unwrap(), NOW);
    ctx.compensates = Some(compensates.to_owned());
    step(shop).unwrap().run((), &ctx).await
}

#[tokio::test]
async fn held_and_taken_units_are_released_once() {
    let expected = concat!(
        r#"{"released_products":[{"product_id":1,"name":"Lamp","previous_stock":5,"new_stock":7,"quantity_released":2},"#,
        r#"{"product_id":2,"name":"Chair","previous_stock":5,"new_stock":7,"quantity_released":2}],"#,
        r#""total_items_released":4,"inventory_changes":[{"product_id":1,"change_type":"release","quantity":2},"#,
        r#"{"product_id":2,"change_type":"release","quantity":2}],"released_at":"2023-11-14T22:13:20.123Z"}"#
    );
    for taken in [false, true] {
        let shop = two_held(KEY).await;
        if taken {
            shop.take(KEY, NOW).await.unwrap();
        }
        for _ in 0..3 {
            let release = run(&shop, "validate_cart").await.unwrap();
            assert_eq!(serde_json::to_string(&release).unwrap(), expected);
            assert_eq!((shop.stock_of(ProductId(1)), shop.reservations().len(), shop.holds().len()), (7, 0, 0));
        }
    }
}

#[tokio::test]
async fn units_of_a_plan_that_reserves_in_a_later_step_are_released() {
    let shop = two_held(OLDER_KEY).await;
    assert_eq!(run(&shop, "update_inventory").await.unwrap().total_items_released, 4);
    assert_eq!(shop.stock_of(ProductId(1)), 7);
}

#[tokio::test]
async fn key_without_a_hold_is_voided() {
    let shop = two_held("another").await;
    assert_eq!(run(&shop, "validate_cart").await.unwrap().total_items_released, 0);
    assert_eq!(shop.hold(KEY, &wanted(), NOW).await, Err(HoldError::Void));
}

#[tokio::test]
async fn vanished_product_is_named_and_stops_no_other() {
    let shop = two_held(KEY).await;
    shop.remove(ProductId(2));
    for _ in 0..3 {
        let release = run(&shop, "validate_cart").await.unwrap();
        let unreleased = serde_json::to_string(&release.unreleased_products).unwrap();
        assert_eq!(unreleased, r#"[{"product_id":2,"name":"Chair","quantity":2}]"#);
        assert_eq!((release.total_items_released, shop.stock_of(ProductId(1))), (2, 7));
    }
}

#[tokio::test]
async fn busy_table_is_retryable() {
    let shop = two_held(KEY).await;
    let busy = StoreError::Busy("TransactionConflict".to_owned());
    shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
    let error = run(&shop, "validate_cart").await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}
