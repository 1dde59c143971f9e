//! The shop's tables: their names, their errors, and transactions.

use crate::items::{self, AttributeItem};
use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{CancellationReason, TransactWriteItem},
};
use checkout::{ConfigError, StoreError, config};
use std::{collections::BTreeSet, time::Duration};
use stepwell::FailureKind;
use stepwell_aws::{SdkConfig, failure_kind, was_busy};

/// The shop's DynamoDB tables. They implement the ports of the catalogue, the stock, the orders and the storefront.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) client: Client,
    prefix: String,
}

/// Converts the SDK's error, with its code only. The message goes to the log, because it names our account and tables,
/// which clients must not see.
pub(crate) fn store_error<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> StoreError {
    let code = match error {
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(_) => "no connection",
        other => other.code().unwrap_or("no code"),
    };
    tracing::warn!(code, error = error.message(), "a DynamoDB call failed");
    match failure_kind(error) {
        FailureKind::Throttled => StoreError::Busy(code.to_owned()),
        FailureKind::Unavailable | FailureKind::Refused => StoreError::Failed(code.to_owned()),
    }
}

/// The outcome of a transaction.
pub(crate) enum Transacted {
    /// All writes were applied.
    Done,
    /// A condition was refused, and no write was applied. One entry for each write: `None` where its condition held,
    /// otherwise the current item, empty where there is none.
    Refused(Vec<Option<AttributeItem>>),
}

impl Tables {
    /// Makes the tables whose names begin with `prefix`.
    pub fn new(config: &SdkConfig, prefix: impl Into<String>) -> Self {
        Self { client: Client::new(config), prefix: prefix.into() }
    }

    /// Makes the tables with the prefix `SHOP_TABLE_PREFIX`.
    ///
    /// # Errors
    /// The variable is not set.
    pub fn from_env(config: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self::new(config, config::required("SHOP_TABLE_PREFIX")?))
    }

    pub(crate) fn name(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    /// Reads the item with this id, strongly consistent.
    pub(crate) async fn get_consistent(&self, table: &str, id: &str) -> Result<Option<AttributeItem>, StoreError> {
        let request = self.client.get_item().table_name(self.name(table)).key("id", items::text(id));
        Ok(request.consistent_read(true).send().await.map_err(|error| store_error(&error))?.item)
    }

    /// Reads the item with this id, eventually consistent.
    pub(crate) async fn get(&self, table: &str, id: &str) -> Result<Option<AttributeItem>, StoreError> {
        let request = self.client.get_item().table_name(self.name(table)).key("id", items::text(id));
        Ok(request.send().await.map_err(|error| store_error(&error))?.item)
    }

    /// Writes a transaction. It retries a conflict with a concurrent transaction, which ends within milliseconds,
    /// because a step has few attempts and long waits between them. The SDK has retried other transient errors already.
    pub(crate) async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        let mut conflict = StoreError::Busy(String::new());
        for number in tries() {
            let request = self.client.transact_write_items().set_transact_items(Some(writes.clone()));
            let Err(error) = request.send().await else { return Ok(Transacted::Done) };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(store_error(&error));
            };
            let reasons = cancelled.cancellation_reasons();
            if reasons.iter().any(condition_failed) {
                return Ok(Transacted::Refused(reasons.iter().map(standing).collect()));
            }
            conflict = cancelled_because(reasons)?;
            pause(number).await;
        }
        Err(conflict)
    }
}

fn condition_failed(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

fn standing(reason: &CancellationReason) -> Option<AttributeItem> {
    condition_failed(reason).then(|| reason.item.clone().unwrap_or_default())
}

/// Converts the reasons of a transaction that was cancelled although its conditions held: `Ok` after a conflict or
/// throttling, which is worth a retry, `Err` otherwise.
fn cancelled_because(reasons: &[CancellationReason]) -> Result<StoreError, StoreError> {
    let against: Vec<_> = reasons.iter().filter(|reason| reason.code().is_some_and(|code| code != "None")).collect();
    let codes: BTreeSet<&str> = against.iter().filter_map(|reason| reason.code()).collect();
    let text = codes.into_iter().collect::<Vec<_>>().join(", ");
    if !against.is_empty() && against.into_iter().all(was_busy) {
        return Ok(StoreError::Busy(text));
    }
    tracing::warn!(codes = text, "a DynamoDB transaction was cancelled");
    Err(StoreError::Failed(text))
}

/// Waits before try `number + 1`, for a random time up to 25 ms, 50 ms, ... 800 ms, so that conflicting callers do not
/// collide again.
pub(crate) async fn pause(number: u32) {
    let most = 25u64 << number.saturating_sub(1).min(5);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=most))).await;
}

/// The numbers of the tries of a call on a busy table.
pub(crate) const fn tries() -> std::ops::RangeInclusive<u32> {
    1..=7
}
