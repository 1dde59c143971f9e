//! Where each limit is, and which setting moves it.

use super::{
    cloud::{Load, Out, Seen, run},
    setup::{Function, Setup},
};
use crate::outage::OutageKind;
use std::{collections::BTreeMap, time::Duration};
use stepwell::core::index::IndexPartition;
use stepwell_cli::model::STEP_CONCURRENCY;

/// The checkouts a second for which the template's numbers are made: what a new stack carries on an account with the default quotas. Its table
/// takes 4,000 write units a second, and a checkout takes 16, so that is all of it.
pub const TARGET: u64 = 250;

/// How many times as many messages as come a step can work on. So what has gathered in an outage is done as fast as new checkouts come, and is
/// over after as long as new ones were let in.
pub const HEADROOM: f64 = 2.0;

/// How many seconds of its requests the API takes at once.
pub const BURST_SECONDS: f64 = 2.0;

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

    /// Whether it holds up what comes. What the API is asked is counted before it turns anything away; of the others no more is used than there
    /// is.
    pub fn is_full(&self) -> bool {
        match self.resource {
            Resource::Api => self.share() > 1.0,
            _ => self.share() >= FULL,
        }
    }
}

const WARM_TABLE: &str = "WarmThroughput of TasksTable (infra/base.yaml), or half an hour";
const WARM_INDEX: &str = "WarmThroughput of its index by_status (infra/base.yaml), or half an hour";
const QUOTA: &str = "the account's quota of DynamoDB";

/// What a run used of each resource, in the order in which a checkout meets them.
pub fn uses(setup: &Setup, seen: &Seen) -> Vec<Use> {
    let a_second = |count: f64| count / seen.seconds;
    let (quotas, units) = (&setup.quotas, seen.used.units);
    let of = |resource, used, limit, setting: &str| Use { resource, used, limit, setting: setting.to_owned() };
    let on_demand = |limit: f64, warm| if limit < quotas.dynamodb.table_write_units { warm } else { QUOTA };
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
            on_demand(seen.write_rates[0], WARM_TABLE),
        ),
        of(
            Resource::IndexWrites,
            a_second(units.index_writes as f64),
            seen.write_rates[1],
            on_demand(seen.write_rates[1], WARM_INDEX),
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
            seen.read_rate,
            on_demand(seen.read_rate, WARM_TABLE),
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
    uses(setup, seen).into_iter().find(Use::is_full)
}

/// What a checkout takes, as a run has counted it.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Write units on the table.
    pub table_writes: f64,
    /// Write units on its index.
    pub index_writes: f64,
    /// Write units on the partition of the index that takes the most, all its shards together.
    pub shard_writes: f64,
    /// Read units.
    pub reads: f64,
    /// SQS requests.
    pub sqs_requests: f64,
    /// Seconds that a message keeps a place, by step.
    pub seconds: BTreeMap<String, f64>,
    /// Seconds that a request to start a checkout takes.
    pub start_seconds: f64,
    /// Bytes in the table.
    pub bytes: f64,
    /// Seconds from the start to the end of half of the checkouts.
    pub half_took: f64,
}

impl Counted {
    /// Counts a run in which nothing is turned away.
    pub fn of(seen: &Seen) -> Self {
        let checkouts = seen.measured_starts.started as f64;
        let seconds = |function: &str| {
            let invocations = seen.used.invocations.get(function).copied().unwrap_or_default();
            if invocations.count == 0 { 0.0 } else { invocations.took.as_secs_f64() / invocations.count as f64 }
        };
        Self {
            table_writes: seen.used.units.table_writes as f64 / checkouts,
            index_writes: seen.used.units.index_writes as f64 / checkouts,
            shard_writes: seen.shards.values().copied().fold(0.0, f64::max) * seen.seconds / checkouts,
            reads: seen.used.units.half_reads as f64 / 2.0 / checkouts,
            sqs_requests: seen.used.sqs_requests as f64 / checkouts,
            seconds: seen.busy.keys().map(|step| (step.clone(), seconds(step))).collect(),
            start_seconds: seconds("checkout_api"),
            bytes: seen.bytes,
            half_took: seen.took_at(0.5),
        }
    }

    /// How long a message of this step keeps a place; zero for one that no checkout has reached.
    pub fn seconds_of(&self, step: &str) -> f64 {
        self.seconds.get(step).copied().unwrap_or_default()
    }

    /// The `max_concurrency` that a step needs for this many checkouts a second, with its batches as they are. One that waits on nothing never
    /// has less than a step has anyway.
    pub fn concurrency(&self, step: &str, rate: f64, function: &Function) -> f64 {
        rounded_up(rate * HEADROOM * self.seconds_of(step) / function.batch_size).max(STEP_CONCURRENCY.into())
    }
}

