//! Where each limit is, and which setting moves it.

use super::{
    cloud::Seen,
    setup::{Function, Setup},
};
use std::time::Duration;
use stepwell::core::index::IndexPartition;

/// The checkouts a second for which the template's numbers are made: what a new stack carries on an account with the default quotas. Its table
/// takes 4,000 write units a second, and a checkout takes 12.
pub const TARGET: f64 = 300.0;

/// How many times as many messages a step may work on as [`TARGET`] brings. So what has gathered in an outage is done as fast as new checkouts
/// come, and is over after as long as new ones were let in.
pub const HEADROOM: f64 = 2.0;

/// A share of a limit from which on it holds up what comes.
const FULL: f64 = 0.95;

/// A resource with a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Requests to the API.
    Api,
    /// Write units of the tasks table.
    TableWrites,
    /// Write units of its index.
    IndexWrites,
    /// Write units of one partition of the index.
    IndexPartition,
    /// Read units of the table and its index.
    Reads,
    /// Concurrent invocations of the account.
    Concurrency,
    /// Messages in flight in one queue.
    InFlight,
    /// Messages that a step works on at a time.
    Step(String),
}

/// How much of a resource is used.
#[derive(Clone, Debug)]
pub struct Use {
    /// The resource.
    pub resource: Resource,
    /// What is used.
    pub used: f64,
    /// Its limit.
    pub limit: f64,
    /// The setting that moves the limit.
    pub setting: String,
}

impl Use {
    /// The share of the limit.
    pub fn share(&self) -> f64 {
        self.used / self.limit
    }
}

/// What a run used of each resource, in the order in which a checkout meets them.
pub fn uses(setup: &Setup, seen: &Seen) -> Vec<Use> {
    let a_second = |count: f64| count / seen.seconds;
    let (quotas, units) = (&setup.quotas, seen.used.units);
    let of = |resource, used, limit, setting: &str| Use { resource, used, limit, setting: setting.to_owned() };
    let on_demand = |limit: f64| match limit < quotas.dynamodb.table_write_units {
        true => "WarmThroughput of TasksTable (infra/base.yaml), or half an hour",
        false => "the account's quota of DynamoDB",
    };
    let partition = seen.shards.values().copied().fold(0.0, f64::max) / f64::from(IndexPartition::SHARDS);
    let mut uses = vec![
        of(
            Resource::Api,
            a_second(seen.measured_starts.wanted as f64) * setup.stated.requests,
            setup.api.requests,
            "ThrottlingRateLimit of ApiStage (infra/base.yaml)",
        ),
        of(
            Resource::TableWrites,
            a_second(units.table_writes as f64),
            seen.write_rates[0],
            on_demand(seen.write_rates[0]),
        ),
        of(
            Resource::IndexWrites,
            a_second(units.index_writes as f64),
            seen.write_rates[1],
            on_demand(seen.write_rates[1]),
        ),
        of(
            Resource::IndexPartition,
            partition,
            quotas.dynamodb.partition_write_units,
            "IndexPartition::SHARDS (core/index.rs)",
        ),
        of(
            Resource::Reads,
            a_second(units.half_reads as f64) / 2.0,
            quotas.dynamodb.new_read_units,
            "WarmThroughput of TasksTable (infra/base.yaml), or half an hour",
        ),
        of(Resource::Concurrency, seen.concurrency, quotas.lambda.concurrency, "the account's quota of Lambda"),
        of(Resource::InFlight, seen.in_flight as f64, quotas.sqs.in_flight, "LONGEST_HIDDEN (core/timer.rs)"),
    ];
    uses.extend(setup.functions.iter().map(|(step, function)| {
        let places = function.messages_at_a_time();
        let busy = seen.busy.get(step).copied().unwrap_or_default();
        let setting = format!("max_concurrency of {step} (infra/settings.yaml)");
        Use { resource: Resource::Step(step.clone()), used: busy * places, limit: places, setting }
    }));
    uses
}

/// The first limit that held up what came.
pub fn first_full(setup: &Setup, seen: &Seen) -> Option<Use> {
    uses(setup, seen).into_iter().find(|it| it.share() >= FULL)
}

/// How long a message keeps a place of this step.
pub fn seconds(seen: &Seen, step: &str) -> f64 {
    let invocations = seen.used.invocations.get(step).copied().unwrap_or_default();
    if invocations.count == 0 { 0.0 } else { invocations.took.as_secs_f64() / invocations.count as f64 }
}

/// The `max_concurrency` with which a step keeps up with so many messages a second, in tens.
pub fn concurrency_for(messages: f64, seconds: f64, function: &Function) -> f64 {
    (messages * seconds / function.batch_size / 10.0).ceil().max(1.0) * 10.0
}

/// Whether two figures are the same within 5 %.
pub fn are_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 0.05 * a.abs().max(b.abs())
}

/// How long a run lasts, and from when on it is measured: when the pollers have grown.
pub const LASTS: Duration = Duration::from_secs(12 * 60);
/// See [`LASTS`].
pub const MEASURED_FROM: Duration = Duration::from_secs(6 * 60);
