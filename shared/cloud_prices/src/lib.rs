//! What AWS charges, as a dated table, and what a task has cost. Amounts are exact decimals, in US dollars.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use std::time::Duration;
use stepwell::core::usage::Usage;

/// The prices that all figures in dollars rest on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The region.
    pub region: String,
    /// The month.
    pub as_of: String,
    /// What is paid by the million.
    pub per_million: PerMillion,
    /// What is paid one by one.
    pub each: Each,
}

/// US dollars for a million.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PerMillion {
    #[serde(deserialize_with = "exact")]
    pub dynamodb_write_units: Decimal,
    #[serde(deserialize_with = "exact")]
    pub dynamodb_read_units: Decimal,
    #[serde(deserialize_with = "exact")]
    pub sqs_requests: Decimal,
    #[serde(deserialize_with = "exact")]
    pub lambda_requests: Decimal,
    #[serde(deserialize_with = "exact")]
    pub http_api_requests: Decimal,
    #[serde(deserialize_with = "exact")]
    pub state_transitions: Decimal,
}

/// US dollars for one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Each {
    /// A GB-second of a function.
    #[serde(deserialize_with = "exact")]
    pub lambda_gb_second: Decimal,
    /// 1,000,000,000 bytes of log.
    #[serde(deserialize_with = "exact")]
    pub log_gb: Decimal,
}

/// A price that is no decimal, or a wrong name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("shared/cloud_prices/src/prices.yaml: {0}")]
pub struct PricesError(String);

fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl Prices {
    /// The prices of `prices.yaml`.
    ///
    /// # Errors
    /// [`PricesError`], which a test finds.
    pub fn read() -> Result<Self, PricesError> {
        serde_saphyr::from_str(include_str!("prices.yaml")).map_err(|error| PricesError(error.to_string()))
    }

    /// What was used by tasks whose functions have this much memory: the tables, the queues, the invocations and the time of the attempts. What an
    /// invocation takes besides its attempts, the log and what the handlers call are not in it.
    pub fn dollars(&self, used: &Usage, memory_mb: u32) -> Decimal {
        let price = &self.per_million;
        let million = Decimal::from(1_000_000);
        let reads = Decimal::from(used.half_read_units) / Decimal::from(2);
        let units = Decimal::from(used.write_units) * price.dynamodb_write_units
            + reads * price.dynamodb_read_units
            + Decimal::from(used.sqs_requests) * price.sqs_requests
            + Decimal::from(used.invocations) * price.lambda_requests;
        units / million + gb_seconds(used.run, memory_mb) * self.each.lambda_gb_second
    }
}

/// The GB-seconds of this time, to the millisecond.
fn gb_seconds(time: Duration, memory_mb: u32) -> Decimal {
    let millis = Decimal::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    millis * Decimal::from(memory_mb) / Decimal::from(1_024 * 1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn task_costs_what_its_units_do() {
        let prices = Prices::read().unwrap();
        let dollars = |used: Usage| prices.dollars(&used, 1_024).normalize().to_string();
        let million = 1_000_000;
        assert_eq!(dollars(Usage { write_units: million, ..Usage::default() }), "0.625");
        assert_eq!(dollars(Usage { half_read_units: million, ..Usage::default() }), "0.0625");
        assert_eq!(dollars(Usage { sqs_requests: million, ..Usage::default() }), "0.4");
        assert_eq!(dollars(Usage { invocations: million, ..Usage::default() }), "0.2");
        assert_eq!(dollars(Usage { run: Duration::from_secs(10), ..Usage::default() }), "0.000133334");
    }
}