/// The next number that is one, two or five times a power of ten.
pub fn rounded_up(number: f64) -> f64 {
    let power = 10_f64.powf(number.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|rounded| *rounded >= number).unwrap_or(number)
}

impl Setup {
    /// Gives one resource as much as this many checkouts a second need. Says which settings changed; nothing if none can be.
    pub fn fit(&mut self, resource: &Resource, rate: f64, counted: &Counted) -> Vec<Change> {
        let mut changes = Changes::default();
        match resource {
            Resource::Api => {
                let requests = rate * self.stated.requests;
                changes.raise("ThrottlingRateLimit", &mut self.api.requests, rounded_up(requests));
                changes.raise("ThrottlingBurstLimit", &mut self.api.burst, rounded_up(requests * BURST_SECONDS));
                changes.raise(
                    "the account's quota of API Gateway",
                    &mut self.quotas.api_gateway.requests,
                    rounded_up(requests),
                );
            }
            Resource::TableWrites => {
                let units = rounded_up(rate * counted.table_writes);
                changes.raise("WarmThroughput of TasksTable", &mut self.warm_write_units, units);
                changes.raise("the account's quota of DynamoDB", &mut self.quotas.dynamodb.table_write_units, units);
            }
            Resource::IndexWrites => {
                let units = rounded_up(rate * counted.index_writes);
                changes.raise("WarmThroughput of by_status", &mut self.warm_index_units, units);
            }
            Resource::Reads => {
                let units = rounded_up(rate * counted.reads);
                changes.raise("WarmThroughput (reads) of TasksTable", &mut self.warm_read_units, units);
                changes.raise("the account's quota of DynamoDB", &mut self.quotas.dynamodb.table_read_units, units);
            }
            Resource::Concurrency => {
                let needed = rounded_up(self.functions.values().map(|function| function.max_concurrency).sum());
                changes.raise("the account's quota of Lambda", &mut self.quotas.lambda.concurrency, needed);
            }
            Resource::Step(step) => {
                let most = self.quotas.event_source_mapping.most_of_maximum_concurrency;
                if let Some(function) = self.functions.get_mut(step) {
                    let mut wanted = *function;
                    // A message that hangs then keeps the others of its batch from their end, not from their work.
                    while counted.concurrency(step, rate, &wanted) > most && wanted.batch_size < LARGEST_BATCH {
                        wanted.batch_size = rounded_up(wanted.batch_size + 1.0);
                    }
                    let concurrency = counted.concurrency(step, rate, &wanted).min(most);
                    changes.raise(&format!("batch_size of {step}"), &mut function.batch_size, wanted.batch_size);
                    changes.raise(&format!("max_concurrency of {step}"), &mut function.max_concurrency, concurrency);
                }
            }
            // Constants of the code and a quota that only AWS can raise.
            Resource::IndexPartition | Resource::InFlight => {}
        }
        changes.0
    }
}

/// The largest batch that the settings allow.
const LARGEST_BATCH: f64 = 10.0;

/// A setting, and its value before and after.
pub type Change = (String, f64, f64);

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn raise(&mut self, setting: &str, value: &mut f64, to: f64) {
        if to > *value {
            self.0.push((setting.to_owned(), *value, to));
            *value = to;
        }
    }
}

/// Runs a rate again and again, each time with more of what held it up, until nothing does or nothing can be changed. Calls `tell` with each
/// limit and the changes made for it. Returns the last run.
pub fn climb(
    setup: &mut Setup,
    rate: u64,
    scale: u64,
    counted: &Counted,
    mut tell: impl FnMut(&Seen, &Use, &[Change]),
) -> Seen {
    loop {
        let seen = run(setup, steady(rate), scale, 1);
        let Some(full) = first_full(setup, &seen) else { return seen };
        let changes = setup.fit(&full.resource, rate as f64, counted);
        tell(&seen, &full, &changes);
        if changes.is_empty() {
            return seen;
        }
    }
}

/// The load of a run without an outage. It is measured from when on Lambda's pollers have grown.
pub fn steady(rate: u64) -> Load {
    Load { rate, lasts: Duration::from_secs(12 * 60), measured_from: Duration::from_secs(6 * 60), outage: None }
}

/// The load of an hour of outage, with a quarter of an hour after it.
pub fn outage(rate: u64, kind: OutageKind) -> Load {
    let (from, until) = (Duration::from_secs(5 * 60), Duration::from_secs(65 * 60));
    Load { rate, lasts: Duration::from_secs(80 * 60), measured_from: from, outage: Some(Out { kind, from, until }) }
}

