//! The dated table of AWS's quotas, `quotas.toml`.

use serde::Deserialize;

/// AWS's quotas. `quotas.toml` has the source of each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// The month in which they were looked up.
    pub as_of: String,
    /// DynamoDB, on demand.
    pub dynamodb: DynamoDb,
    /// SQS, standard queues.
    pub sqs: SqsQuotas,
    /// Lambda's pollers of SQS.
    pub event_source_mapping: EventSourceMapping,
    /// Lambda.
    pub lambda: Lambda,
    /// API Gateway.
    pub api_gateway: ApiGateway,
}

#[allow(missing_docs, reason = "quotas.toml explains each")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamoDb {
    pub partition_write_units: f64,
    pub partition_read_units: f64,
    pub table_write_units: f64,
    pub table_read_units: f64,
    pub new_write_units: f64,
    pub new_read_units: f64,
    pub growth: f64,
    pub growth_minutes: usize,
}

#[allow(missing_docs, reason = "quotas.toml explains each")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqsQuotas {
    pub in_flight: f64,
}

#[allow(missing_docs, reason = "quotas.toml explains each")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSourceMapping {
    pub first: f64,
    pub more_a_minute: f64,
    pub most: f64,
    pub most_of_maximum_concurrency: f64,
}

#[allow(missing_docs, reason = "quotas.toml explains each")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lambda {
    pub concurrency: f64,
    pub more_in_ten_seconds: f64,
}

#[allow(missing_docs, reason = "quotas.toml explains each")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiGateway {
    pub requests: f64,
    pub burst: f64,
}

impl Quotas {
    /// Reads the table.
    ///
    /// # Panics
    /// The table is not valid.
    pub fn read() -> Self {
        toml::from_str(include_str!("quotas.toml")).expect("tests/src/capacity/quotas.toml is valid")
    }
}
