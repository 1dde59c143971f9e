use checkout::{
    CardTokens, Catalogue, Counters, Gateway, Money, OpenRequest, OrderStatus, Orders, PaymentRecords, PaymentRef,
    PaymentState, Product, ProductId, Shop, Stock, StoreError, Storefront,
    reconciliation::{Ledger, LedgerCursor, LedgerEntry},
    testing::rules::{
        Row, TestShop, line, now,
        orders::{order, resend, shipping},
        wanted,
    },
};
use checkout_local::{GATEWAY_SCHEMA, GatewaySimulator, LocalShop, Outbox, SCHEMA};
use futures::executor::block_on;
use std::{fs, thread, time::Duration};
use stepwell::TaskId;
use stepwell_local::File;
use tempfile::TempDir;

/// A shop with files of its own.
pub(crate) struct FileShop {
    shop: LocalShop,
    file: File,
    folder: TempDir,
}

impl FileShop {
    fn open(folder: TempDir) -> Self {
        let path = |name: &str| folder.path().join(name);
        let file = File::open(&path("shop.db"), &[SCHEMA]).unwrap();
        let gateway = File::open(&path("gateway.db"), &[GATEWAY_SCHEMA]).unwrap();
        let outbox = Outbox::open(&path("outbox"), "orders@example.com".parse().unwrap()).unwrap();
        Self { shop: LocalShop::new(file.clone(), gateway, outbox), file, folder }
    }

    /// Ends the process, so to say, and starts another one.
    fn reopen(self) -> Self {
        let Self { shop, file, folder } = self;
        drop((shop, file));
        Self::open(folder)
    }

    async fn execute(&self, sql: String) {
        self.file.write(move |tx| Ok(tx.execute_batch(&sql)?)).await.unwrap();
    }
}

fn products(rows: &[Row]) -> Vec<Product> {
    let product = |&(id, name, cents, stock, active): &Row| {
        let (id, name, price) = (ProductId(id), name.to_owned(), Money::from_cents(cents));
        Product { id, name, price, stock, active }
    };
    rows.iter().map(product).collect()
}

impl TestShop for FileShop {
    type Tables = LocalShop;
    type Gateway = GatewaySimulator;

    async fn with(rows: &[Row]) -> Self {
        let shop = Self::open(TempDir::new().unwrap());
        shop.shop.load_products(products(rows)).await.unwrap();
        shop
    }

    fn tables(&self) -> &LocalShop {
        &self.shop
    }

    fn gateway(&self) -> GatewaySimulator {
        self.shop.gateway().unwrap()
    }

    async fn lose_record(&self, key: &str) -> PaymentRef {
        let payment = self.shop.recorded(key).await.unwrap().unwrap();
        self.execute(format!("DELETE FROM payment_records WHERE key = '{key}'")).await;
        payment
    }
}

#[tokio::test]
async fn last_piece_goes_to_one_of_two_threads() {
    for _ in 0..20 {
        let shop = FileShop::with(&[(1, "Lamp", 4398, 1, true)]).await;
        let tables = shop.tables();
        let buy = |key: &'static str| move || block_on(tables.hold(key, &wanted(&[line(1, "Lamp", 1)], 1), now()));
        let (one, other) = thread::scope(|scope| {
            let (one, other) = (scope.spawn(buy("one")), scope.spawn(buy("other")));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert_ne!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
        assert_eq!(shop.stock(1).await, 0);
    }
}

#[tokio::test]
async fn everything_is_there_after_the_files_are_opened_again() {
    let shop = FileShop::with(&[(1, "Lamp", 4398, 7, true)]).await;
    let (later, task, token) = (now() + Duration::from_secs(60), TaskId::new(), "test_temp_fail_2_visa".into());
    let held = shop.hold("key", &[line(1, "Lamp", 5)]).await.unwrap();
    let order = shop.shop.create(order()).await.unwrap();
    shop.shop.ship(order.order_id, &shipping()).await.unwrap();
    shop.shop.record_resend(order.order_id, &resend(OrderStatus::Confirmed, None)).await.unwrap();
    shop.shop.record("key", &PaymentRef("pay_1".to_owned())).await.unwrap();
    shop.shop.keep(task, &token, later).await.unwrap();
    shop.shop.count("a", later).await.unwrap();
    let request = OpenRequest { key: "key", amount: Money::from_cents(10_000), currency: "USD", at: now() };
    let payment = shop.gateway().open(&request).await.unwrap();
    assert!(shop.gateway().confirm(&payment, &token, now()).await.is_err());

    let shop = shop.reopen();
    assert_eq!((shop.stock(1).await, shop.shop.take("key", now()).await), (2, Ok(held)));
    let found = shop.shop.find_order(&order.order_id.to_string()).await.unwrap().unwrap();
    assert_eq!((found.order_number, found.shipped_at), (order.order_number, Some(now())));
    assert_eq!(shop.shop.recorded("key").await, Ok(Some(PaymentRef("pay_1".to_owned()))));
    assert_eq!(shop.shop.kept(task, now()).await, Ok(Some(token.clone())));
    assert_eq!(shop.shop.count("a", later).await, Ok(2));
    assert!(shop.gateway().confirm(&payment, &token, now()).await.is_err(), "the second failure");
    let charge = shop.gateway().confirm(&payment, &token, now()).await.unwrap();
    assert_eq!(shop.gateway().read(&payment, now()).await, Ok(PaymentState::Paid(charge)));
}

#[tokio::test]
async fn gateway_keeps_its_charges_when_the_shop_s_file_is_another_one() {
    let shop = FileShop::with(&[]).await;
    let request = OpenRequest { key: "key", amount: Money::from_cents(10_000), currency: "USD", at: now() };
    let payment = shop.gateway().open(&request).await.unwrap();
    shop.gateway().confirm(&payment, &"test_success_visa".into(), now()).await.unwrap();
    let FileShop { shop, file, folder } = shop;
    drop((shop, file));
    fs::remove_file(folder.path().join("shop.db")).unwrap();
    let shop = FileShop::open(folder);
    let charges = shop.gateway().list_charges(now(), None).await.unwrap().charges;
    assert_eq!(charges.into_iter().map(|charge| charge.payment).collect::<Vec<_>>(), [payment]);
}

#[tokio::test]
async fn products_that_are_there_keep_their_stock_when_products_are_loaded() {
    let shop = FileShop::with(&[(1, "Lamp", 4398, 7, true)]).await;
    shop.hold("key", &[line(1, "Lamp", 5)]).await.unwrap();
    let all = [(1, "Lamp", 9999, 7, true), (2, "Chair", 1000, 3, true)];
    assert_eq!(shop.shop.load_products(products(&all)).await, Ok(1));
    let found = shop.shop.all_products().await.unwrap();
    assert_eq!(found, products(&[(1, "Lamp", 4398, 2, true), (2, "Chair", 1000, 3, true)]));
}

#[tokio::test]
async fn taken_order_number_is_skipped() {
    let shop = FileShop::with(&[]).await;
    let order = order();
    let first_choice = shop.shop.create(order.clone()).await.unwrap().order_number;
    // The number's order becomes another task's.
    let (id, other) = (order.order_id, TaskId::new());
    shop.execute(format!("UPDATE orders SET task = '{other}' WHERE task = '{id}'")).await;
    let made = shop.shop.create(order.clone()).await.unwrap();
    assert_ne!(made.order_number, first_choice);
    assert_eq!(shop.shop.create(order).await, Ok(made));
}

#[tokio::test]
async fn deleted_product_is_named_and_does_not_block_the_release_of_the_others() {
    let shop = FileShop::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, true)]).await;
    shop.hold("key", &[line(1, "Lamp", 5), line(2, "Chair", 3)]).await.unwrap();
    shop.execute("DELETE FROM products WHERE id = 2".to_owned()).await;
    let release = shop.shop.release("key", now()).await.unwrap();
    assert_eq!((release.total_items_released, release.unreleased_products.len()), (5, 1));
    assert_eq!((shop.stock(1).await, shop.shop.all_products().await.unwrap().len()), (7, 1));
}

