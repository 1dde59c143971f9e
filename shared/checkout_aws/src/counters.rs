//! Counters, in a table of their own: one item a counter, which DynamoDB deletes when it has expired.

use crate::{Tables, items, tables::store_error};
use aws_sdk_dynamodb::types::ReturnValue;
use checkout::{Counters, StoreError};
use stepwell::Timestamp;

const COUNTERS: &str = "counters";

/// How often it was counted.
const COUNTED: &str = "counted";

/// When DynamoDB may delete the item, in seconds since the Unix epoch.
const EXPIRES_AT: &str = "expires_at";

impl Counters for Tables {
    async fn count(&self, name: &str, expires_at: Timestamp) -> Result<u32, StoreError> {
        let update = self.client.update_item().table_name(self.name(COUNTERS)).key("id", items::text(name));
        let update =
            update.update_expression(format!("ADD {COUNTED} :one SET {EXPIRES_AT} = if_not_exists({EXPIRES_AT}, :at)"));
        let update = update.expression_attribute_values(":one", items::number(1));
        let update = update.expression_attribute_values(":at", items::number(expires_at.as_seconds()));
        let updated = update.return_values(ReturnValue::UpdatedNew).send().await;
        let counted = updated.map_err(|error| store_error(&error))?.attributes.and_then(|mut new| new.remove(COUNTED));
        items::from_attribute(counted.ok_or_else(|| items::unreadable("a counter without a count"))?)
    }
}
