//! A shop for one test.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use checkout::{LineItem, Money, ProductId, Storefront};
use checkout_aws::Tables;
use std::collections::HashMap;
use stepwell::{TaskId, Timestamp};
use stepwell_aws::SdkConfig;

/// Tables of its own, and the client to look behind their back.
pub(crate) struct Shop {
    pub(crate) tables: Tables,
    pub(crate) client: Client,
    prefix: String,
}

/// The configuration of the emulator.
///
/// # Panics
/// Where `AWS_ENDPOINT_URL` is not set: without an emulator nothing here is tested, and that must not look like success.
pub(crate) async fn config() -> SdkConfig {
    let set = std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| !url.is_empty());
    assert!(set, "this test needs an emulator: set AWS_ENDPOINT_URL, or run tests/run.sh, which starts one");
    // Not stepwell's, which is one for the process: its connections would outlive the runtime of the test that made them.
    aws_config::load_from_env().await
}

impl Shop {
    /// A shop that sells this: number, name, price in cents, stock, whether it is sold.
    pub(crate) async fn with(products: &[(u32, &str, i64, u32, bool)]) -> Self {
        let config = config().await;
        let prefix = format!("checkout-test-{}-", TaskId::new());
        let shop = Self { tables: Tables::new(&config, &prefix), client: Client::new(&config), prefix };
        shop.make("products", ScalarAttributeType::N).await;
        for table in ["payments", "reservations", "orders"] {
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

    pub(crate) fn name(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    async fn make(&self, table: &str, id: ScalarAttributeType) {
        let attribute = AttributeDefinition::builder().attribute_name("id").attribute_type(id).build().unwrap();
        let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
        let create = self.client.create_table().table_name(self.name(table)).billing_mode(BillingMode::PayPerRequest);
        create.attribute_definitions(attribute).key_schema(key).send().await.unwrap();
    }

    /// The stock of a product.
    pub(crate) async fn stock(&self, id: u32) -> u32 {
        let products = self.tables.all_products().await.unwrap();
        products.iter().find(|product| product.id == ProductId(id)).unwrap().stock
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

/// A line of a cart.
pub(crate) fn line(id: u32, name: &str, quantity: u32) -> LineItem {
    let price = Money::from_cents(4398);
    let line_total = price.times(quantity).unwrap();
    LineItem { product_id: ProductId(id), name: name.to_owned(), price, quantity, line_total }
}

/// A moment.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_123)
}
