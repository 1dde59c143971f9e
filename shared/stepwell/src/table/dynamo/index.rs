//! Reading the `by_status` index, and moving a task in it.

use super::{
    AsRead, DynamoTable, Listed, ListedAt, Listing, Page, TableError,
    error::failed,
    expression::{self, Item, s, task_key},
    read,
    write::{listing, status_shard},
};
use crate::Timestamp;

/// The index's name.
const INDEX: &str = "by_status";

impl DynamoTable {
    pub(super) async fn read_index(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        let mut condition = "status_shard = :status_shard".to_owned();
        let mut values = expression::values([("status_shard", status_shard(page.listing, page.shard))]);
        if let Some(until) = page.until {
            condition.push_str(" AND listed_at <= :until");
            values.extend(expression::values([("until", s(until.to_string()))]));
        }
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(INDEX)
            .key_condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .set_exclusive_start_key(page.after.map(keys))
            .limit(page.limit.into());
        let found = query.send().await.map_err(|error| failed("Query")(&error))?.items.unwrap_or_default();
        found.into_iter().map(|item| read::listed(page.listing, item)).collect()
    }

    pub(super) async fn move_in_index(
        &self,
        place: &ListedAt,
        to: Listing,
        at: Timestamp,
    ) -> Result<AsRead, TableError> {
        let update = "SET #status_shard = :status_shard, #listed_at = :listed_at";
        let condition = "#status_shard = :seen_shard AND #listed_at = :seen_at";
        let mut values = expression::values(listing(place.task, to, at));
        values.extend(expression::values([
            ("seen_shard", status_shard(place.listing, Listing::shard(place.task))),
            ("seen_at", s(place.at.to_string())),
        ]));
        self.update_as_read(task_key(place.task), update, condition, values).await
    }
}

/// What DynamoDB wants to know of the last item of a page, to go on after it.
fn keys(place: &ListedAt) -> Item {
    let mut keys = task_key(place.task);
    let index = [
        ("status_shard", status_shard(place.listing, Listing::shard(place.task))),
        ("listed_at", s(place.at.to_string())),
    ];
    keys.extend(index.map(|(name, value)| (name.to_owned(), value)));
    keys
}
