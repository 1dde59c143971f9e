//! What was used, in US dollars: by the prices of `stepwell cost`, exact.

use super::Used;
use cloud_prices::Prices;
use rust_decimal::Decimal;

/// What was used, by service.
pub fn bill(used: &Used, prices: &Prices, log_bytes: u64) -> Vec<(&'static str, Decimal)> {
    let million = Decimal::from(1_000_000);
    let invocations = used.invocations.values().map(|of| of.count).sum::<u64>();
    let mb_ms = used.invocations.values().map(|of| of.mb_ms).sum::<u64>();
    let writes = used.units.writes();
    let (price, each) = (&prices.per_million, &prices.each);
    vec![
        (
            "DynamoDB",
            (Decimal::from(writes) * price.dynamodb_write_units
                + Decimal::from(used.units.half_reads) / Decimal::from(2) * price.dynamodb_read_units)
                / million,
        ),
        ("SQS", Decimal::from(used.sqs_requests) * price.sqs_requests / million),
        (
            "Lambda",
            Decimal::from(invocations) * price.lambda_requests / million
                + Decimal::from(mb_ms) / Decimal::from(1_024 * 1_000) * each.lambda_gb_second,
        ),
        ("API Gateway", Decimal::from(used.api_requests) * price.http_api_requests / million),
        (
            "CloudWatch",
            Decimal::from(invocations) * Decimal::from(log_bytes) / Decimal::from(1_000_000_000) * each.log_gb,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Invocations;
    use std::{collections::BTreeMap, time::Duration};
    use stepwell::testing::Units;

    #[test]
    fn bill_is_exact() {
        let step = Invocations { count: 2_000_000, took: Duration::ZERO, mb_ms: 1_024_000_000_000 };
        let used = Used {
            units: Units {
                table_writes: 13_000_000,
                index_writes: 3_000_000,
                start_writes: 1_000_000,
                half_reads: 23_000_000,
            },
            sqs_requests: 15_000_000,
            api_requests: 1_000_000,
            invocations: BTreeMap::from([("step".to_owned(), step)]),
            ..Used::default()
        };
        let bill = bill(&used, &Prices::read().unwrap(), 1_000);
        let bill: Vec<String> = bill.into_iter().map(|(_, dollars)| dollars.normalize().to_string()).collect();
        // 17 x 0.625 + 11.5 x 0.125; 15 x 0.40; 2 x 0.20 + 1,000,000 x 0.0000133334; 1; 2 GB x 0.50.
        assert_eq!(bill, ["12.0625", "6", "13.7334", "1", "1"]);
    }
}
