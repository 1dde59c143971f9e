//! The tokens of the customers' cards, in a table that the payment's steps alone can read. An item is deleted when the payment
//! has come to its end. DynamoDB deletes what has expired some days late, so a read takes an expired token for none.

use crate::{Tables, items, tables::store_error};
use checkout::{CardTokens, StoreError, Token};
use stepwell::{TaskId, Timestamp};

const CARD_TOKENS: &str = "card_tokens";

/// When DynamoDB may delete the item, in seconds since the Unix epoch.
const EXPIRES_AT: &str = "expires_at";

impl CardTokens for Tables {
    async fn keep(&self, task: TaskId, token: &Token, expires_at: Timestamp) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(self.name(CARD_TOKENS)).item("id", items::text(task));
        let put = put.item("token", items::text(token.reveal()));
        let put = put.item(EXPIRES_AT, items::number(expires_at.as_seconds()));
        put.send().await.map(drop).map_err(|error| store_error(&error))
    }

    async fn kept(&self, task: TaskId, now: Timestamp) -> Result<Option<Token>, StoreError> {
        let Some(mut item) = self.get_consistent(CARD_TOKENS, &task.to_string()).await? else { return Ok(None) };
        let mut take =
            |name| item.remove(name).ok_or_else(|| items::unreadable(format!("a card's token without {name}")));
        let (token, expires_at): (Token, i64) =
            (items::from_attribute(take("token")?)?, items::from_attribute(take(EXPIRES_AT)?)?);
        Ok((now.as_seconds() < expires_at).then_some(token))
    }

    async fn forget(&self, task: TaskId) {
        let delete = self.client.delete_item().table_name(self.name(CARD_TOKENS)).key("id", items::text(task));
        // What matters of the error is logged, and it is dropped: the token expires by itself.
        if let Err(error) = delete.send().await {
            store_error(&error);
        }
    }
}