/// Whether two figures are the same within 5 %.
pub fn are_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 0.05 * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::setup::Stated;
    use test_case::test_case;

    fn shipped() -> Setup {
        Setup::shipped(&checkout::workflow().unwrap(), Stated::default())
    }

    /// What a checkout takes where nothing is throttled: with more steps than the shipped one it fills a new table at the target.
    fn counted() -> Counted {
        let shipped = shipped();
        let roomy = Setup { warm_write_units: 2.0 * shipped.warm_write_units, ..shipped };
        Counted::of(&run(&roomy, steady(TARGET), 250, 1))
    }

    /// The rate that a new table carries with a tenth to spare: a checkout with more steps than the shipped one writes more than the target
    /// leaves room for.
    fn carried() -> u64 {
        let fits = counted().table_writes * TARGET as f64 * 1.1 <= shipped().warm_write_units;
        if fits { TARGET } else { TARGET * 3 / 4 }
    }

    #[test]
    fn template_has_the_numbers_that_the_model_recommends() {
        let (setup, counted, rate) = (shipped(), counted(), TARGET as f64);
        let requests = rate * setup.stated.requests;
        assert_eq!((setup.api.requests, setup.api.burst), (requests, requests * BURST_SECONDS));
        let workflow = checkout::workflow().unwrap();
        for step in workflow.plan().steps() {
            let function = setup.functions[&step.name];
            let waits = workflow.waits_on(&step.name).is_some();
            assert_eq!(function.batch_size, if waits { 1.0 } else { LARGEST_BATCH }, "{}", step.name);
            let recommended = counted.concurrency(&step.name, rate, &function);
            assert_eq!(function.max_concurrency, recommended, "max_concurrency of {}", step.name);
        }
        // What is left of the account is for the API: its requests, and the customers who wait for the end of a checkout.
        let steps: f64 = setup.functions.values().map(|function| function.max_concurrency).sum();
        let api = rate * (counted.start_seconds + counted.half_took);
        assert!(steps + api < setup.quotas.lambda.concurrency, "{steps} + {api}");
        // The table's quota is reached before a partition of its index is full.
        let by_table = setup.quotas.dynamodb.table_write_units / counted.table_writes;
        let by_partition =
            setup.quotas.dynamodb.partition_write_units * f64::from(IndexPartition::SHARDS) / counted.shard_writes;
        assert!(by_table < by_partition, "{by_table} {by_partition}");
    }

    #[test]
    fn shipped_template_carries_its_target_on_a_new_account() {
        let (setup, target) = (shipped(), steady(carried()));
        let seen = run(&setup, target, 250, 1);
        let full = first_full(&setup, &seen);
        assert!(full.is_none(), "{full:?}");
        assert_eq!((seen.measured_starts.throttled, seen.measured_starts.refused, seen.used.throttled), (0, 0, 0));
        assert!(are_close(seen.completed as f64, seen.measured_starts.wanted as f64), "{seen:?}");
    }

    /// Each quota holds up what comes once it is a twentieth, and that of a partition once it is a hundredth.
    #[test_case(Resource::Api, |setup| setup.api.requests /= 20.0)]
    #[test_case(Resource::TableWrites, |setup| setup.warm_write_units /= 20.0)]
    #[test_case(Resource::IndexWrites, |setup| setup.warm_index_units /= 20.0)]
    #[test_case(Resource::IndexPartition, |setup| setup.quotas.dynamodb.partition_write_units /= 100.0)]
    #[test_case(Resource::Reads, |setup| setup.warm_read_units /= 20.0)]
    #[test_case(Resource::InFlight, |setup| (setup.quotas.sqs.in_flight, setup.warm_write_units) = (52.0, 8_000.0))]
    #[test_case(Resource::Step("process_payment".to_owned()), |setup| {
        setup.functions.get_mut("process_payment").unwrap().max_concurrency /= 20.0;
    })]
    fn quota_that_is_too_small_holds_up_what_comes(resource: Resource, lower: impl Fn(&mut Setup)) {
        let mut setup = shipped();
        lower(&mut setup);
        // One message in flight at a time holds up what comes only where several come in a second, which is more than the table carries.
        let (rate, scale) = if resource == Resource::InFlight { (TARGET, 50) } else { (carried(), 250) };
        let seen = run(&setup, steady(rate), scale, 1);
        let full = first_full(&setup, &seen).map(|full| full.resource);
        assert_eq!(full, Some(resource));
        assert!(seen.completed < seen.measured_starts.wanted * 3 / 4, "{:?}", seen.measured_starts);
    }

    #[test_case(0.3, 1.0)]
    #[test_case(1.0, 1.0)]
    #[test_case(162.5, 200.0)]
    #[test_case(500.0, 500.0)]
    #[test_case(501.0, 1_000.0)]
    fn setting_is_rounded_up_to_a_number_that_a_person_would_write(number: f64, expected: f64) {
        assert_eq!(rounded_up(number), expected);
    }
}
