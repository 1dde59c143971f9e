//! Counters, which are deleted when they have expired.

use crate::LocalShop;
use checkout::{Counters, StoreError};
use stepwell::Timestamp;

impl Counters for LocalShop {
    async fn count(&self, name: &str, expires_at: Timestamp) -> Result<u32, StoreError> {
        let name = name.to_owned();
        self.write(move |tx| {
            let mut count = tx.prepare_cached(
                "INSERT INTO counters VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE SET counted = counted + 1 RETURNING counted",
            )?;
            Ok(count.query_row((name, expires_at.as_millis()), |row| row.get(0))?)
        })
        .await
    }
}
