//! The tokens of the customers' cards. The file overwrites what is deleted, and its log is emptied each minute.

use crate::LocalShop;
use checkout::{CardTokens, StoreError, Token};
use rusqlite::OptionalExtension;
use stepwell::{TaskId, Timestamp};

/// The table of the tokens. A copy of the file should not have it, because a token is deleted when its card is charged.
pub const CARD_TOKENS: &str = "card_tokens";

impl CardTokens for LocalShop {
    async fn keep(&self, task: TaskId, token: &Token, expires_at: Timestamp) -> Result<(), StoreError> {
        let token = token.clone();
        self.write(move |tx| {
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO card_tokens VALUES (?1, ?2, ?3)")?;
            put.execute((task.to_string(), token.reveal(), expires_at.as_millis()))?;
            Ok(())
        })
        .await
    }

    async fn kept(&self, task: TaskId, now: Timestamp) -> Result<Option<Token>, StoreError> {
        self.read(|tx| {
            let mut get = tx.prepare_cached("SELECT token FROM card_tokens WHERE task = ?1 AND expires_at > ?2")?;
            let token = get.query_row((task.to_string(), now.as_millis()), |row| row.get::<_, String>(0)).optional()?;
            Ok(token.map(|token| Token::from(token.as_str())))
        })
    }

    async fn forget(&self, task: TaskId) {
        let delete = self.write(move |tx| {
            tx.prepare_cached("DELETE FROM card_tokens WHERE task = ?")?.execute([task.to_string()])?;
            Ok(())
        });
        // The error is logged, and it is dropped: the token expires by itself.
        let _ = delete.await;
    }
}
