//! What tasks cost: what they have used of AWS, and its price.

use crate::workflows::values_found_by;
use cloud_prices::{Prices, PricesError};
use http_api::CommonError;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Serialize;
use std::sync::LazyLock;
use stepwell::core::{snapshot::TaskSnapshot, usage::Usage};

/// A test reads them, so a released version has no error here.
static PRICES: LazyLock<Result<Prices, PricesError>> = LazyLock::new(Prices::read);

/// The memory of a function unless the settings say otherwise, in MB.
const MEMORY_MB: u32 = 128;

/// What a task has cost so far, as its records tell: on a stack, or as it would have there.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CostView {
    /// DynamoDB's write units, on the table and its indexes.
    write_units: u64,
    /// DynamoDB's read units.
    read_units: f64,
    /// SQS requests.
    sqs_requests: u64,
    /// Invocations of functions.
    invocations: u64,
    /// The time of the attempts that have ended.
    run_ms: u64,
    /// US dollars at list prices, as a decimal, for functions of 128 MB. Not in it: the log, what the handlers call, and what leaves no record, such as a
    /// message that came twice.
    dollars: String,
}

/// What this task has used.
pub(crate) fn usage(snapshot: &TaskSnapshot) -> Usage {
    Usage::of(snapshot, values_found_by(&snapshot.task))
}

/// The price of what was used by so many tasks, for one of them.
pub(crate) fn dollars(used: &Usage, tasks: u32) -> Result<String, CommonError> {
    let prices = PRICES.as_ref().map_err(|error| CommonError::Broken(error.to_string()))?;
    let one = prices.dollars(used, MEMORY_MB) / Decimal::from(tasks.max(1));
    Ok(one.round_dp_with_strategy(9, RoundingStrategy::MidpointAwayFromZero).normalize().to_string())
}

impl CostView {
    pub(crate) fn of(snapshot: &TaskSnapshot) -> Result<Self, CommonError> {
        let used = usage(snapshot);
        let Usage { write_units, half_read_units, sqs_requests, invocations, run } = used;
        // Halves are exact, and nobody reads so many units that a float is not.
        #[allow(clippy::cast_precision_loss, reason = "below 2 to the power of 53")]
        let read_units = half_read_units as f64 / 2.0;
        let run_ms = u64::try_from(run.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { write_units, read_units, sqs_requests, invocations, run_ms, dollars: dollars(&used, 1)? })
    }
}