#[tokio::test]
async fn row_that_cannot_be_read_stops_no_other() {
    let shop = FileShop::with(&[(1, "Lamp", 4398, 7, true)]).await;
    let (bad, good) = (shop.shop.create(order()).await.unwrap(), shop.shop.create(order()).await.unwrap());
    let id = bad.order_id;
    shop.execute(format!("UPDATE orders SET value = '{{}}' WHERE task = '{id}'")).await;
    let error = shop.shop.find_order(&id.to_string()).await.unwrap_err();
    assert_eq!(error, StoreError::Unreadable(format!("orders {id}")));
    assert_eq!(shop.shop.find_order(&good.order_id.to_string()).await, Ok(Some(good)));
}

#[tokio::test]
async fn table_that_is_missing_is_retryable_and_named_in_no_answer() {
    let shop = FileShop::with(&[]).await;
    shop.execute("DROP TABLE products".to_owned()).await;
    let error = shop.shop.products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error.to_string(), "the table gave no answer (SQLite refused the call)");
}

#[tokio::test]
async fn token_that_was_deleted_is_nowhere_in_the_files() {
    let shop = FileShop::with(&[]).await;
    let (task, expired, minute) = (TaskId::new(), TaskId::new(), Duration::from_secs(60));
    shop.shop.keep(task, &"tok_secret_forgotten".into(), now() + minute).await.unwrap();
    shop.shop.keep(expired, &"tok_secret_expired".into(), now()).await.unwrap();
    shop.shop.keep(TaskId::new(), &"tok_other".into(), now() + minute).await.unwrap();
    shop.shop.forget(task).await;
    shop.shop.count("old", now()).await.unwrap();
    shop.shop.count("new", now() + minute).await.unwrap();
    assert_eq!(shop.shop.delete_expired(now()).await, Ok(2));
    let shop = shop.reopen();
    assert_eq!(shop.shop.count("new", now()).await, Ok(2));
    let has =
        |what: &[u8]| fs::read(shop.folder.path().join("shop.db")).unwrap().windows(what.len()).any(|at| at == what);
    assert!(has(b"tok_other"), "the file is read");
    assert!(!has(b"tok_secret"));
}

#[tokio::test]
async fn ledger_lists_every_record_once_over_many_pages() {
    const RECORDS: usize = 1_000;
    let shop = FileShop::with(&[]).await;
    for number in 0..RECORDS {
        let sql = format!("INSERT INTO payment_records (key, voided_at) VALUES ('{number}:process_payment', 0)");
        shop.execute(sql).await;
    }
    let (mut keys, mut pages, mut from) = (Vec::new(), 0, None::<LedgerCursor>);
    loop {
        let page = shop.shop.page(from.as_ref()).await.unwrap();
        keys.extend(page.entries.into_iter().filter_map(|entry| match entry {
            LedgerEntry::Payment { key, .. } => Some(key),
            _ => None,
        }));
        pages += 1;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert!(pages > 4, "a part has several pages");
    assert_eq!(keys.len(), RECORDS);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), RECORDS);
}
