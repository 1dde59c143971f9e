//! The shop of one test.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use checkout::{
    CardTokens, Catalogue, Counters, Gateway, HoldError, LineItem, Money, Orders, PaymentRecords, PaymentRef, Product,
    ProductId, Reservation, Stock, Storefront, reconciliation::Ledger, testing::MemoryShop,
};
use checkout_aws::{GatewaySimulator, Tables};
use std::collections::HashMap;
use stepwell::{TaskId, Timestamp};
use stepwell_aws::SdkConfig;

/// A row of the catalogue: number, name, price in cents, stock, whether it is sold.
pub(crate) type Row = (u32, &'static str, i64, u32, bool);

/// An implementation of the shop's ports, for the tests that run on all implementations.
pub(crate) trait TestShop {
    /// The implementation of the catalogue, the stock and the orders.
    type Tables: Catalogue + Stock + Orders + Storefront + PaymentRecords + CardTokens + Counters + Ledger + Clone;
    type Gateway: Gateway;

    /// Makes a new shop with these products.
    async fn with(products: &[Row]) -> Self;
    fn tables(&self) -> &Self::Tables;
    fn gateway(&self) -> Self::Gateway;
    /// Loses the record of the payment under this key, which there is. Returns the payment.
    async fn lose_record(&self, key: &str) -> PaymentRef;
    /// Checks the number of items of a table. The shop in memory has no tables and skips the check.
    async fn assert_count(&self, table: &str, count: i32);

    /// Reads the stock and holds these lines by its figures, as `validate_cart` does.
    async fn hold(&self, key: &str, lines: &[LineItem]) -> Result<Reservation, HoldError> {
        let ids: Vec<ProductId> = lines.iter().map(|line| line.product_id).collect();
        let products = self.tables().products(&ids).await?;
        let stocks = products.into_iter().map(|(id, product)| (id, product.stock)).collect();
        self.tables().hold(key, &Reservation::of(lines, &stocks), now()).await
    }

    /// The stock of a product.
    async fn stock(&self, id: u32) -> u32 {
        let products = self.tables().all_products().await.unwrap();
        products.iter().find(|product| product.id == ProductId(id)).unwrap().stock
    }
}

/// Defines tests of these names, on tables (`aws::`) and in memory (`memory::`, which needs no stack).
macro_rules! on_every_shop {
    ($($rule:ident,)*) => {
        mod aws {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<crate::shop::DynamoShop>().await;
            })*
        }

        mod memory {
            $(#[tokio::test]
            async fn $rule() {
                super::$rule::<checkout::testing::MemoryShop>().await;
            })*
        }
    };
}
pub(crate) use on_every_shop;

impl TestShop for MemoryShop {
    type Tables = Self;
    type Gateway = Self;

    async fn with(products: &[Row]) -> Self {
        Self::selling(products.iter().map(|&(id, name, cents, stock, active)| {
            let (id, name, price) = (ProductId(id), name.to_owned(), Money::from_cents(cents));
            Product { id, name, price, stock, active }
        }))
    }

    fn tables(&self) -> &Self {
        self
    }

    fn gateway(&self) -> Self {
        self.clone()
    }

    async fn lose_record(&self, key: &str) -> PaymentRef {
        let payment = self.recorded(key).await.unwrap().unwrap();
        MemoryShop::lose_record(self, key);
        payment
    }

    async fn assert_count(&self, _: &str, _: i32) {}
}

/// A shop with its own tables, and a client to read them directly.
pub(crate) struct DynamoShop {
    tables: Tables,
    pub(crate) client: Client,
    prefix: String,
}

/// The configuration of the emulator.
///
/// # Panics
/// If `AWS_ENDPOINT_URL` is not set, because a run without an emulator must not look like success.
pub(crate) async fn config() -> SdkConfig {
    let set = std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| !url.is_empty());
    assert!(set, "this test needs an emulator: set AWS_ENDPOINT_URL, or run tests/run.sh, which starts one");
    // Not stepwell's configuration, which the process shares: its connections would outlive the runtime of one test.
    aws_config::load_from_env().await
}

impl DynamoShop {
    pub(crate) fn name(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    async fn make(&self, table: &str, id: ScalarAttributeType) {
        let attribute = AttributeDefinition::builder().attribute_name("id").attribute_type(id).build().unwrap();
        let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
        let create = self.client.create_table().table_name(self.name(table)).billing_mode(BillingMode::PayPerRequest);
        create.attribute_definitions(attribute).key_schema(key).send().await.unwrap();
    }

    /// How many items a table has.
    pub(crate) async fn count(&self, table: &str) -> i32 {
        self.client.scan().table_name(self.name(table)).send().await.unwrap().count()
    }

    /// The items of a table.
    pub(crate) async fn items(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self.client.scan().table_name(self.name(table)).consistent_read(true);
        scan.send().await.unwrap().items.unwrap_or_default()
    }
}

impl TestShop for DynamoShop {
    type Tables = Tables;
    type Gateway = GatewaySimulator;

    async fn with(products: &[Row]) -> Self {
        let config = config().await;
        let prefix = format!("checkout-test-{}-", TaskId::new());
        let shop = Self { tables: Tables::new(&config, &prefix), client: Client::new(&config), prefix };
        shop.make("products", ScalarAttributeType::N).await;
        for table in ["payments", "card_tokens", "counters", "reservations", "orders"] {
            shop.make(table, ScalarAttributeType::S).await;
        }
        for (id, name, price, stock, active) in products {
            let put = shop.client.put_item().table_name(shop.name("products"));
            let put =
                put.item("id", AttributeValue::N(id.to_string())).item("name", AttributeValue::S((*name).to_owned()));
            let put = put.item("price_cents", AttributeValue::N(price.to_string()));
            let put = put.item("stock", AttributeValue::N(stock.to_string()));
            put.item("active", AttributeValue::Bool(*active)).send().await.unwrap();
        }
        shop
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn gateway(&self) -> GatewaySimulator {
        GatewaySimulator::new(self.tables.clone())
    }

    async fn lose_record(&self, key: &str) -> PaymentRef {
        let payment = self.tables.recorded(key).await.unwrap().unwrap();
        let delete = self.client.delete_item().table_name(self.name("payments"));
        delete.key("id", AttributeValue::S(key.to_owned())).send().await.unwrap();
        payment
    }

    async fn assert_count(&self, table: &str, count: i32) {
        assert_eq!(self.count(table).await, count, "items of {table}");
    }
}

/// A line of a cart.
pub(crate) fn line(id: u32, name: &str, quantity: u32) -> LineItem {
    let price = Money::from_cents(4398);
    let line_total = price.times(quantity).unwrap();
    LineItem { product_id: ProductId(id), name: name.to_owned(), price, quantity, line_total }
}

/// The reservation that a caller asks for who has read this stock of every product.
pub(crate) fn wanted(lines: &[LineItem], stock: u32) -> Reservation {
    Reservation::of(lines, &lines.iter().map(|line| (line.product_id, stock)).collect())
}

/// A moment.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_123)
}
