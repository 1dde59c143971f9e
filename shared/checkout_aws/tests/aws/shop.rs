//! The shop of one test.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
pub(crate) use checkout::testing::rules::{Row, TestShop, line, now};
use checkout::{PaymentRecords, PaymentRef};
use checkout_aws::{GatewaySimulator, Tables};
use std::collections::HashMap;
use stepwell::TaskId;
use stepwell_aws::SdkConfig;

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
